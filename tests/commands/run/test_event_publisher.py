"""Events reach recorder, supervisor and other subscribers in order, each with its signals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from commands.run.event_publisher import EventPublisher
from monitoring.events import (
    AbandonedEvent,
    ArmSignals,
    CheckpointEvent,
    EvaluationEvent,
    EvaluationStartEvent,
    Event,
    RaceDecisionEvent,
    RaceEvent,
    SaveStartEvent,
    StepEvent,
)
from monitoring.journal.journal import read_journal
from monitoring.journal.journal_state import JournalState
from monitoring.journal.recorder import STEPS_PER_RECORD, RunRecorder
from monitoring.journal.summary import read_summary
from monitoring.measures.signals import Signals
from reports import AbandonedReport, ArmReport, CheckpointReport, RaceReport, RaceWinner, RollbackReport
from smart_tuner.runtime import SupervisorRuntime
from tests.monitoring.measures.sample_reports import make_evaluation, make_step
from tests.monitoring.recorders import open_recorder

PLATEAU: dict[str, Any] = {"ailment": "plateau", "severity": "warning", "since": 1, "evidence": {"slope": 0.0}}
INTERVENTION: dict[str, Any] = {
    **{"ailment": "plateau", "remedy": "lower_learning_rate"},
    **{"knob": "learning_rate_multiplier", "from": 1.0, "to": 0.5},
    "expected": {"signal": "val_total_loss", "direction": "down", "by_step": 9, "forecast": 1.5},
}


class FakeSupervisor:
    """Notes each event with the state of the recorder at that time; decides as prepared."""

    def __init__(self, recorder: RunRecorder) -> None:
        self.recorder = recorder
        self.winning_arm = 0
        self.returns = False
        self.events: list[Event] = []
        self.recorded: list[Signals] = []
        self.journal: list[list[str]] = []
        self.loaded: Mapping[str, Any] | None = None
        self.decision: tuple[str, int] | None = None

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self.recorded.append(self.recorder.history.latest())
        self.journal.append([r["kind"] for r in read_journal(self.recorder.folder / "journal.jsonl")])
        if self.decision is not None:
            kind, step = self.decision
            self.recorder.on_decision(kind, step, {"phase": "alignment", **PLATEAU})

    def on_race(self, start_step: int, arms: Sequence[ArmSignals]) -> int:
        self.events.append(RaceEvent(start_step, tuple(arms)))
        return self.winning_arm

    def on_abandoned(self, start_step: int, arm: ArmSignals | None) -> str | None:
        self.events.append(AbandonedEvent(start_step, arm, ""))
        return "quality" if self.returns else None

    def state_dict(self) -> dict[str, Any]:
        return {"events": len(self.events)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.loaded = state


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[EventPublisher]:
    publisher = EventPublisher(open_recorder(tmp_path))
    yield publisher
    publisher.recorder.close()


@pytest.fixture
def supervisor(publisher: EventPublisher) -> FakeSupervisor:
    fake = FakeSupervisor(publisher.recorder)
    publisher.supervisor = cast(SupervisorRuntime, fake)
    return fake


def steps(publisher: EventPublisher, *numbers: int) -> None:
    for number in numbers:
        publisher.on_step(make_step(step=number, loss_parts={"mel_loss": float(number)}))


def records(folder: Path) -> list[dict[str, Any]]:
    return read_journal(folder / "journal.jsonl")


def save(publisher: EventPublisher, step: int, *kept: int) -> None:
    path = publisher.recorder.folder / "checkpoints" / "x.pt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"weights")
    publisher.on_checkpoint(CheckpointReport(step, path, None, kept))


def test_the_supervisor_receives_each_event_after_it_was_recorded(
    publisher: EventPublisher, supervisor: FakeSupervisor
) -> None:
    steps(publisher, 6, 7)
    publisher.on_evaluation_start()
    publisher.on_evaluation(make_evaluation(step=7))
    publisher.on_save_start()
    save(publisher, 7, 3, 7)
    assert [type(event) for event in supervisor.events] == [
        *(StepEvent, StepEvent, EvaluationStartEvent, EvaluationEvent, SaveStartEvent, CheckpointEvent)
    ]
    assert [signals["mel_loss"] for signals in supervisor.recorded] == [6.0, 7.0, 7.0, 7.0, 7.0, 7.0]
    assert supervisor.recorded[3]["val_total_loss"] == 0.75 and "disk_free_bytes" in supervisor.recorded[5]
    journal = ["steps", "evaluation", "checkpoint"]
    assert supervisor.journal == [[], [], journal[:1], journal[:2], journal[:2], journal]
    first, last = supervisor.events[0], supervisor.events[-1]
    assert isinstance(first, StepEvent) and first.signals == supervisor.recorded[0]
    assert isinstance(last, CheckpointEvent) and list(last.report.kept) == [3, 7]
    assert last.signals["checkpoint_bytes"] == 7.0 and (last.signals["disk_free_bytes"] or 0) > 0


def test_other_subscribers_receive_the_same_events_after_the_supervisor(tmp_path: Path) -> None:
    received: list[tuple[str, Event]] = []
    publisher = EventPublisher(open_recorder(tmp_path), [lambda event: received.append(("other", event))])
    fake = FakeSupervisor(publisher.recorder)
    fake.on_event = lambda event: received.append(("supervisor", event))  # type: ignore[method-assign]
    publisher.supervisor = cast(SupervisorRuntime, fake)
    steps(publisher, 1)
    publisher.recorder.close()
    (first, event), (second, same) = received
    assert (first, second) == ("supervisor", "other") and event is same


def test_outlier_utterances_are_published_and_journalled_with_their_steps(
    publisher: EventPublisher, supervisor: FakeSupervisor, tmp_path: Path
) -> None:
    publisher.on_step(make_step(step=1))
    publisher.on_step(make_step(step=2, utterance_losses=(1.0, math.nan, 9.0)))
    publisher.recorder.write_steps()
    steps(publisher, 3)
    publisher.recorder.write_steps()
    assert [event.outliers for event in supervisor.events if isinstance(event, StepEvent)] == [{}, {"b": None}, {}]
    blocks = records(tmp_path)
    assert blocks[0]["outliers"] == {"2": {"b": None}} and "outliers" not in blocks[1]


def test_a_decision_stands_in_the_journal_after_the_steps_it_follows_from(
    publisher: EventPublisher, supervisor: FakeSupervisor, tmp_path: Path
) -> None:
    steps(publisher, 1, 2)
    supervisor.decision = ("diagnosis", 3)
    steps(publisher, 3)
    supervisor.decision = None
    steps(publisher, 4)
    publisher.recorder.finish(status="finished", reason="epochs")
    written = [(r["kind"], r["step"], r.get("steps")) for r in records(tmp_path)]
    assert written == [("steps", 3, [1, 2, 3]), ("diagnosis", 3, None), ("steps", 4, [4]), ("finished", 4, None)]
    assert read_summary(tmp_path)["phase"] == "alignment"


def test_verdicts_are_counted_in_the_summary(publisher: EventPublisher, tmp_path: Path) -> None:
    for verdict in ("helped", "harmful", "helped", None):
        fields = {"phase": "quality", **INTERVENTION} | ({"verdict": verdict, "value": 1.0} if verdict else {})
        publisher.recorder.on_decision("follow_up" if verdict else "intervention", 7, fields)
    publisher.recorder.write_summary()
    assert read_summary(tmp_path)["interventions"] == {"helped": 2, "harmful": 1}
    assert read_summary(tmp_path)["phase"] == "quality"


def test_a_rollback_cuts_the_history_and_follows_the_steps_that_led_to_it(
    publisher: EventPublisher, supervisor: FakeSupervisor, tmp_path: Path
) -> None:
    steps(publisher, *range(1, 10))
    publisher.on_rollback(RollbackReport(5, 4, ("checkpoint x: damaged",)))
    assert supervisor.events[-1] == RollbackReport(5, 4, ("checkpoint x: damaged",))
    assert [step for step, _ in publisher.recorder.history.series("mel_loss")] == [1, 2, 3, 4]
    assert supervisor.recorded[-1]["mel_loss"] == 4.0
    block, rollback = records(tmp_path)
    assert block["steps"] == list(range(1, 10))
    assert (rollback["kind"], rollback["step"], rollback["wanted_step"], rollback["to"]) == ("rolled_back", 4, 5, 4)
    assert rollback["problems"] == ["checkpoint x: damaged"]


def test_a_failed_rollback_cuts_nothing(publisher: EventPublisher, tmp_path: Path) -> None:
    steps(publisher, 1, 2, 3)
    publisher.on_rollback(RollbackReport(2, None, ("no checkpoint",)))
    assert len(publisher.recorder.history.series("mel_loss")) == 3
    assert (records(tmp_path)[-1]["step"], records(tmp_path)[-1]["to"]) == (3, None)


def arm(sigma: float) -> ArmReport:
    reports = tuple(make_step(step=step, epoch=2, loss_parts={"mel_loss": step + sigma}) for step in (5, 6, 7))
    return ArmReport({"guide_sigma": sigma}, reports, make_evaluation(step=7, losses={"val_total_loss": sigma}))


@pytest.mark.parametrize("winner", [0, 1])
def test_both_arms_of_a_race_are_recorded_and_the_winner_goes_on(
    publisher: EventPublisher, supervisor: FakeSupervisor, tmp_path: Path, winner: int
) -> None:
    supervisor.winning_arm = winner
    steps(publisher, *range(1, 10))
    for _ in range(6):
        publisher.on_race_step()
    chosen = publisher.on_race(RaceReport(4, (arm(0.25), arm(0.5))))
    assert chosen.arm == winner
    block, race = records(tmp_path)
    assert block["steps"] == list(range(1, 10))
    assert (race["kind"], race["step"], race["from_step"]) == ("race", 9, 4)
    assert [a["knobs"] for a in race["arms"]] == [{"guide_sigma": 0.25}, {"guide_sigma": 0.5}]
    assert [a["steps"] for a in race["arms"]] == [[5, 6, 7]] * 2
    assert [a["signals"]["mel_loss"] for a in race["arms"]] == [[5.25, 6.25, 7.25], [5.5, 6.5, 7.5]]
    assert [a["evaluation"]["val_total_loss"] for a in race["arms"]] == [0.25, 0.5]
    published, judged, decided = supervisor.events[-3:]
    assert published == judged and supervisor.journal[-2] == ["steps", "race"]
    event = published
    assert isinstance(event, RaceEvent) and event.start_step == 4
    assert [a.knobs for a in event.arms] == [{"guide_sigma": 0.25}, {"guide_sigma": 0.5}]
    assert [step for step, _ in event.arms[0].steps] == [5, 6, 7]
    assert isinstance(decided, RaceDecisionEvent) and decided.winner == event.arms[winner]
    sigma = (0.25, 0.5)[winner]
    expected = [*((step, float(step)) for step in range(1, 5)), *((step, step + sigma) for step in (5, 6, 7))]
    assert publisher.recorder.history.series("mel_loss") == expected
    assert publisher.recorder.history.latest()["val_total_loss"] == sigma
    steps(publisher, 8)
    publisher.recorder.finish(status="finished", reason="epochs")
    assert records(tmp_path)[-2]["steps"] == [8] and read_summary(tmp_path)["step"] == 8


def test_a_checkpoint_holds_the_state_of_recorder_and_supervisor(
    publisher: EventPublisher, supervisor: FakeSupervisor
) -> None:
    steps(publisher, 1, 2)
    state = publisher.state_dict()
    assert state["listener"] == {"events": 2}
    publisher.load_state_dict(state)
    assert supervisor.loaded == {"events": 2}


def test_a_run_may_be_resumed_with_or_without_a_supervisor(
    publisher: EventPublisher, supervisor: FakeSupervisor
) -> None:
    supervised = publisher.state_dict()
    publisher.supervisor = None
    unsupervised = publisher.state_dict()
    assert "listener" not in unsupervised
    publisher.load_state_dict(supervised)
    publisher.supervisor = cast(SupervisorRuntime, supervisor)
    publisher.load_state_dict(unsupervised)
    assert supervisor.loaded is None


def test_a_full_block_is_written_before_the_step_that_filled_it_is_published(
    publisher: EventPublisher, supervisor: FakeSupervisor
) -> None:
    steps(publisher, *range(1, STEPS_PER_RECORD + 1))
    assert supervisor.journal[-2:] == [[], ["steps"]]


def try_abandoned(publisher: EventPublisher, *, left_at: int, n_steps: int) -> RaceWinner | None:
    """Report what was left at a step, trained on for some steps with a loss of 100 and more."""
    numbers = range(left_at + 1, left_at + n_steps + 1)
    trained = tuple(make_step(step=number, loss_parts={"mel_loss": 100.0 + number}) for number in numbers)
    evaluation = make_evaluation(step=left_at + n_steps)
    return publisher.on_abandoned(AbandonedReport(left_at, ArmReport({"guide_sigma": 0.4}, trained, evaluation)))


def test_what_was_left_and_stays_left_is_a_record_that_changes_no_curve(
    publisher: EventPublisher, supervisor: FakeSupervisor, tmp_path: Path
) -> None:
    steps(publisher, *range(1, 8))
    assert not try_abandoned(publisher, left_at=5, n_steps=2)
    (record,) = [r for r in records(tmp_path) if r["kind"] == "abandoned"]
    assert record["from_step"] == 5 and record["arm"]["steps"] == [6, 7] and record["arm"]["evaluation"]
    assert publisher.recorder.history.latest()["mel_loss"] == 7.0
    assert JournalState.load(tmp_path).latest_signals["mel_loss"] == 7.0


def test_a_return_to_what_was_left_continues_its_curve(
    publisher: EventPublisher, supervisor: FakeSupervisor, tmp_path: Path
) -> None:
    supervisor.returns = True
    steps(publisher, *range(1, 10))
    assert try_abandoned(publisher, left_at=5, n_steps=2)
    assert [r["kind"] for r in records(tmp_path)] == ["steps", "abandoned", "rolled_back", "steps", "evaluation"]
    assert [bool(r.get("returned")) for r in records(tmp_path)] == [False, False, True, True, True]
    state = JournalState.load(tmp_path)
    assert state.step == 7 and state.latest_signals["mel_loss"] == 107.0
    assert publisher.recorder.history.latest()["mel_loss"] == 107.0
    publisher.recorder.write_summary()
    assert read_summary(tmp_path)["step"] == 7


def test_a_return_from_a_rollback_shows_the_curve_before_it(
    publisher: EventPublisher, supervisor: FakeSupervisor, tmp_path: Path
) -> None:
    steps(publisher, *range(1, 8))
    publisher.on_rollback(RollbackReport(3, 3, ()))
    for number in (4, 5, 6, 7, 8):
        publisher.on_step(make_step(step=number, loss_parts={"mel_loss": 50.0}))
    supervisor.returns = True
    try_abandoned(publisher, left_at=7, n_steps=1)
    curve = JournalState.load(tmp_path).series["mel_loss"].points()
    assert [value for _, value in curve] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 108.0]


def test_a_corrected_plan_follows_the_steps_before_it(publisher: EventPublisher, tmp_path: Path) -> None:
    steps(publisher, 1, 2)
    publisher.recorder.on_plan(2, planned_steps=50, patience_steps=10, text="shorter")
    assert [r["kind"] for r in records(tmp_path)] == ["steps", "plan"]


def test_what_cannot_be_read_is_journalled_with_the_reason(
    publisher: EventPublisher, supervisor: FakeSupervisor, tmp_path: Path
) -> None:
    assert not publisher.on_abandoned(AbandonedReport(5, None, "abandoned.pt: is damaged"))
    (record,) = records(tmp_path)
    assert record["arm"] is None and record["problem"] == "abandoned.pt: is damaged"


def test_a_group_of_odd_utterances_is_named_in_the_journal(
    publisher: EventPublisher, supervisor: FakeSupervisor, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for step in range(1, 121):
        ids = tuple(f"u{(3 * step + i) % 90:02}" for i in range(3))
        losses = tuple(float(np.exp(rng.normal(0, 0.1) + (2.0 if id_ < "u06" else 0.0))) for id_ in ids)
        publisher.on_step(make_step(step=step, utterance_ids=ids, utterance_losses=losses))
    publisher.on_evaluation(make_evaluation(step=120))
    record = records(tmp_path)[-1]
    assert set(record["odd_utterances"]) == {f"u{i:02}" for i in range(6)}
    assert record["signals"]["odd_group_separation"] > 4
    event = supervisor.events[-1]
    assert isinstance(event, EvaluationEvent) and list(event.odd_utterances) == record["odd_utterances"]
    saved = publisher.state_dict()
    (tmp_path / "other").mkdir()
    other = EventPublisher(open_recorder(tmp_path / "other"))
    other.load_state_dict(saved)
    assert other.state_dict()["residuals"] == saved["residuals"]
    other.recorder.close()
