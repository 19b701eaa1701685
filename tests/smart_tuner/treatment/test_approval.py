"""Approval by a person: no steering intervention without a yes, and a person's own turn of a knob counts."""

from __future__ import annotations

from typing import Any

from reports import TrainerOrder
from smart_tuner.replay import Replay, first_difference
from smart_tuner.settings import Settings, SupervisionSettings
from tests.smart_tuner.simulated_loop import SimulatedLoop
from tests.smart_tuner.test_properties import FACTS
from tests.smart_tuner.test_supervisor import HEALTHY_EVALUATION, healthy_step, loop_with

ASKED = Settings(supervision=SupervisionSettings(approval="ask"))


def endless(step: int, work: int) -> tuple[Any, Any, Any]:
    """A gate that never fires."""
    return {}, {"gate_accuracy": 0.0, "gate_overrun": 1.0, "stop_rate": 0.0}, {}


def asking(settings: Settings = ASKED, n_steps: int = 200) -> SimulatedLoop:
    return loop_with(endless, n_steps=n_steps, settings=settings)


def answer(loop: SimulatedLoop, order: str) -> None:
    """The question that waits."""
    (number,) = loop.supervision.open_proposals
    loop.record("order", order=order, number=number, by="user 7", result="done")
    loop.supervision.answer_proposal(number, granted=order == "approve")


def go_on(loop: SimulatedLoop, n_steps: int) -> None:
    loop.run(loop.work + n_steps)


def recomputed(loop: SimulatedLoop) -> Replay:
    told = Replay()
    for record in loop.records:
        told.on_record(record)
    return told


def test_it_asks_once_and_touches_nothing() -> None:
    loop = asking()
    (proposal,) = loop.decisions("proposal")
    assert proposal["number"] == proposal["step"] and proposal["ailment"] == "gate_never_fires"
    assert proposal["timeout_seconds"] == 1800 and proposal["default"] == "reject"
    assert proposal.keys() >= {"remedy", "evidence", "severity", "expected"}
    assert loop.decisions("intervention") == [] and loop.turns == []


def test_what_was_granted_is_done_and_judged() -> None:
    loop = asking()
    (proposal,) = loop.decisions("proposal")
    answer(loop, "approve")
    go_on(loop, 300)
    first = loop.decisions("intervention")[0]
    assert (first["ailment"], first["remedy"]) == (proposal["ailment"], proposal["remedy"])
    assert loop.decisions("follow_up") and loop.turns


def test_a_yes_counts_once() -> None:
    loop = asking()
    answer(loop, "approve")
    go_on(loop, 400)
    done = [record["remedy"] for record in loop.decisions("intervention") if "remedy" in record]
    assert len(done) == 1
    assert len({record["number"] for record in loop.decisions("proposal")}) == 2


def test_after_a_no_the_next_remedy_is_proposed() -> None:
    loop = asking()
    answer(loop, "reject")
    go_on(loop, 100)
    first, second = loop.decisions("proposal")
    assert first["remedy"] != second["remedy"] and loop.decisions("intervention") == []


def late_gate(healed_from: int, ill_again_from: int = 10**9) -> Any:
    """A gate that never fires, but for a while in between."""
    return lambda step, work: (
        {},
        {} if healed_from <= work < ill_again_from else {"gate_accuracy": 0.0, "gate_overrun": 1.0, "stop_rate": 0.0},
        {},
    )


def until(loop: SimulatedLoop, kind: str, n: int) -> None:
    while len(loop.decisions(kind)) < n and loop.work < 2000:
        go_on(loop, 1)


def test_a_yes_is_void_once_the_trouble_is_gone() -> None:
    loop = loop_with(late_gate(healed_from=200, ill_again_from=400), n_steps=200, settings=ASKED)
    loop.supervisor.state.cooldown_until = 300  # it cannot be done at once
    answer(loop, "approve")
    go_on(loop, 150)
    assert "gate_never_fires" not in loop.supervisor.state.active
    assert loop.supervisor.state.granted == []
    until(loop, "proposal", 2)
    assert loop.decisions("intervention") == []


def test_a_yes_that_comes_when_the_trouble_is_gone_counts_for_nothing() -> None:
    loop = loop_with(late_gate(healed_from=200), n_steps=400, settings=ASKED)
    assert not loop.supervision.is_still_needed(loop.supervision.open_proposals[0])
    answer(loop, "approve")
    assert loop.supervisor.state.granted == [] and loop.supervisor.state.proposed == {}


