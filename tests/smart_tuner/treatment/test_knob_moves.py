from __future__ import annotations

from collections.abc import Iterator

import pytest

from smart_tuner.settings import SupervisionSettings
from smart_tuner.state import PendingFollowUp, SupervisorState
from smart_tuner.treatment.decisions import Decision
from smart_tuner.treatment.interventions import Expectation
from smart_tuner.treatment.knob_moves import continue_moves, move_knob
from tests.smart_tuner.histories import make_facts

LIMITS, FACTS = SupervisionSettings(), make_facts(steps_per_evaluation=80)
RATE, GUIDE = "learning_rate_multiplier", "guide_weight_multiplier"


def positions_to(knob: str, start: float, target: float) -> Iterator[float]:
    """Positions of a knob after each move until it reaches its target."""
    state = SupervisorState(knobs={knob: start}, step=10)
    while state.knobs[knob] != target:
        order = move_knob(knob, target, FACTS, state, LIMITS)
        assert order.action == "turn" and order.knobs == {knob: state.knobs[knob]}
        assert state.turned_at == 10
        yield state.knobs[knob]


@pytest.mark.parametrize(
    ("start", "target", "positions"),
    [
        (1.0, 1.5, [1.5]),
        (1.0, 2.0, [2.0]),
        (1.0, 5.0, [2.0, 4.0, 5.0]),
        (1.0, 0.6, [0.6]),
        (1.0, 0.2, [0.5, 0.25, 0.2]),
        (3.0, 0.0, [1.5, 0.75, 0.375, 0.1875, 0.0]),
    ],
)
def test_a_knob_moves_by_a_factor_of_two_at_most(start: float, target: float, positions: list[float]) -> None:
    assert list(positions_to(GUIDE, start, target)) == positions


def test_a_knob_is_switched_on_and_off_at_its_first_position() -> None:
    assert list(positions_to(GUIDE, 0.0, 1.0)) == [0.25, 0.5, 1.0]
    assert list(positions_to(GUIDE, 0.0, 0.1)) == [0.1]
    assert list(positions_to(GUIDE, 1.0, 0.0)) == [0.5, 0.25, 0.0]


def test_a_knob_without_a_first_position_is_switched_at_once() -> None:
    assert list(positions_to(RATE, 0.0, 1.0)) == [1.0]
    assert list(positions_to(RATE, 1.0, 0.0)) == [0.0]


def test_the_largest_factor_may_be_smaller() -> None:
    state = SupervisorState(knobs={RATE: 1.0})
    assert move_knob(RATE, 4.0, FACTS, state, SupervisionSettings(largest_step_factor=1.25)).knobs == {RATE: 1.25}


def state_with_target(target: float = 8.0, *, racing: bool = False) -> SupervisorState:
    expected = Expectation("total_loss", "down", 500, 2.0, 0.05)
    pending = PendingFollowUp(
        ailment="plateau", remedy="x", step=0, expected=expected, knob=RATE, before=1.0, target=target, racing=racing
    )
    return SupervisorState(knobs={RATE: 1.0, GUIDE: 1.0}, pending=pending)


def moves_during(state: SupervisorState, steps: range) -> list[tuple[int, Decision]]:
    moves = []
    for state.step in steps:
        moves += [(state.step, decision) for decision in continue_moves(FACTS, state, LIMITS)]
    return moves


def test_eight_moves_are_made_per_evaluation_interval() -> None:
    state = state_with_target(8.0)
    moves = moves_during(state, range(1, 100))
    assert [(step, decision.fields["to"]) for step, decision in moves] == [(10, 2.0), (20, 4.0), (30, 8.0)]
    first = moves[0][1]
    assert first.kind == "intervention" and [order.knobs for order in first.orders] == [{RATE: 2.0}]
    expected = {"phase": "pre_alignment", "knob": RATE, "from": 1.0, "to": 2.0, "on_the_way_to": 8.0}
    assert first.fields == expected


def test_a_returning_knob_moves_until_it_is_back() -> None:
    state = SupervisorState(knobs={RATE: 4.0}, returning={RATE: 1.0})
    assert [decision.fields["to"] for _, decision in moves_during(state, range(1, 100))] == [2.0, 1.0]
    assert state.returning == {}


def test_a_returning_knob_that_is_back_needs_no_move() -> None:
    state = SupervisorState(knobs={RATE: 1.0}, returning={RATE: 1.0})
    assert moves_during(state, range(1, 100)) == []
    assert state.returning == {}


def test_no_knob_moves_during_a_race() -> None:
    assert moves_during(state_with_target(8.0, racing=True), range(1, 100)) == []


def test_a_knob_at_its_target_does_not_move() -> None:
    assert moves_during(SupervisorState(knobs={RATE: 1.0}), range(1, 100)) == []
    assert moves_during(state_with_target(1.0), range(1, 100)) == []


def test_a_knob_moves_at_most_once_per_step() -> None:
    state = state_with_target(8.0)
    for state.step in range(1, 4):
        continue_moves(make_facts(steps_per_evaluation=1), state, LIMITS)
    assert state.knobs[RATE] == 8.0
