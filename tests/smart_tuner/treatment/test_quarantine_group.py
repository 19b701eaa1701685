"""A group of recordings that does not fit: excluded if it is small, else only if a person agrees; and taken back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.smart_tuner.simulated_loop import SimulatedLoop, replay_records
from tests.smart_tuner.simulated_runs import FACTS, HEALTHY_EVALUATION, simulate

GROUP = {"separation": 5.0, "overlap": 0.1, "share": 0.1, "excess": 0.6}


class LoopWithGroup(SimulatedLoop):
    """A loop whose evaluations find a group until it is excluded."""

    n_odd = 10

    @property
    def odd_utterances(self) -> tuple[str, ...]:
        excluded = {name for _, order in self.orders for name in order.utterances if order.action == "quarantine"}
        return tuple(name for name in (f"u{i}" for i in range(self.n_odd)) if name not in excluded)


def run(n_odd: int = 10, *, worse_from: int | None = None, odd_from: int = 40, n_steps: int = 300) -> LoopWithGroup:
    def trace(step: int, work: int) -> Any:
        healthy = simulate(n_steps=0).trace(step, work)
        loss = 1.5 if worse_from is not None and step > worse_from else 1.0
        group = {f"odd_group_{name}": value for name, value in GROUP.items()} if step >= odd_from else {}
        return healthy[0], {**HEALTHY_EVALUATION, "val_mel_loss": loss, **group}, {}

    loop = LoopWithGroup(FACTS, trace)
    loop.n_odd = n_odd
    loop.run(n_steps)
    return loop


def actions(loop: SimulatedLoop) -> list[str]:
    return [order.action for _, order in loop.orders if order.action in ("quarantine", "release")]


def test_a_small_group_is_excluded() -> None:
    loop = run()
    assert actions(loop) == ["quarantine"]
    (order,) = [order for _, order in loop.orders if order.action == "quarantine"]
    assert order.utterances == tuple(f"u{i}" for i in range(10)) and order.reason == "odd_group"


@pytest.mark.parametrize(("n_odd", "expected"), [(20, ["quarantine"]), (21, [])])
def test_a_person_is_asked_about_more_than_a_fifth_of_the_recordings(n_odd: int, expected: list[str]) -> None:
    loop = run(n_odd)
    assert actions(loop) == expected
    proposals = loop.decisions("proposal")
    assert len(proposals) == (0 if expected else 1)
    assert all(p["default"] == "reject" and len(p["utterances"]) == n_odd for p in proposals)


def test_with_approval_a_large_group_is_excluded() -> None:
    loop = run(30, n_steps=100)
    (proposal,) = loop.decisions("proposal")
    loop.record("order", order="approve", result="done", number=proposal["number"])
    loop.runtime.answer_proposal(proposal["number"], granted=True)
    loop.run(200)
    assert actions(loop) == ["quarantine"]
    replayed = replay_records(loop.records)
    assert replayed.recomputed == replayed.recorded


def test_a_group_whose_absence_makes_speech_worse_is_trained_on_again() -> None:
    loop = run(worse_from=230, odd_from=200, n_steps=400)
    assert actions(loop)[:2] == ["quarantine", "release"]
    (verdict,) = [r for r in loop.decisions("follow_up") if r.get("verdict") == "harmful"]
    assert verdict["remedy"] == "quarantine_group" and verdict["reverted"]
    assert loop.supervisor.state.quarantined == []
    replayed = replay_records(loop.records)
    assert replayed.recomputed == replayed.recorded
