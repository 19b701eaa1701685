"""Forks at a plateau: one is kept if both of its seeds beat the untreated arms by more than equal arms differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from monitoring.events import ArmSignals
from monitoring.measures.signals import Signals
from reports import TrainerOrder
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.inputs.run_facts import KnobFacts
from smart_tuner.replay import first_difference
from smart_tuner.settings import Settings, SupervisionSettings
from smart_tuner.state import PendingFollowUp, SupervisorState
from smart_tuner.supervisor import Supervisor
from smart_tuner.treatment.forks import fork_and_race
from smart_tuner.treatment.interventions import Expectation
from smart_tuner.treatment.remedies import RemedyContext
from smart_tuner.treatment.verdicts.race import N_CONTROLS, N_SEEDS
from tests.smart_tuner.histories import every, make_facts, make_view
from tests.smart_tuner.simulated_loop import ACTIONS, SimulatedLoop, replay_records

KNOBS = {
    "learning_rate_multiplier": KnobFacts(start=1.0, low=1 / 256, high=256.0),
    "guide_weight_multiplier": KnobFacts(start=1.0, low=0.0, high=8.0),
    "grad_clip_thresh": KnobFacts(start=4.0, low=0.01, high=1000.0),
}
LOWER_LOSS = Expectation("val_mel_loss", "down", 900, 2.0, 0.05)


def plan_forks(
    checkpoints: Sequence[int] = (500, 600), *, step: int = 640, work: int = 640, **facts: Any
) -> TrainerOrder | None:
    defaults: dict[str, Any] = {"knobs": KNOBS, "forks": True, "planned_steps": 3000, "actions": ("turn", "race")}
    series = {"val_mel_loss": every(100, [2.0] * 6), "val_total_loss": every(100, [3.0] * 6)}
    view = make_view(series, make_facts(**defaults | facts), step=step)
    knobs = {name: knob.start for name, knob in view.facts.knobs.items()}
    state = SupervisorState(knobs=knobs, step=step, work_steps=work, checkpoints=list(checkpoints))
    diagnosis = Diagnosis("plateau", "warning", step, 300, {})
    plan = fork_and_race(RemedyContext(diagnosis, view, state, SupervisionSettings(), may_roll_back=True))
    if plan is None:
        return None
    assert (plan.expected.signal, plan.expected.direction) == ("val_mel_loss", "down")
    return plan.orders[0]


def test_each_fork_turns_one_knob_with_two_seeds_and_three_controls_turn_none() -> None:
    order = plan_forks()
    assert order is not None and (order.action, order.step, order.n_steps) == ("race", 600, 100)
    controls, forks = order.arms[:N_CONTROLS], order.arms[N_CONTROLS:]
    untreated = {"learning_rate_multiplier": 1.0, "guide_weight_multiplier": 1.0, "grad_clip_thresh": 4.0}
    assert controls == (untreated,) * 3 and order.seeds == (0, 1, 2, *(0, 1) * 4)
    assert forks[::N_SEEDS] == forks[1::N_SEEDS]
    turned = [{name: value for name, value in fork.items() if value != untreated[name]} for fork in forks[::N_SEEDS]]
    assert turned == [
        {"learning_rate_multiplier": 0.5},
        {"learning_rate_multiplier": 2.0},
        {"guide_weight_multiplier": 0.5},
        {"grad_clip_thresh": 2.0},
    ]


def test_pinned_knobs_and_those_switched_off_or_at_a_bound_are_not_forked() -> None:
    knobs = KNOBS | {
        "guide_weight_multiplier": KnobFacts(start=0.0, low=0.0, high=8.0, first=0.25),
        "learning_rate_multiplier": KnobFacts(start=1.0, low=0.8, high=4.0),
    }
    order = plan_forks(knobs=knobs, pinned=("grad_clip_thresh",))
    assert order is not None
    assert [arm["learning_rate_multiplier"] for arm in order.arms] == [1.0, 1.0, 1.0, 2.0, 2.0]
    assert {arm["grad_clip_thresh"] for arm in order.arms} == {4.0}


def test_a_fork_lasts_500_steps_at_most() -> None:
    order = plan_forks(steps_per_evaluation=2000, planned_steps=100_000)
    assert order is not None and order.n_steps == 500


@pytest.mark.parametrize(
    "changes",
    [
        {"forks": False},
        {"checkpoints": ()},
        {"planned_steps": 600, "work": 601},  # eleven arms of 100 steps, and 40 repeated steps
        {"pinned": tuple(KNOBS)},
    ],
)
def test_no_forks_if_disabled_impossible_or_too_expensive(changes: dict[str, Any]) -> None:
    assert plan_forks(**changes) is None


def test_forks_may_use_all_remaining_work() -> None:
    assert plan_forks(planned_steps=890, work=640) is not None
    assert plan_forks(planned_steps=890, work=641) is None


def run_race(distances: Sequence[float]) -> tuple[Supervisor, dict[str, Any], int]:
    """Judge a race of three controls and two forks, with the distances of eight utterances around these."""
    supervisor = Supervisor(make_facts(knobs=KNOBS, forks=True, actions=("turn", "race")), Settings())
    supervisor.state.step = 640
    supervisor.state.pending = PendingFollowUp(
        ailment="plateau", remedy="fork_and_race", step=640, expected=LOWER_LOSS, racing=True
    )
    arms = [
        ArmSignals(
            {"learning_rate_multiplier": factor},
            tuple((601 + i, {"total_loss": distance}) for i in range(3)),
            {"val_mel_loss": distance},
            {f"u{i}": distance * (1 + 0.1 * i) for i in range(8)},
        )
        for factor, distance in zip((1.0, 1.0, 1.0, 0.5, 0.5, 2.0, 2.0), distances, strict=True)
    ]
    (decision,), winner = supervisor.observe_race(600, arms)
    return supervisor, dict(decision.fields), winner


def test_training_continues_with_the_winner_which_is_recorded() -> None:
    supervisor, record, winner = run_race([2.0, 2.01, 2.02, 1.8, 1.81, 1.95, 1.96])
    assert winner == 3 and record["verdict"] == "helped" and record["gain"] == pytest.approx(0.108, abs=0.002)
    assert record["evidence"] == {"noise": pytest.approx(0.0046, abs=2e-4), "winner": 3, "from_step": 600}
    assert supervisor.state.knobs["learning_rate_multiplier"] == 0.5
    assert supervisor.history.latest()["val_mel_loss"] == 1.8 and supervisor.state.step == 603


def test_without_a_winner_the_first_control_continues_and_forks_are_not_repeated() -> None:
    supervisor, record, winner = run_race([2.0, 2.1, 2.05, 1.99, 2.03, 1.97, 2.01])
    assert winner == 0 and record["verdict"] == "no_effect" and not record["reverted"]
    assert supervisor.state.knobs["learning_rate_multiplier"] == 1.0
    assert supervisor.state.failed["plateau"] == ["fork_and_race"]


def test_a_plateau_is_forked_once_and_replay_decides_the_same() -> None:
    def plateau(step: int, work: int) -> tuple[Signals, Signals, dict[str, float | None]]:
        loss = 2.0 if step > 100 else 4.0 - step / 50
        rate = {"learning_rate": 1e-3, "gradient_norm": 1.0, "update_ratio": 1e-3}
        healthy = {"diagonality": 0.9, "free_diagonality": 0.9, "gate_accuracy": 0.9, "stop_rate": 1.0}
        return {"total_loss": loss, **rate}, {"val_total_loss": loss, "val_mel_loss": loss, **healthy}, {}

    facts = make_facts(
        knobs=KNOBS, forks=True, actions=ACTIONS, steps_per_evaluation=20, planned_steps=800, alignment_patience_steps=0
    )
    loop = SimulatedLoop(facts, plateau)
    loop.run(700)
    forked = [record for record in loop.decisions("intervention") if record.get("remedy") == "fork_and_race"]
    assert len(forked) == 1 and len(forked[0]["arms"]) == 11
    verdicts = [record for record in loop.decisions("follow_up") if record["remedy"] == "fork_and_race"]
    assert [record["verdict"] for record in verdicts] == ["no_effect"]
    replayed = replay_records(loop.records)
    assert first_difference(replayed) is None and len(replayed.recomputed) == len(loop.decisions())
