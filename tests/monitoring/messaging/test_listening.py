"""Who listens to the record of a run hears everything in order, once it is written down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from monitoring.journal.journal import read_journal
from monitoring.journal.recorder import STEPS_PER_RECORD, RecordedArm, RunRecord
from monitoring.measures.signals import Signals
from tests.monitoring.journal.test_recorder import Report, Spoken, summary
from tests.monitoring.measures.test_signals import Step


@dataclass(frozen=True)
class Rollback:
    wanted_step: int
    step: int | None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arm:
    knobs: Mapping[str, float]
    steps: tuple[Step, ...]
    evaluation: Report


PLATEAU: dict[str, Any] = {"ailment": "plateau", "severity": "warning", "since": 1, "evidence": {"slope": 0.0}}
TRIED: dict[str, Any] = {
    **{
        "ailment": "plateau",
        "remedy": "lower_learning_rate",
        "knob": "learning_rate_multiplier",
        "from": 1.0,
        "to": 0.5,
    },
    "expected": {"signal": "val_total_loss", "direction": "down", "by_step": 9, "forecast": 1.5},
}


class Ear:
    """Remembers what it heard and what had been recorded by then; decides as it is told to."""

    def __init__(self, record: RunRecord, *, winner: int = 0) -> None:
        self.record, self.winner = record, winner
        self.heard: list[tuple[Any, ...]] = []
        self.recorded: list[Signals] = []
        self.journal: list[list[str]] = []
        self.loaded: Mapping[str, Any] | None = None
        self.decide: tuple[str, int] | None = None

    def _hear(self, *what: Any) -> None:
        self.heard.append(what)
        self.recorded.append(self.record.history.latest())
        self.journal.append([r["kind"] for r in read_journal(self.record.folder / "journal.jsonl")])
        if self.decide is not None:
            kind, step = self.decide
            self.record.on_decision(kind, step, {"phase": "alignment", **PLATEAU})

    def step(self, step: int, signals: Signals, outliers: Mapping[str, float | None]) -> None:
        self._hear("step", step, signals, dict(outliers))

    def evaluation(self, step: int, signals: Signals) -> None:
        self._hear("evaluation", step, signals)

    def checkpoint(self, step: int, kept: Sequence[int], signals: Signals) -> None:
        self._hear("checkpoint", step, list(kept), signals)

    def rolled_back(self, step: int | None) -> None:
        self._hear("rolled back", step)

    def race(self, start_step: int, arms: Sequence[RecordedArm]) -> int:
        self._hear("race", start_step, list(arms))
        return self.winner

    def state_dict(self) -> dict[str, Any]:
        return {"heard": len(self.heard)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.loaded = state


@pytest.fixture
def ear(record: RunRecord) -> Ear:
    record.listener = Ear(record)
    return record.listener


def steps(record: RunRecord, *numbers: int) -> None:
    for number in numbers:
        record.on_step(replace(Step(), step=number, loss_parts={"mel_loss": float(number)}))


def records(folder: Path) -> list[dict[str, Any]]:
    return read_journal(folder / "journal.jsonl")


def save(record: RunRecord, *kept: int) -> None:
    path = record.folder / "checkpoints" / "x.pt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"weights")
    record.after_checkpoint(latest=path, best=None, kept=kept)


def test_it_hears_of_everything_after_it_was_recorded(record: RunRecord, ear: Ear) -> None:
    steps(record, 6, 7)
    record.before_evaluation()
    record.on_evaluation(Report())
    record.before_checkpoint()
    save(record, 3, 7)
    assert [what[:2] for what in ear.heard] == [("step", 6), ("step", 7), ("evaluation", 7), ("checkpoint", 7)]
    assert [signals["mel_loss"] for signals in ear.recorded] == [6.0, 7.0, 7.0, 7.0]
    assert ear.recorded[2]["val_total_loss"] == 0.5 and "disk_free_bytes" in ear.recorded[3]
    assert ear.journal == [[], [], ["steps", "evaluation"], ["steps", "evaluation", "checkpoint"]]
    assert ear.heard[0][2] == {**ear.recorded[0]}
    assert ear.heard[3][2] == [3, 7]
    assert ear.heard[3][3]["checkpoint_bytes"] == 7.0 and ear.heard[3][3]["disk_free_bytes"] > 0


def test_utterances_that_stand_out_are_told_and_journalled_with_their_steps(
    record: RunRecord, ear: Ear, tmp_path: Path
) -> None:
    record.on_step(replace(Step(), step=1))
    record.on_step(replace(Step(), step=2, utterance_losses=(1.0, math.nan, 9.0)))
    record.write_steps()
    steps(record, 3)
    record.write_steps()
    assert [what[3] for what in ear.heard] == [{}, {"b": None}, {}]
    blocks = records(tmp_path)
    assert blocks[0]["outliers"] == {"2": {"b": None}} and "outliers" not in blocks[1]


def test_a_decision_stands_in_the_journal_after_the_steps_it_follows_from(
    record: RunRecord, ear: Ear, tmp_path: Path
) -> None:
    steps(record, 1, 2)
    ear.decide = ("diagnosis", 3)
    steps(record, 3)
    ear.decide = None
    steps(record, 4)
    record.finish(status="finished", reason="epochs")
    told = [(r["kind"], r["step"], r.get("steps")) for r in records(tmp_path)]
    assert told == [("steps", 3, [1, 2, 3]), ("diagnosis", 3, None), ("steps", 4, [4]), ("finished", 4, None)]
    assert summary(tmp_path)["phase"] == "alignment"


def test_verdicts_are_counted_in_the_summary(record: RunRecord, tmp_path: Path) -> None:
    for verdict in ("helped", "harmful", "helped", None):
        said = {"phase": "quality", **TRIED} | ({"verdict": verdict, "value": 1.0} if verdict else {})
        record.on_decision("follow_up" if verdict else "intervention", 7, said)
    record.write_summary()
    assert summary(tmp_path)["interventions"] == {"helped": 2, "harmful": 1}
    assert summary(tmp_path)["phase"] == "quality"


def test_going_back_cuts_the_history_and_is_told_after_the_steps_that_led_there(
    record: RunRecord, ear: Ear, tmp_path: Path
) -> None:
    steps(record, *range(1, 10))
    record.on_rollback(Rollback(5, 4, ("checkpoint x: damaged",)))
    assert ear.heard[-1] == ("rolled back", 4)
    assert [step for step, _ in record.history.series("mel_loss")] == [1, 2, 3, 4]
    assert ear.recorded[-1]["mel_loss"] == 4.0
    block, told = records(tmp_path)
    assert block["steps"] == list(range(1, 10))
    assert (told["kind"], told["step"], told["wanted_step"], told["to"]) == ("rolled_back", 4, 5, 4)
    assert told["problems"] == ["checkpoint x: damaged"]
    steps(record, 5, 6)
    save(record, 4)
    assert records(tmp_path)[-1]["step"] == 6


def test_a_rollback_that_was_not_possible_cuts_nothing(record: RunRecord, ear: Ear, tmp_path: Path) -> None:
    steps(record, 1, 2, 3)
    record.on_rollback(Rollback(2, None, ("no checkpoint",)))
    assert ear.heard[-1] == ("rolled back", None)
    assert len(record.history.series("mel_loss")) == 3
    assert (records(tmp_path)[-1]["step"], records(tmp_path)[-1]["to"]) == (3, None)
    steps(record, 4)


def arm(sigma: float) -> Arm:
    ran = tuple(replace(Step(), step=step, epoch=2, loss_parts={"mel_loss": step + sigma}) for step in (5, 6, 7))
    return Arm({"guide_sigma": sigma}, ran, Report((Spoken(),), losses={"val_total_loss": sigma}, step=7))


@pytest.mark.parametrize("winner", [0, 1])
def test_of_a_race_both_arms_are_recorded_and_the_winner_goes_on(
    record: RunRecord, ear: Ear, tmp_path: Path, winner: int
) -> None:
    ear.winner = winner
    steps(record, *range(1, 10))
    for _ in range(6):
        record.on_arm_step()
    assert record.on_race(4, [arm(0.25), arm(0.5)]) == winner
    block, told = records(tmp_path)
    assert block["steps"] == list(range(1, 10))
    assert (told["kind"], told["step"], told["from_step"]) == ("race", 9, 4)
    assert [a["knobs"] for a in told["arms"]] == [{"guide_sigma": 0.25}, {"guide_sigma": 0.5}]
    assert [a["steps"] for a in told["arms"]] == [[5, 6, 7]] * 2
    assert [a["signals"]["mel_loss"] for a in told["arms"]] == [[5.25, 6.25, 7.25], [5.5, 6.5, 7.5]]
    assert [a["evaluation"]["val_total_loss"] for a in told["arms"]] == [0.25, 0.5]
    kind, start, arms = ear.heard[-1]
    assert (kind, start, ear.journal[-1]) == ("race", 4, ["steps", "race"])
    assert [a.knobs for a in arms] == [{"guide_sigma": 0.25}, {"guide_sigma": 0.5}]
    assert [step for step, _ in arms[0].steps] == [5, 6, 7] and arms[1].evaluation["val_total_loss"] == 0.5
    sigma = (0.25, 0.5)[winner]
    expected = [*((step, float(step)) for step in range(1, 5)), *((step, step + sigma) for step in (5, 6, 7))]
    assert record.history.series("mel_loss") == expected
    assert record.history.latest()["val_total_loss"] == sigma
    steps(record, 8)
    record.finish(status="finished", reason="epochs")
    assert records(tmp_path)[-2]["steps"] == [8] and summary(tmp_path)["step"] == 8


def test_its_memory_goes_through_a_checkpoint_with_that_of_the_record(record: RunRecord, ear: Ear) -> None:
    steps(record, 1, 2)
    state = record.state_dict()
    assert state["listener"] == {"heard": 2}
    record.load_state_dict(state)
    assert ear.loaded == {"heard": 2}


def test_a_listener_may_come_and_go_over_a_resume(record: RunRecord, ear: Ear) -> None:
    watched = record.state_dict()
    record.listener = None
    alone = record.state_dict()
    assert "listener" not in alone
    record.load_state_dict(watched)
    record.listener = ear
    record.load_state_dict(alone)
    assert ear.loaded is None


def test_a_full_block_is_written_before_the_step_that_filled_it_is_told(record: RunRecord, ear: Ear) -> None:
    steps(record, *range(1, STEPS_PER_RECORD + 1))
    assert ear.journal[-2:] == [[], ["steps"]]
