"""After a resume with changed settings, the change is the first suspect and undoing it the first remedy."""

from __future__ import annotations

from typing import Any

import pytest

from smart_tuner.inputs.run_facts import RunFacts
from smart_tuner.settings import Settings
from smart_tuner.supervisor import Supervisor
from smart_tuner.treatment.changed_settings import SUSPECT_EVALUATIONS
from tests.smart_tuner.simulated_runs import EVALUATION_STEPS, FACTS, remedies, simulate
from tests.smart_tuner.test_supervisor import broken_between

RESUMED_AT = 120


def facts_of_resume(resumed_at: int = RESUMED_AT, *, former: float = 0.04, **changes: Any) -> RunFacts:
    """A resume at which the learning rate became 25 times as high."""
    rate = FACTS.knobs["learning_rate_multiplier"].model_copy(update={"former": former})
    knobs = FACTS.knobs | {"learning_rate_multiplier": rate}
    return FACTS.model_copy(update={"resumed_at": resumed_at, "knobs": knobs, **changes})


def test_the_former_setting_is_restored_from_the_checkpoint_before_and_no_data_are_skipped() -> None:
    loop = simulate(broken_between(130, 136), facts=facts_of_resume(), n_steps=160)
    assert remedies(loop) == ["undo_changed_settings"]
    order = next(order for _, order in loop.orders if order.action == "roll_back")
    assert order.step == RESUMED_AT and order.skip_since is None
    assert order.knobs == {"learning_rate_multiplier": 0.04}
    assert loop.supervisor.state.knobs["learning_rate_multiplier"] == 0.04


def test_a_setting_is_undone_as_far_as_its_bounds_allow() -> None:
    loop = simulate(broken_between(130, 136), facts=facts_of_resume(former=1e-6), n_steps=160)
    order = next(order for _, order in loop.orders if order.action == "roll_back")
    assert order.knobs == {"learning_rate_multiplier": 1 / 256}


def test_a_change_that_is_undone_is_no_suspect_any_more() -> None:
    loop = simulate(broken_between(130, 1000), facts=facts_of_resume(), n_steps=220)
    assert remedies(loop)[0] == "undo_changed_settings" and "undo_changed_settings" not in remedies(loop)[1:]


@pytest.mark.parametrize(
    "facts",
    [
        FACTS,  # nothing was changed
        facts_of_resume(pinned=("learning_rate_multiplier",)),
        facts_of_resume(resumed_at=140),  # the trouble began before
        facts_of_resume(resumed_at=130 - SUSPECT_EVALUATIONS * EVALUATION_STEPS),  # long ago
    ],
)
def test_other_troubles_are_treated_as_usual(facts: RunFacts) -> None:
    assert remedies(simulate(broken_between(130, 136), facts=facts, n_steps=160)) == ["roll_back"]


def test_the_suspect_is_remembered_by_a_session_that_a_kill_began() -> None:
    knobs = FACTS.knobs
    rate = knobs["learning_rate_multiplier"].model_copy(update={"former": 0.1})
    changed = FACTS.model_copy(update={"resumed_at": 100, "knobs": knobs | {"learning_rate_multiplier": rate}})
    first = Supervisor(changed, Settings())
    first.load_state_dict(Supervisor(FACTS, Settings()).state_dict())
    after_a_kill = Supervisor(FACTS, Settings())
    after_a_kill.load_state_dict(first.state_dict())
    assert after_a_kill.facts.resumed_at == 100
    assert after_a_kill.facts.knobs["learning_rate_multiplier"].former == 0.1
