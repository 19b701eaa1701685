"""What a person asks of a running training is done between two steps, and the journal says so."""

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
from monitoring.journal.control_file import MAX_LINE_LENGTH, RequestFile, RequestReader
from smart_tuner.settings import SupervisionSettings
from tests.commands.program import Program, journal, losses, newest, summary, wait_for
from tests.warm_start import WarmProcess
from training.knobs import Knobs
from training.run_state import RunLimits

LONG: dict[str, Any] = {"epochs": 100_000, "iters_per_evaluation": 100_000, "iters_per_checkpoint": 1000}


class Running:
    """A training in a process of its own, to be talked to."""

    def __init__(self, program: Program, data: Path, *arguments: object) -> None:
        self.run = program.output / "run"
        self.process: WarmProcess = program.start(data, *arguments, **LONG)
        self.wait(lambda: (self.run / "journal.jsonl").is_file() and journal(self.run, "steps"))
        (self.run / "companion").mkdir(exist_ok=True)
        self.box = RequestFile(self.run)

    def wait(self, condition: Callable[[], object]) -> None:
        wait_for(condition, self.process)

    def ask(self, order: str, **fields: Any) -> dict[str, Any]:
        """Returns what the journal says became of it."""
        before = len(journal(self.run, "order"))
        self.box.append(order, "user 7", **fields)
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


def test_it_pauses_saves_and_goes_on(running: Running) -> None:
    told = running.ask("pause")
    assert (told["result"], told["by"]) == ("done", "user 7")
    running.wait(lambda: journal(running.run, "checkpoint"))
    before = running.last_step()
    time.sleep(0.5)
    assert running.last_step() == before
    assert running.ask("pause")["result"] == "refused"
    assert running.ask("resume")["result"] == "done"
    running.wait(lambda: running.last_step() > before)
    assert running.ask("resume")["reason"] == "training is not paused"


def test_a_persons_stop_saves_and_the_same_command_goes_on(running: Running, program: Program, data: Path) -> None:
    assert running.ask("stop")["result"] == "done"
    out, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 130 and "saved at step" in out
    assert "asked for by user 7" in out
    assert summary(running.run)["status"] == "interrupted"
    last = max(losses(running.run))
    program.trained(data, "--max_steps", last + 3, **LONG)
    assert journal(running.run, "resumed")[-1]["step"] == last


def test_a_stop_is_heard_in_a_pause(running: Running) -> None:
    running.ask("pause")
    running.box.append("stop", "user 7")
    assert running.process.wait(60) == 130


def test_a_knob_is_turned_within_its_bounds_as_a_persons_intervention(running: Running) -> None:
    assert running.ask("set", knob="learning_rate_multiplier", value=0.5)["result"] == "done"
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


def test_what_cannot_be_done_is_refused_with_the_reason(running: Running) -> None:
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("set", {"knob": "learning_rate_multiplier", "value": 1e9}, "expected 0.00390625 to 256"),
        ("set", {"knob": "gate_threshold", "value": 0.99}, "expected 0.05 to 0.95"),
        ("set", {"knob": "epochs", "value": 3}, "there is no knob 'epochs'"),
        ("approve", {"number": 3}, "no proposal 3"),
    ]
    for order, fields, reason in refused:
        told = running.ask(order, **fields)
        assert told["result"] == "refused" and reason in told["reason"]
    assert journal(running.run, "intervention") == []


def test_an_unreadable_order_costs_training_nothing(running: Running) -> None:
    with (running.run / "companion" / "orders.jsonl").open("ab") as file:
        file.write(b"{torn\n")
    running.wait(lambda: journal(running.run, "note"))
    assert "cannot be read" in journal(running.run, "note")[0]["text"]
    assert running.ask("pause")["result"] == "done"


class Crashed:
    """A training that was killed, and its successor."""

    def __init__(self, running: Running, program: Program, data: Path) -> None:
        running.process.kill()
        running.process.communicate()
        self.box, self._program, self._data = running.box, program, data

    def goes_on(self) -> Running:
        return Running(self._program, self._data)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_pause_outlasts_a_crash_and_says_so(running: Running, program: Program, data: Path, end: int) -> None:
    running.ask("pause")
    running.wait(lambda: journal(running.run, "checkpoint"))
    running.process.send_signal(end)
    running.process.communicate()
    process = program.start(data, **LONG)
    wait_for(lambda: len(journal(running.run, "order")) == 2, process)
    again = journal(running.run, "order")[-1]
    assert (again["order"], again["by"], again["result"]) == ("pause", "user 7", "done")
    time.sleep(0.5)
    assert journal(running.run)[-1]["kind"] in ("order", "checkpoint")
    running.box.append("resume", "user 7")
    wait_for(lambda: journal(running.run, "order")[-1]["order"] == "resume", process)
    assert journal(running.run, "order")[-1]["result"] == "done"
    process.kill()
    process.communicate()