def test_a_yes_from_before_a_new_start_is_void() -> None:
    loop = asking()
    answer(loop, "approve")
    loop.supervisor.state.rejected = [("plateau", "lower_learning_rate")]
    loop.supervisor.state.apply_order(TrainerOrder("restart"))
    assert loop.supervisor.state.granted == loop.supervisor.state.rejected == []


def test_a_number_is_not_given_twice_when_training_goes_back() -> None:
    loop = asking(n_steps=10)
    loop.supervisor.state.proposals = 500  # it had come further once
    go_on(loop, 200)
    assert [told["number"] for told in loop.decisions("proposal")] == [501]


def test_an_answer_that_was_refused_is_none_to_replay() -> None:
    loop = asking()
    (number,) = loop.supervision.open_proposals
    loop.record("order", order="approve", number=number, by="user 7", result="refused", reason="it came too late")
    go_on(loop, 100)
    told = recomputed(loop)
    assert first_difference(told) is None and loop.supervision.open_proposals == (number,)


def broken(step: int, work: int) -> tuple[Any, Any, Any]:
    return ({"total_loss": None, "nonfinite_steps": work - 60.0} if work > 60 else {}), {}, {}


def test_who_rejects_everything_is_not_told_that_nothing_helps() -> None:
    loop = loop_with(broken, n_steps=100, settings=ASKED)
    for _ in range(50):
        if loop.supervision.open_proposals:
            answer(loop, "reject")
        go_on(loop, 10)
    assert len(loop.decisions("proposal")) >= 2
    assert not loop.ended and "hopeless_run" not in [told["ailment"] for told in loop.decisions("diagnosis")]
    told = recomputed(loop)
    assert first_difference(told) is None


def test_what_was_rejected_is_not_asked_again() -> None:
    loop = loop_with(late_gate(healed_from=80, ill_again_from=140), n_steps=60, settings=ASKED)
    answer(loop, "reject")
    go_on(loop, 300)
    remedies = [told["remedy"] for told in loop.decisions("proposal")]
    assert len(remedies) == len(set(remedies)) > 1


def test_what_steers_nothing_is_done_without_asking() -> None:
    loop = loop_with(lambda step, work: ({"out_of_memory_steps": 1.0}, {}, {}), n_steps=5, settings=ASKED)
    assert [record["remedy"] for record in loop.decisions("intervention")][0] == "split_batches"
    assert loop.decisions("proposal") == []


def test_answers_are_recomputed_from_the_journal() -> None:
    loop = asking()
    answer(loop, "reject")
    go_on(loop, 60)
    answer(loop, "approve")
    go_on(loop, 200)
    told = recomputed(loop)
    assert first_difference(told) is None and len(told.recomputed) > 3


def turn(loop: SimulatedLoop, knob: str, position: float) -> None:
    loop.record("intervention", by="person", knob=knob, **{"from": loop.knobs[knob], "to": position})
    loop.knobs[knob] = position
    loop.supervision.on_person_turn(knob, position)


def test_a_persons_turn_makes_the_present_treatment_unjudgeable() -> None:
    loop = loop_with(endless, n_steps=10)
    while loop.supervisor.state.pending is None and loop.work < 500:
        go_on(loop, 1)
    pending = loop.supervisor.state.pending
    assert pending is not None
    turn(loop, "learning_rate_multiplier", 0.3)
    last = loop.decisions("follow_up")[-1]
    assert (last["remedy"], last["superseded_by"]) == (pending.remedy, "person")
    assert "verdict" not in last
    assert loop.supervisor.state.pending is None
    assert loop.supervisor.state.cooldown_until > loop.supervisor.state.step


def test_a_knob_that_was_on_its_way_back_stays_where_the_person_put_it() -> None:
    loop = SimulatedLoop(FACTS, lambda step, work: (healthy_step(step, work), HEALTHY_EVALUATION, {}))
    loop.run(20)
    loop.supervisor.state.returning["guide_sigma"] = 0.4
    turn(loop, "guide_sigma", 0.2)
    go_on(loop, 50)
    assert loop.knobs["guide_sigma"] == 0.2 and loop.turns == []


def test_decisions_after_a_persons_turn_are_recomputed_from_the_journal() -> None:
    loop = loop_with(endless, n_steps=200)
    turn(loop, "learning_rate_multiplier", 0.3)
    go_on(loop, 200)
    told = recomputed(loop)
    assert first_difference(told) is None and len(told.recomputed) > 3
    assert told.supervisor is not None and told.supervisor.state.knobs == loop.supervisor.state.knobs
