"""The state that a rollback or restart leaves is trained on as long as what came of it; the better one continues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from smart_tuner.settings import Settings, SupervisionSettings
from tests.smart_tuner.simulated_loop import ACTIONS, SimulatedLoop, replay_records
from tests.smart_tuner.simulated_runs import FACTS, simulate

WITH_TRIALS = FACTS.model_copy(update={"actions": (*ACTIONS, "try_abandoned")})
SPIKE = {"total_loss": 30.0, "mel_loss": 30.0}


def spike(step: int, work: int) -> tuple[Mapping[str, float | None], Mapping[str, float | None], Any]:
    """A loss that is far too high in the steps 130 to 136, done for the first time."""
    return (SPIKE if 130 <= work < 137 else {}), {}, {}


def run(distance: float | None, *, n_steps: int = 250, **options: Any) -> SimulatedLoop:
    return simulate(spike, n_steps=n_steps, facts=WITH_TRIALS, left_distance=distance, **options)


def trials(loop: SimulatedLoop) -> list[Any]:
    return [order for _, order in loop.orders if order.action == "try_abandoned"]


def verdict(loop: SimulatedLoop) -> dict[str, Any]:
    return next(record for record in loop.decisions("follow_up") if "verdict" in record)


@pytest.mark.parametrize(("distance", "expected"), [(0.8, "helped"), (0.51, "unknown"), (0.3, "harmful")])
def test_a_rollback_is_judged_beside_what_it_left(distance: float, expected: str) -> None:
    loop = run(distance)
    assert verdict(loop)["verdict"] == expected
    (trial,) = trials(loop)[:1]
    left = next(record["step"] for record in loop.decisions("intervention") if record.get("action") == "roll_back")
    asked = next(record for record in loop.decisions("follow_up") if record.get("check") == "abandoned")
    assert trial.step == left and trial.n_steps == asked["step"] - left > 0  # equally many steps since


def test_training_returns_to_what_was_left_if_the_rollback_did_harm() -> None:
    loop = run(0.3, n_steps=230)
    (trial,) = trials(loop)
    assert verdict(loop)["reverted"] and verdict(loop)["to_step"] == trial.step
    state = loop.supervisor.state
    assert state.failed["loss_spike"] == ["roll_back"] and state.interventions == 1
    steps = [step for step, _ in loop.supervisor.history.since("total_loss", 1)]
    assert steps == list(range(1, steps[-1] + 1)) and steps[-1] == loop.step
    spiked = [step for step, value in loop.supervisor.history.since("total_loss", 1) if value == 30.0]
    assert spiked, "the signals of what was left are known again"


@pytest.mark.parametrize("distance", [0.8, 0.51, 0.3, None])
def test_every_outcome_can_be_recomputed(distance: float | None) -> None:
    loop = run(distance)
    replayed = replay_records(loop.records)
    assert replayed.recomputed == replayed.recorded


def test_what_cannot_be_read_any_more_leaves_the_effect_unknown() -> None:
    loop = run(None)
    assert verdict(loop)["verdict"] == "unknown" and loop.supervisor.state.pending is None


def restarted(**options: Any) -> SimulatedLoop:
    """A run whose learning rate is twenty times the recipe's, until a restart."""
    rate = FACTS.knobs["learning_rate_multiplier"].model_copy(update={"preset": 0.05})
    knobs = FACTS.knobs | {"learning_rate_multiplier": rate}
    facts = WITH_TRIALS.model_copy(update={"knobs": knobs, "planned_steps": options.pop("planned_steps", 400)})

    def too_high(step: int, work: int) -> Any:
        return ({"total_loss": 3.0, "mel_loss": 3.0} if work < 40 else {}), {}, {}

    return simulate(too_high, n_steps=200, facts=facts, left_distance=0.9, **options)


@pytest.mark.parametrize(("planned_steps", "is_tried"), [(250, True), (1000, False)])
def test_without_strong_checks_only_a_loss_of_more_than_a_tenth_of_the_plan_is_tried(
    planned_steps: int, is_tried: bool
) -> None:
    settings = Settings(supervision=SupervisionSettings(strong_checks=False))
    loop = restarted(planned_steps=planned_steps, settings=settings)
    restart = next(record for record in loop.decisions("intervention") if record.get("action") == "restart")
    assert (restart["step"] > planned_steps / 10) is is_tried
    assert (trials(loop) != []) is is_tried


def test_a_restart_is_compared_after_as_many_steps_as_it_gave_up() -> None:
    loop = restarted()
    restart = next(record for record in loop.decisions("intervention") if record.get("action") == "restart")
    (trial,) = trials(loop)[:1]
    asked = next(record for record in loop.decisions("follow_up") if record.get("check") == "abandoned")
    length = asked["step"] - restart["step"]
    assert trial.step == restart["step"] and trial.n_steps == length - restart["step"] >= 0
    assert verdict(loop)["verdict"] == "helped"


def test_a_resume_during_the_trial_knows_what_was_left() -> None:
    loop = run(0.3, n_steps=170)
    saved = loop.supervisor.state_dict()
    assert saved["abandoned"] is not None
    other = simulate(n_steps=0, facts=WITH_TRIALS).supervisor
    other.load_state_dict(saved)
    assert other.state_dict() == saved


def test_a_return_keeps_what_people_and_other_interventions_did_meanwhile() -> None:
    loop = run(0.3, n_steps=160)  # the trial is still to come
    supervisor = loop.supervisor
    supervisor.observe_plan(planned_steps=500, patience_steps=70)
    supervisor.state.proposed[7] = ("plateau", "lower_learning_rate")
    loop.run(230)
    assert verdict(loop)["verdict"] == "harmful"
    assert (supervisor.facts.planned_steps, supervisor.facts.alignment_patience_steps) == (500, 70)
    assert supervisor.state.proposed == {7: ("plateau", "lower_learning_rate")}


def test_what_was_left_is_forgotten_with_the_verdict() -> None:
    loop = run(0.8)
    assert verdict(loop)["verdict"] == "helped" and loop.supervisor.state_dict()["abandoned"] is None


def test_advice_tries_nothing() -> None:
    assert trials(run(0.3, advise=True)) == []


@pytest.mark.parametrize("distance", [0.8, 0.3])
def test_a_replay_with_other_settings_follows_the_steps_that_were_done(distance: float) -> None:
    loop = restarted() if distance == 0.8 else run(0.3)
    replayed = replay_records(loop.records, Settings(supervision=SupervisionSettings(intervention_budget=0)))
    assert replayed.supervisor is not None and replayed.supervisor.state.step == loop.step


def test_steps_of_a_trial_are_work() -> None:
    loop = run(0.8)
    assert loop.supervisor.state.work_steps == loop.work


def test_a_follow_up_of_an_earlier_version_is_read() -> None:
    loop = run(0.8, n_steps=150)
    saved = loop.supervisor.state_dict()
    pending = saved["memory"]["pending"]
    pending["known"] = pending.pop("active_before")
    other = simulate(n_steps=0, facts=WITH_TRIALS).supervisor
    other.load_state_dict(saved)
    assert other.state.pending is not None and other.state.pending.active_before == pending["known"]