def test_who_stops_a_pause_by_hand_goes_on_without_it(running: Running, program: Program, data: Path) -> None:
    running.ask("pause")
    running.process.send_signal(signal.SIGINT)
    running.process.communicate()
    last = max(losses(running.run))
    program.trained(data, "--max_steps", last + 3, **LONG)
    assert max(losses(running.run)) == last + 3


def test_what_is_asked_while_training_is_away_is_done_when_it_is_back(
    running: Running, program: Program, data: Path
) -> None:
    crashed = Crashed(running, program, data)
    crashed.box.append("set", "user 7", knob="guide_sigma", value=0.25)
    process = program.start(data, **LONG)
    wait_for(lambda: journal(running.run, "order"), process)
    assert journal(running.run, "order")[-1]["result"] == "done"
    process.kill()
    process.communicate()


def test_what_was_asked_too_long_ago_is_refused(
    running: Running, program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = Crashed(running, program, data)
    monkeypatch.setattr("time.time", lambda: time.monotonic())  # long ago
    crashed.box.append("stop", "user 7")
    process = program.start(data, **LONG)
    wait_for(lambda: journal(running.run, "order"), process)
    assert "too late" in journal(running.run, "order")[-1]["reason"]
    process.kill()
    process.communicate()


def test_a_turned_knob_outlasts_a_crash(running: Running, program: Program, data: Path) -> None:
    running.ask("set", knob="guide_sigma", value=0.25)
    Crashed(running, program, data)
    process = program.start(data, **LONG)
    wait_for(lambda: len(journal(running.run, "order")) == 2, process)
    assert [told["to"] for told in journal(running.run, "intervention")] == [0.25, 0.25]
    process.kill()
    process.communicate()


def test_what_a_checkpoint_holds_is_not_done_again(running: Running, program: Program, data: Path) -> None:
    running.ask("set", knob="guide_sigma", value=0.25)
    running.ask("pause")
    running.wait(lambda: journal(running.run, "checkpoint"))
    running.ask("resume")
    Crashed(running, program, data)
    process = program.start(data, **LONG)
    wait_for(lambda: len(journal(running.run, "steps")) > 0 and journal(running.run, "resumed"), process)
    running.box.append("stop", "user 7")
    process.communicate()
    assert len(journal(running.run, "intervention")) == 1
    assert load_checkpoint(newest(running.run))["knobs"]["guide_sigma"] == 0.25


def test_a_note_of_the_companion_is_shown_and_journalled(running: Running) -> None:
    running.box.append_note("telegram: the token is refused\n" + "x" * 1000)
    running.wait(lambda: journal(running.run, "note"))
    assert journal(running.run, "note")[0]["text"].startswith("telegram: the token is refused")
    running.ask("stop")
    out, _ = running.process.communicate(timeout=60)
    assert "note: telegram: the token is refused" in out


def test_what_was_asked_of_an_earlier_session_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "companion").mkdir()
    box = RequestFile(tmp_path)
    box.append("stop", "user 7")
    reader = RequestReader(tmp_path)
    assert list(reader.read()) == []
    box.append("pause", "user 7")
    assert [order.order for order in reader.read()] == ["pause"]
    assert list(reader.read()) == []


def test_half_an_order_waits_for_its_end(tmp_path: Path) -> None:
    (tmp_path / "companion").mkdir()
    reader, path = RequestReader(tmp_path), tmp_path / "companion" / "orders.jsonl"
    RequestFile(tmp_path).append("pause", "x")
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    assert list(reader.read()) == []
    with path.open("ab") as file:
        file.write(whole[20:] + whole[:20])
    assert [order.order for order in reader.read()] == ["pause"]
    with path.open("ab") as file:
        file.write(whole[20:])
    assert [order.order for order in reader.read()] == ["pause"]


