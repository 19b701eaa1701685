"""Requests of a person to a running training, executed between two steps and journalled with their result."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands.process.heartbeat import Heartbeat
from commands.run.person_requests import RequestHandler, RequestPosition, load_position
from hparams import HParams
from models.checkpoint_file import load_checkpoint
from monitoring.journal.control_file import RequestFile
from smart_tuner.settings import SupervisionSettings
from tests.support.program import Program, journal, losses, newest, summary, wait_for
from tests.support.warm_start import WarmProcess
from training.knobs import Knobs
from training.run_state import RunLimits

LONG: dict[str, Any] = {"epochs": 100_000, "iters_per_evaluation": 100_000, "iters_per_checkpoint": 1000}


class Running:
    """A training in a process of its own, with its request file."""

    def __init__(self, program: Program, data: Path, *arguments: object) -> None:
        self.run = program.output / "run"
        self.process: WarmProcess = program.start(data, *arguments, **LONG)
        self.wait(lambda: (self.run / "journal.jsonl").is_file() and journal(self.run, "steps"))
        (self.run / "companion").mkdir(exist_ok=True)
        self.requests = RequestFile(self.run)

    def wait(self, condition: Callable[[], object]) -> None:
        wait_for(condition, self.process)

    def request(self, order: str, **fields: Any) -> dict[str, Any]:
        """Append a request and return its journal record."""
        before = len(journal(self.run, "order"))
        self.requests.append(order, "user 7", **fields)
        self.wait(lambda: len(journal(self.run, "order")) > before)
        return journal(self.run, "order")[-1]

    def last_step(self) -> int:
        return int(journal(self.run)[-1]["step"])


@pytest.fixture
def running(program: Program, data: Path) -> Iterator[Running]:
    running = Running(program, data)
    yield running
    running.process.kill()
    running.process.communicate()


def test_a_pause_saves_and_holds_training_until_it_is_resumed(running: Running) -> None:
    record = running.request("pause")
    assert (record["result"], record["by"]) == ("done", "user 7")
    running.wait(lambda: journal(running.run, "checkpoint"))
    before = running.last_step()
    time.sleep(0.5)
    assert running.last_step() == before
    assert running.request("pause")["result"] == "refused"
    assert running.request("resume")["result"] == "done"
    running.wait(lambda: running.last_step() > before)
    assert running.request("resume")["reason"] == "training is not paused"


def test_a_stop_saves_and_the_same_command_continues(running: Running, program: Program, data: Path) -> None:
    assert running.request("stop")["result"] == "done"
    out, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 130 and "saved at step" in out
    assert "asked for by user 7" in out
    assert summary(running.run)["status"] == "interrupted"
    last = max(losses(running.run))
    program.trained(data, "--max_steps", last + 3, **LONG)
    assert journal(running.run, "resumed")[-1]["step"] == last


def test_a_stop_works_during_a_pause(running: Running) -> None:
    running.request("pause")
    running.requests.append("stop", "user 7")
    assert running.process.wait(60) == 130


def test_a_knob_is_turned_and_journalled_as_a_persons_intervention(running: Running) -> None:
    assert running.request("set", knob="learning_rate_multiplier", value=0.5)["result"] == "done"
    (turned,) = journal(running.run, "intervention")
    assert (turned["by"], turned["knob"], turned["from"], turned["to"]) == (
        *("person", "learning_rate_multiplier"),
        *(1.0, 0.5),
    )
    at = turned["step"]
    running.wait(lambda: running.last_step() > at + 40)
    rates = {
        step: rate
        for record in journal(running.run, "steps")
        for step, rate in zip(record["steps"], record["signals"]["learning_rate"], strict=True)
    }
    assert rates[at + 1] == pytest.approx(rates[at] / 2, rel=0.05)


def test_an_impossible_request_is_refused_with_the_reason(running: Running) -> None:
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("set", {"knob": "learning_rate_multiplier", "value": 1e9}, "expected 0.00390625 to 256"),
        ("set", {"knob": "gate_threshold", "value": 0.99}, "expected 0.05 to 0.95"),
        ("set", {"knob": "epochs", "value": 3}, "tacotron2 has no knob 'epochs'"),
        ("approve", {"number": 3}, "no proposal 3"),
    ]
    for order, fields, reason in refused:
        record = running.request(order, **fields)
        assert record["result"] == "refused" and reason in record["reason"]
    assert journal(running.run, "intervention") == []


def test_an_unreadable_request_does_not_disturb_training(running: Running) -> None:
    with (running.run / "companion" / "orders.jsonl").open("ab") as file:
        file.write(b"{torn\n")
    running.wait(lambda: any("cannot be read" in note["text"] for note in journal(running.run, "note")))
    assert running.request("pause")["result"] == "done"


class CrashedTraining:
    """A training that was killed; its request file stays writable."""

    def __init__(self, running: Running, program: Program, data: Path) -> None:
        running.process.kill()
        running.process.communicate()
        self.requests, self._program, self._data = running.requests, program, data

    def goes_on(self) -> Running:
        return Running(self._program, self._data)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_pause_lasts_through_a_crash_and_is_journalled_again(
    running: Running, program: Program, data: Path, end: int
) -> None:
    running.request("pause")
    running.wait(lambda: journal(running.run, "checkpoint"))
    running.process.send_signal(end)
    running.process.communicate()
    process = program.start(data, **LONG)
    wait_for(lambda: len(journal(running.run, "order")) == 2, process)
    repeated = journal(running.run, "order")[-1]
    assert (repeated["order"], repeated["by"], repeated["result"]) == ("pause", "user 7", "done")
    time.sleep(0.5)
    assert journal(running.run)[-1]["kind"] in ("order", "checkpoint")
    running.requests.append("resume", "user 7")
    wait_for(lambda: journal(running.run, "order")[-1]["order"] == "resume", process)
    assert journal(running.run, "order")[-1]["result"] == "done"
    process.kill()
    process.communicate()


def test_after_ctrl_c_in_a_pause_the_next_session_is_not_paused(running: Running, program: Program, data: Path) -> None:
    running.request("pause")
    running.process.send_signal(signal.SIGINT)
    running.process.communicate()
    last = max(losses(running.run))
    program.trained(data, "--max_steps", last + 3, **LONG)
    assert max(losses(running.run)) == last + 3


def test_a_request_made_between_sessions_is_executed_by_the_next_one(
    running: Running, program: Program, data: Path
) -> None:
    crashed = CrashedTraining(running, program, data)
    crashed.requests.append("set", "user 7", knob="guide_sigma", value=0.25)
    process = program.start(data, **LONG)
    wait_for(lambda: journal(running.run, "order"), process)
    assert journal(running.run, "order")[-1]["result"] == "done"
    process.kill()
    process.communicate()


def test_a_request_that_is_too_old_is_refused(
    running: Running, program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = CrashedTraining(running, program, data)
    monkeypatch.setattr("time.time", lambda: time.monotonic())  # long ago
    crashed.requests.append("stop", "user 7")
    process = program.start(data, **LONG)
    wait_for(lambda: journal(running.run, "order"), process)
    assert "ten minutes" in journal(running.run, "order")[-1]["reason"]
    process.kill()
    process.communicate()


def test_a_turned_knob_lasts_through_a_crash(running: Running, program: Program, data: Path) -> None:
    running.request("set", knob="guide_sigma", value=0.25)
    CrashedTraining(running, program, data)
    process = program.start(data, **LONG)
    wait_for(lambda: len(journal(running.run, "order")) == 2, process)
    assert [record["to"] for record in journal(running.run, "intervention")] == [0.25, 0.25]
    process.kill()
    process.communicate()


def test_a_request_that_a_checkpoint_holds_is_not_repeated(running: Running, program: Program, data: Path) -> None:
    running.request("set", knob="guide_sigma", value=0.25)
    running.request("pause")
    running.wait(lambda: journal(running.run, "checkpoint"))
    running.request("resume")
    CrashedTraining(running, program, data)
    process = program.start(data, **LONG)
    wait_for(lambda: len(journal(running.run, "steps")) > 0 and journal(running.run, "resumed"), process)
    running.requests.append("stop", "user 7")
    process.communicate()
    assert len(journal(running.run, "intervention")) == 1
    assert load_checkpoint(newest(running.run))["knobs"]["guide_sigma"] == 0.25


def test_a_note_of_the_companion_is_shown_and_journalled(running: Running) -> None:
    running.requests.append_note("telegram: the token is refused\n" + "x" * 1000)
    running.wait(lambda: any(note["text"].startswith("telegram: the") for note in journal(running.run, "note")))
    running.request("stop")
    out, _ = running.process.communicate(timeout=60)
    assert "note: telegram: the token is refused" in out


def test_a_knob_turned_in_a_pause_is_saved_by_the_stop(running: Running) -> None:
    running.request("pause")
    running.wait(lambda: journal(running.run, "checkpoint"))
    running.request("set", knob="guide_sigma", value=0.25)
    running.requests.append("stop", "user 7")
    assert running.process.wait(60) == 130
    assert load_checkpoint(newest(running.run))["knobs"]["guide_sigma"] == 0.25


# without a training


class FakeTraining:
    """A training that only notes what was requested of it."""

    def __init__(self, run: Path) -> None:
        (run / "companion").mkdir(exist_ok=True)
        self.run, self.records, self.turned = run, list[dict[str, Any]](), list[float]()
        self.supervisor = FakeSupervisor()
        self.trainer: Any = SimpleNamespace(
            state=SimpleNamespace(
                progress=SimpleNamespace(step=5),
                hparams=HParams(),
                knobs=Knobs.from_hparams(HParams()),
                limits=RunLimits(),
                turn_knobs=self._turn,
                is_unsaved=False,
                save=lambda: setattr(self.trainer.state, "is_unsaved", False),
            )
        )
        self.recorder: Any = SimpleNamespace(
            folder=run,
            on_request=lambda _step, order: self.records.append(dict(order)),
            on_note=lambda _step, text: self.records.append({"note": text}),
            on_turn=lambda *_, **__: None,
        )
        self.breaks_at: float | None = None

    def _turn(self, knobs: dict[str, float]) -> None:
        (value,) = knobs.values()
        if value == self.breaks_at:
            raise RuntimeError("this request crashes the training")
        self.turned.append(value)

    def handler(self, position: RequestPosition | None = None, **approval: Any) -> RequestHandler:
        settings = SupervisionSettings(approval="ask", **approval)
        supervision: Any = self.supervisor
        return RequestHandler(
            self.trainer,
            self.recorder,
            supervisor=supervision,
            settings=settings,
            heartbeat=Heartbeat(None),
            position=position,
        )

    def position_after_crash(self) -> RequestPosition | None:
        (self.run / "summary.json").write_text('{"status": "failed"}')
        return load_position(self.run)


class FakeSupervisor:
    """Supervisor with one open proposal, for an ailment that is there or has passed."""

    def __init__(self) -> None:
        self.open_proposals: tuple[int, ...] = (3,)
        self.is_needed, self.answers = True, list[bool]()

    def is_still_needed(self, _number: int) -> bool:
        return self.is_needed

    def answer_proposal(self, _number: int, *, granted: bool) -> None:
        self.open_proposals = ()
        self.answers.append(granted)

    def on_person_turn(self, _knob: str, _value: float) -> None:
        """No treatment is under way."""


def test_a_request_that_crashes_the_training_is_not_repeated_but_later_ones_are(tmp_path: Path) -> None:
    training = FakeTraining(tmp_path)
    handler, requests = training.handler(), RequestFile(tmp_path)
    for value in (0.2, 0.3, 0.25):
        requests.append("set", "user 7", knob="guide_sigma", value=value)
    training.breaks_at = 0.3
    with pytest.raises(RuntimeError):
        handler.execute_new()
    successor = training.handler(training.position_after_crash())
    successor.execute_new()
    assert training.turned == [0.2, 0.2, 0.25]


@pytest.mark.parametrize(("is_needed", "reason"), [(True, None), (False, "the problem it was proposed for is gone")])
@pytest.mark.parametrize("default", ["approve", "reject"])
def test_an_overdue_proposal_is_answered_once_as_the_settings_say(
    tmp_path: Path, default: str, is_needed: bool, reason: str | None
) -> None:
    training = FakeTraining(tmp_path)
    training.supervisor.is_needed = is_needed
    handler = training.handler(approval_default=default, approval_minutes=1e-9)
    for _ in range(5):
        handler.execute_new()
    assert training.supervisor.answers == [default == "approve"]
    (record,) = training.records
    assert (record["by"], record["result"], record.get("reason")) == ("timeout", "done", reason)


def test_an_approval_is_repeated_after_a_crash(tmp_path: Path) -> None:
    training = FakeTraining(tmp_path)
    handler = training.handler()
    RequestFile(tmp_path).append("approve", "user 7", number=3)
    handler.execute_new()
    training.supervisor.open_proposals = (3,)  # as the checkpoint has it
    training.handler(training.position_after_crash()).execute_new()
    assert training.supervisor.answers == [True, True]


def test_a_knob_that_the_model_has_no_use_for_is_refused(tmp_path: Path) -> None:
    training = FakeTraining(tmp_path)
    training.trainer.state.hparams = HParams(model="glow_tts")
    handler = training.handler()
    RequestFile(tmp_path).append("set", "user 7", knob="gate_threshold", value=0.4)
    handler.execute_new()
    (record,) = training.records
    assert record["result"] == "refused" and "has no knob 'gate_threshold'" in record["reason"]
    assert training.turned == []
