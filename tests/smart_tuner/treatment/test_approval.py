"""Approval of interventions by a person, and knobs that a person turns."""

from __future__ import annotations

from typing import Any

from reports import TrainerOrder
from smart_tuner.replay import first_difference
from smart_tuner.settings import Settings, SupervisionSettings
from tests.smart_tuner.simulated_loop import SimulatedLoop, replay_records
from tests.smart_tuner.simulated_runs import FACTS, HEALTHY_EVALUATION, healthy_step, remedies, simulate

ASK = Settings(supervision=SupervisionSettings(approval="ask"))
CLOSED_GATE = {"gate_accuracy": 0.0, "gate_overrun": 1.0, "stop_rate": 0.0}


def closed_gate(step: int, work: int) -> Any:
    """A gate that never fires."""
    return {}, CLOSED_GATE, {}


def temporarily_closed_gate(healthy_from: int, healthy_until: int = 10**9) -> Any:
    return lambda step, work: ({}, {} if healthy_from <= work < healthy_until else CLOSED_GATE, {})


def nonfinite_after_60_steps(step: int, work: int) -> Any:
    return ({"total_loss": None, "nonfinite_steps": work - 60.0} if work > 60 else {}), {}, {}


def asking_loop(n_steps: int = 200) -> SimulatedLoop:
    return simulate(closed_gate, n_steps=n_steps, settings=ASK)


def answer(loop: SimulatedLoop, order: str) -> None:
    """Answer the open proposal."""
    (number,) = loop.runtime.open_proposals
    loop.record("order", order=order, number=number, by="user 7", result="done")
    loop.runtime.answer_proposal(number, granted=order == "approve")


def turn(loop: SimulatedLoop, knob: str, position: float) -> None:
    """Turn a knob as a person."""
    loop.record("intervention", by="person", knob=knob, **{"from": loop.knobs[knob], "to": position})
    loop.knobs[knob] = position
    loop.runtime.on_person_turn(knob, position)


def run_further(loop: SimulatedLoop, n_steps: int) -> None:
    loop.run(loop.work + n_steps)


def count_replayed(loop: SimulatedLoop) -> int:
    """Check that replay makes the same decisions, and return their number."""
    replayed = replay_records(loop.records)
    assert first_difference(replayed) is None and replayed.supervisor is not None
    assert replayed.supervisor.state.knobs == loop.supervisor.state.knobs
    return len(replayed.recomputed)


def test_a_proposal_is_made_once_and_changes_nothing() -> None:
    loop = asking_loop()
    (proposal,) = loop.decisions("proposal")
    assert proposal["number"] == proposal["step"] and proposal["ailment"] == "gate_never_fires"
    assert proposal["timeout_seconds"] == 1800 and proposal["default"] == "reject"
    assert proposal.keys() >= {"remedy", "evidence", "severity", "expected"}
    assert loop.decisions("intervention") == [] and loop.turns == []


def test_an_approved_intervention_is_started_and_judged() -> None:
    loop = asking_loop()
    (proposal,) = loop.decisions("proposal")
    answer(loop, "approve")
    run_further(loop, 300)
    first = loop.decisions("intervention")[0]
    assert (first["ailment"], first["remedy"]) == (proposal["ailment"], proposal["remedy"])
    assert loop.decisions("follow_up") and loop.turns


def test_an_approval_counts_once() -> None:
    loop = asking_loop()
    answer(loop, "approve")
    run_further(loop, 400)
    assert len(remedies(loop)) == 1
    assert len({record["number"] for record in loop.decisions("proposal")}) == 2


def test_after_a_rejection_the_next_remedy_is_proposed() -> None:
    loop = asking_loop()
    answer(loop, "reject")
    run_further(loop, 100)
    first, second = loop.decisions("proposal")
    assert first["remedy"] != second["remedy"] and loop.decisions("intervention") == []


def test_an_approval_expires_when_the_ailment_disappears() -> None:
    loop = simulate(temporarily_closed_gate(200, 400), n_steps=200, settings=ASK)
    loop.supervisor.state.cooldown_until = 300  # the intervention cannot start at once
    answer(loop, "approve")
    run_further(loop, 150)
    assert "gate_never_fires" not in loop.supervisor.state.active
    assert loop.supervisor.state.granted == []
    while len(loop.decisions("proposal")) < 2 and loop.work < 2000:
        run_further(loop, 1)
    assert loop.decisions("intervention") == []