@pytest.mark.parametrize(
    "line",
    [
        *(b'{"order": "pau', b"\xff\xfe", b"[]", b'{"order": "dance", "by": "x", "at": 1.0}'),
        *(b'{"order": "set", "by": "x", "at": 1.0}', b'{"order": "approve", "by": "x", "at": 1.0, "number": "x"}'),
    ],
)
def test_what_cannot_be_read_is_noted_and_costs_no_other_order(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "companion").mkdir()
    reader = RequestReader(tmp_path)
    (tmp_path / "companion" / "orders.jsonl").write_bytes(line)  # a full disk had no room for its end
    RequestFile(tmp_path).append("pause", "x")
    note, order = reader.read()
    assert (note.order, order.order) == ("note", "pause") and "cannot be read" in str(note.text)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_cannot_be_asked_for(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        RequestFile(tmp_path).append("set", "user 7", knob="guide_sigma", value=value)


def test_an_order_is_not_a_novel(tmp_path: Path) -> None:
    (tmp_path / "companion").mkdir()
    with pytest.raises(ValueError, match="at most"):
        RequestFile(tmp_path).append("set", "user 7", knob="x" * MAX_LINE_LENGTH, value=1.0)


def test_what_was_turned_in_a_pause_is_saved_by_the_stop(running: Running) -> None:
    running.ask("pause")
    running.wait(lambda: journal(running.run, "checkpoint"))
    running.ask("set", knob="guide_sigma", value=0.25)
    running.box.append("stop", "user 7")
    assert running.process.wait(60) == 130
    assert load_checkpoint(newest(running.run))["knobs"]["guide_sigma"] == 0.25


# without a training


class Desk:
    """An order taker on a training that only remembers what was asked of it."""

    def __init__(self, run: Path) -> None:
        (run / "companion").mkdir(exist_ok=True)
        self.run, self.told, self.turned = run, list[dict[str, Any]](), list[float]()
        self.supervisor = SimulatedProposals()
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
        self.record: Any = SimpleNamespace(
            folder=run,
            on_request=lambda _step, order: self.told.append(dict(order)),
            on_note=lambda _step, text: self.told.append({"note": text}),
            on_turn=lambda *_: None,
        )
        self.breaks_at: float | None = None

    def _turn(self, knobs: dict[str, float]) -> None:
        (value,) = knobs.values()
        if value == self.breaks_at:
            raise RuntimeError("this order ends the training")
        self.turned.append(value)

    def taker(self, position: RequestPosition | None = None, **approval: Any) -> RequestHandler:
        settings = SupervisionSettings(approval="ask", **approval)
        supervision: Any = self.supervisor
        return RequestHandler(self.trainer, self.record, supervision, settings, Heartbeat(None), position=position)

    def crashed(self) -> RequestPosition | None:
        (self.run / "summary.json").write_text('{"status": "failed"}')
        return load_position(self.run)


class SimulatedProposals:
    """One question, about something that is there or has passed."""

    def __init__(self) -> None:
        self.open_proposals: tuple[int, ...] = (3,)
        self.is_there, self.answers = True, list[bool]()

    def is_still_needed(self, _number: int) -> bool:
        return self.is_there

    def answer_proposal(self, _number: int, *, granted: bool) -> None:
        self.open_proposals = ()
        self.answers.append(granted)

    def on_person_turn(self, _knob: str, _value: float) -> None:
        """Nothing is under treatment."""


def test_an_order_that_ends_the_training_is_not_given_again_and_those_after_it_are(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    taker, box = desk.taker(), RequestFile(tmp_path)
    for value in (0.2, 0.3, 0.25):
        box.append("set", "user 7", knob="guide_sigma", value=value)
    desk.breaks_at = 0.3
    with pytest.raises(RuntimeError):
        taker.execute_new()
    successor = desk.taker(desk.crashed())
    successor.execute_new()
    assert desk.turned == [0.2, 0.2, 0.25]


@pytest.mark.parametrize(("is_there", "reason"), [(True, None), (False, "the problem it was proposed for is gone")])
@pytest.mark.parametrize("default", ["approve", "reject"])
def test_who_does_not_answer_leaves_it_to_the_settings_once(
    tmp_path: Path, default: str, is_there: bool, reason: str | None
) -> None:
    desk = Desk(tmp_path)
    desk.supervisor.is_there = is_there
    taker = desk.taker(approval_default=default, approval_minutes=1e-9)
    for _ in range(5):
        taker.execute_new()
    assert desk.supervisor.answers == [default == "approve"]
    (told,) = desk.told
    assert (told["by"], told["result"], told.get("reason")) == ("nobody in time", "done", reason)


def test_an_approval_is_given_again_after_a_crash(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    taker = desk.taker()
    RequestFile(tmp_path).append("approve", "user 7", number=3)
    taker.execute_new()
    desk.supervisor.open_proposals = (3,)  # as the checkpoint has it
    desk.taker(desk.crashed()).execute_new()
    assert desk.supervisor.answers == [True, True]
