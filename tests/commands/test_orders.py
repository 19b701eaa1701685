"""What a person asks of a running training is done between two steps, and the journal says so."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monitoring.orders import LONGEST_LINE, OrderBox, OrderReader
from tests.commands.program import Program, journal, losses, newest, summary, wait_for
from training.checkpoint import load_checkpoint

LONG: dict[str, Any] = {"epochs": 100_000, "iters_per_evaluation": 100_000, "iters_per_checkpoint": 1000}


class Running:
    """A training in a process of its own, to be talked to."""

    def __init__(self, program: Program, data: Path, *arguments: object) -> None:
        self.run = program.output / "run"
        self.process: subprocess.Popen[str] = program.start(data, *arguments, **LONG)
        self.wait(lambda: (self.run / "journal.jsonl").is_file() and journal(self.run, "steps"))
        (self.run / "companion").mkdir(exist_ok=True)
        self.box = OrderBox(self.run)

    def wait(self, condition: Callable[[], object]) -> None:
        wait_for(condition, self.process)

    def ask(self, order: str, **fields: Any) -> dict[str, Any]:
        """Returns what the journal says became of it."""
        before = len(journal(self.run, "order"))
        self.box.put(order, "user 7", **fields)
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
    assert running.ask("resume")["reason"] == "training does not pause"


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
    running.box.put("stop", "user 7")
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


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"knob": "learning_rate_multiplier", "value": 1e9}, "expected 0.00390625 to 256"),
        ({"knob": "gate_threshold", "value": float("nan")}, "expected 0.05 to 0.95"),
        ({"knob": "epochs", "value": 3}, "there is no knob 'epochs'"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_the_reason(
    running: Running, fields: dict[str, Any], reason: str
) -> None:
    told = running.ask("set", **fields)
    assert told["result"] == "refused" and reason in told["reason"]
    assert journal(running.run, "intervention") == []


def test_an_answer_to_no_question_is_refused(running: Running) -> None:
    assert "no proposal 3" in running.ask("approve", number=3)["reason"]


def test_a_note_of_the_companion_is_shown_and_journalled(running: Running) -> None:
    running.box.note("telegram: the token is refused\n" + "x" * 1000)
    running.wait(lambda: journal(running.run, "note"))
    assert journal(running.run, "note")[0]["text"].startswith("telegram: the token is refused")
    running.ask("stop")
    out, _ = running.process.communicate(timeout=60)
    assert "note: telegram: the token is refused" in out


def test_what_was_asked_of_an_earlier_session_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "companion").mkdir()
    box = OrderBox(tmp_path)
    box.put("stop", "user 7")
    reader = OrderReader(tmp_path)
    assert reader.read() == []
    box.put("pause", "user 7")
    assert [order["order"] for order in reader.read()] == ["pause"]
    assert reader.read() == []


def test_half_an_order_waits_for_its_end(tmp_path: Path) -> None:
    (tmp_path / "companion").mkdir()
    reader = OrderReader(tmp_path)
    path = tmp_path / "companion" / "orders.jsonl"
    path.write_bytes(b'{"order": "pause", "by"')
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(b': "x"}\n{"order": "resume", "by": "x"}\n{"ord')
    assert [order["order"] for order in reader.read()] == ["pause", "resume"]
    with path.open("ab") as file:
        file.write(b'er": "stop", "by": "x"}\n')
    assert [order["order"] for order in reader.read()] == ["stop"]


def test_an_order_is_not_a_novel(tmp_path: Path) -> None:
    (tmp_path / "companion").mkdir()
    with pytest.raises(ValueError, match="at most"):
        OrderBox(tmp_path).put("set", "user 7", knob="x" * LONGEST_LINE, value=1.0)


def test_what_was_turned_in_a_pause_is_saved_by_the_stop(running: Running) -> None:
    running.ask("pause")
    running.wait(lambda: journal(running.run, "checkpoint"))
    running.ask("set", knob="guide_sigma", value=0.25)
    running.box.put("stop", "user 7")
    assert running.process.wait(60) == 130
    assert load_checkpoint(newest(running.run))["knobs"]["guide_sigma"] == 0.25
