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


def way(knob: str, start: float, target: float) -> Iterator[float]:
    """Where a knob stands after each step, until it is there."""
    memory = SupervisorState(knobs={knob: start}, step=10)
    while memory.knobs[knob] != target:
        order = move_knob(knob, target, FACTS, memory, LIMITS)
        assert order.action == "turn" and order.knobs == {knob: memory.knobs[knob]}
        assert memory.turned_at == 10
        yield memory.knobs[knob]


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
    assert list(way(GUIDE, start, target)) == positions


def test_a_knob_that_is_switched_off_begins_and_ends_at_its_first_position() -> None:
    assert list(way(GUIDE, 0.0, 1.0)) == [0.25, 0.5, 1.0]
    assert list(way(GUIDE, 0.0, 0.1)) == [0.1]
    assert list(way(GUIDE, 1.0, 0.0)) == [0.5, 0.25, 0.0]


def test_one_without_a_first_position_is_switched_at_once() -> None:
    assert list(way(RATE, 0.0, 1.0)) == [1.0]
    assert list(way(RATE, 1.0, 0.0)) == [0.0]


def test_a_smaller_step_may_be_wanted() -> None:
    memory = SupervisorState(knobs={RATE: 1.0})
    assert move_knob(RATE, 4.0, FACTS, memory, SupervisionSettings(largest_step_factor=1.25)).knobs == {RATE: 1.25}


def treating(target: float = 8.0, *, racing: bool = False) -> SupervisorState:
    expected = Expectation("total_loss", "down", 500, 2.0, 0.05)
    pending = PendingFollowUp(
        ailment="plateau", remedy="x", step=0, expected=expected, knob=RATE, before=1.0, target=target, racing=racing
    )
    return SupervisorState(knobs={RATE: 1.0, GUIDE: 1.0}, pending=pending)


def walk(memory: SupervisorState, steps: range) -> list[tuple[int, Decision]]:
    told = []
    for memory.step in steps:
        told += [(memory.step, decision) for decision in continue_moves(FACTS, memory, LIMITS)]
    return told


def test_a_long_way_is_gone_a_step_every_eighth_of_an_evaluation() -> None:
    memory = treating(8.0)
    told = walk(memory, range(1, 100))
    assert [(step, decision.fields["to"]) for step, decision in told] == [(10, 2.0), (20, 4.0), (30, 8.0)]
    first = told[0][1]
    assert first.kind == "intervention" and [order.knobs for order in first.orders] == [{RATE: 2.0}]
    expected = {"phase": "pre_alignment", "knob": RATE, "from": 1.0, "to": 2.0, "on_the_way_to": 8.0}
    assert first.fields == expected


def test_a_knob_on_its_way_back_is_followed_until_it_is_there() -> None:
    memory = SupervisorState(knobs={RATE: 4.0}, returning={RATE: 1.0})
    assert [decision.fields["to"] for _, decision in walk(memory, range(1, 100))] == [2.0, 1.0]
    assert memory.returning == {}


def test_one_that_is_back_already_is_forgotten_without_a_word() -> None:
    memory = SupervisorState(knobs={RATE: 1.0}, returning={RATE: 1.0})
    assert walk(memory, range(1, 100)) == []
    assert memory.returning == {}


def test_during_a_race_no_knob_moves() -> None:
    assert walk(treating(8.0, racing=True), range(1, 100)) == []


def test_without_a_way_to_go_nothing_moves() -> None:
    assert walk(SupervisorState(knobs={RATE: 1.0}), range(1, 100)) == []
    assert walk(treating(1.0), range(1, 100)) == []


def test_evaluations_may_be_close_together() -> None:
    memory = treating(8.0)
    for memory.step in range(1, 4):
        continue_moves(make_facts(steps_per_evaluation=1), memory, LIMITS)
    assert memory.knobs[RATE] == 8.0