def test_an_approval_after_the_ailment_has_disappeared_is_ignored() -> None:
    loop = simulate(temporarily_closed_gate(200), n_steps=400, settings=ASK)
    assert not loop.runtime.is_still_needed(loop.runtime.open_proposals[0])
    answer(loop, "approve")
    assert loop.supervisor.state.granted == [] and loop.supervisor.state.proposed == {}


def test_a_restart_cancels_answers() -> None:
    loop = asking_loop()
    answer(loop, "approve")
    loop.supervisor.state.rejected = [("plateau", "lower_learning_rate")]
    loop.supervisor.state.apply_order(TrainerOrder("restart"))
    assert loop.supervisor.state.granted == loop.supervisor.state.rejected == []


def test_a_proposal_number_is_not_reused_after_a_rollback() -> None:
    loop = asking_loop(n_steps=10)
    loop.supervisor.state.proposals = 500  # the run was further before
    run_further(loop, 200)
    assert [record["number"] for record in loop.decisions("proposal")] == [501]


def test_replay_ignores_a_refused_answer() -> None:
    loop = asking_loop()
    (number,) = loop.runtime.open_proposals
    loop.record("order", order="approve", number=number, by="user 7", result="refused", reason="it came too late")
    run_further(loop, 100)
    assert count_replayed(loop)
    assert loop.runtime.open_proposals == (number,)


def test_a_run_whose_remedies_were_rejected_is_not_hopeless() -> None:
    loop = simulate(nonfinite_after_60_steps, n_steps=100, settings=ASK)
    for _ in range(50):
        if loop.runtime.open_proposals:
            answer(loop, "reject")
        run_further(loop, 10)
    assert len(loop.decisions("proposal")) >= 2
    assert not loop.ended
    assert "hopeless_run" not in [record["ailment"] for record in loop.decisions("diagnosis")]
    assert count_replayed(loop)


def test_a_rejected_remedy_is_not_proposed_again() -> None:
    loop = simulate(temporarily_closed_gate(80, 140), n_steps=60, settings=ASK)
    answer(loop, "reject")
    run_further(loop, 300)
    proposed = [record["remedy"] for record in loop.decisions("proposal")]
    assert len(proposed) == len(set(proposed)) > 1


def test_free_remedies_need_no_approval() -> None:
    loop = simulate(lambda step, work: ({"out_of_memory_steps": 1.0}, {}, {}), n_steps=5, settings=ASK)
    assert remedies(loop)[0] == "split_batches"
    assert loop.decisions("proposal") == []


def test_answers_are_replayed() -> None:
    loop = asking_loop()
    answer(loop, "reject")
    run_further(loop, 60)
    answer(loop, "approve")
    run_further(loop, 200)
    assert count_replayed(loop) > 3


def test_a_persons_turn_ends_the_pending_intervention_without_a_verdict() -> None:
    loop = simulate(closed_gate, n_steps=10)
    while loop.supervisor.state.pending is None and loop.work < 500:
        run_further(loop, 1)
    pending = loop.supervisor.state.pending
    assert pending is not None
    turn(loop, "learning_rate_multiplier", 0.3)
    last = loop.decisions("follow_up")[-1]
    assert (last["remedy"], last["superseded_by"]) == (pending.remedy, "person")
    assert "verdict" not in last
    assert loop.supervisor.state.pending is None
    assert loop.supervisor.state.cooldown_until > loop.supervisor.state.step


def test_a_returning_knob_stays_where_a_person_turns_it() -> None:
    loop = SimulatedLoop(FACTS, lambda step, work: (healthy_step(step, work), HEALTHY_EVALUATION, {}))
    loop.run(20)
    loop.supervisor.state.returning["guide_sigma"] = 0.4
    turn(loop, "guide_sigma", 0.2)
    run_further(loop, 50)
    assert loop.knobs["guide_sigma"] == 0.2 and loop.turns == []


def test_decisions_after_a_persons_turn_are_replayed() -> None:
    loop = simulate(closed_gate, n_steps=200)
    turn(loop, "learning_rate_multiplier", 0.3)
    run_further(loop, 200)
    assert count_replayed(loop) > 3
