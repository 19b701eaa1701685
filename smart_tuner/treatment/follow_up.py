"""Follow-ups of interventions: first by the mechanism, then by the outcome; what had no effect is undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from monitoring.events import ArmSignals
from reports import TrainerOrder
from smart_tuner.inputs.held_out import DistanceHistory
from smart_tuner.inputs.run_view import RunView
from smart_tuner.settings import SupervisionSettings
from smart_tuner.state import PendingFollowUp, SupervisorState
from smart_tuner.treatment.decisions import Decision, make_decision
from smart_tuner.treatment.interventions import WEIGHT_CHANGES, Direction, Expectation, InterventionPlan
from smart_tuner.treatment.knob_moves import move_knob
from smart_tuner.treatment.selection import FREE_REMEDIES
from smart_tuner.treatment.verdicts.abandoned import judge_abandoned
from smart_tuner.treatment.verdicts.forecast import forecast_signal, is_measured_at_evaluations, signal_level
from smart_tuner.treatment.verdicts.judgement import (
    Judgement,
    MechanismResult,
    Outcome,
    judge_mechanism,
    measure_outcome,
    verdict_of_mechanism,
    verdict_of_outcomes,
)
from smart_tuner.treatment.verdicts.placebo import Period
from smart_tuner.treatment.verdicts.race import N_CONTROLS, N_SEEDS, can_judge_race, judge_race, race_arms

HORIZONS_TO_OUTCOME = 2
"""The outcome is judged so many times the time of a follow-up after the mechanism."""
HELD_OUT_SIGNALS: tuple[tuple[str, Direction], ...] = (("val_spectrum_loss", "down"), ("composite_tts_score", "up"))
MAX_LOST_SHARE = 0.1
"""Of the plan: whoever gives up more steps compares with what is abandoned, whatever the settings say."""
MIN_OUTCOME_EVALUATIONS = 4
"""Fewer make no forecast of a held-out signal."""


def cooldown_steps(view: RunView, limits: SupervisionSettings) -> int:
    return max(1, round(limits.cooldown_evaluations * view.facts.steps_per_evaluation))


def expect_outcomes(
    plan: InterventionPlan, view: RunView, limits: SupervisionSettings
) -> tuple[int, list[Expectation]]:
    """Step at which the outcome is judged, and what held-out signals would then be without the intervention.

    There is no such forecast of a return to other weights: what the sick run would have become is not known.
    """
    horizon = HORIZONS_TO_OUTCOME * limits.follow_up_evaluations * view.facts.steps_per_evaluation
    moves = set(WEIGHT_CHANGES) & {order.action for order in plan.orders}
    start = view.step if "restart" in moves else view.attempt_start
    by_step = min(plan.expected.by_step + horizon, start + view.facts.planned_steps)
    if moves:
        return by_step, []
    names = [(view.facts.signal_name(signal), direction) for signal, direction in HELD_OUT_SIGNALS]
    measured = [pair for pair in names if len(view.points(pair[0])) >= MIN_OUTCOME_EVALUATIONS]
    return by_step, [forecast_signal(view, name, direction, by_step=by_step) for name, direction in measured]


def measure_outcomes(
    expected: Sequence[Expectation], view: RunView, *, start: int, treated: Sequence[Period]
) -> list[Outcome]:
    """Compare held-out signals with their forecasts, as far as they were measured since the intervention."""
    outcomes = [
        measure_outcome(one, view.points(one.signal), start=start, treated=treated, facts=view.facts)
        for one in expected
    ]
    return [outcome for outcome in outcomes if outcome is not None]


class FollowUps:
    """Judge of interventions; it has no state of its own, but changes the supervisor's."""

    def __init__(self, limits: SupervisionSettings) -> None:
        self._limits = limits

    def judge_due(self, view: RunView, state: SupervisorState, *, after_evaluation: bool) -> list[Decision]:
        waiting = [*state.watching, *([state.pending] if state.pending is not None else [])]
        decisions = [self._judge(p, view, state) for p in waiting if _is_due(p, view, state, after_evaluation)]
        working = [
            p for p in state.awaiting_outcome if state.step >= p.judged_by and (after_evaluation or not p.outcomes)
        ]
        return decisions + [self._judge_outcome(p, view, state) for p in working]

    def _judge(self, pending: PendingFollowUp, view: RunView, state: SupervisorState) -> Decision:
        """First verdict: has the signal moved that the remedy should move?"""
        result = judge_mechanism(pending.expected, signal_level(view, pending.expected.signal), view.facts)
        if result.is_within_noise and (race := self._order_race(pending, view, state)) is not None:
            return race
        has_moved = result.mechanism != "no_effect" or result.value is None
        if has_moved and (trial := self._try_abandoned(pending, view, state)) is not None:
            return trial
        if result.mechanism == "works" and pending.judged_by > state.step:
            return self._await_outcome(pending, result, view, state)
        points = view.points(pending.expected.signal)
        verdict = verdict_of_mechanism(
            pending.expected, result, points, start=pending.step, treated=state.treated_periods, facts=view.facts
        )
        return self.conclude(pending, Judgement(verdict, result.value, result.gain), view, state)

    def _await_outcome(
        self, pending: PendingFollowUp, result: MechanismResult, view: RunView, state: SupervisorState
    ) -> Decision:
        """Keep the change until held-out signals show what came of it; other ailments may be treated meanwhile."""
        state.remove_follow_up(pending)
        state.awaiting_outcome.append(pending)
        if pending.remedy not in FREE_REMEDIES:
            state.cooldown_until = state.step + cooldown_steps(view, self._limits)
        fields = _describe(pending) | {
            "mechanism": result.mechanism,
            "value": result.value,
            "gain": result.gain,
            "judged_by": pending.judged_by,
        }
        return make_decision(state, "follow_up", fields)

    def _judge_outcome(self, working: PendingFollowUp, view: RunView, state: SupervisorState) -> Decision:
        """Second verdict: have held-out signals gained more than they do by themselves?"""
        if state.severities.get(working.ailment, "notice") != "notice":
            judgement = Judgement("no_effect", evidence={"since": state.active[working.ailment]})
            return self.conclude(working, judgement, view, state)
        if (n_others := state.n_started - working.number) > 0:
            judgement = Judgement("unknown", evidence={"other_interventions": n_others})
            return self.conclude(working, judgement, view, state)
        outcomes = measure_outcomes(working.outcomes, view, start=working.step, treated=state.treated_periods)
        evidence = {"outcomes": [asdict(outcome) for outcome in outcomes]} if outcomes else {}
        return self.conclude(working, Judgement(verdict_of_outcomes(outcomes), evidence=evidence), view, state)

    def judge_recurrence(self, ailment: str, view: RunView, state: SupervisorState) -> list[Decision]:
        """An ailment is back before the outcome of its treatment was judged: the treatment did not cure it."""
        treatments = [
            working for working in state.awaiting_outcome if working.ailment == ailment and working.step >= state.begin
        ]
        judgement = Judgement("no_effect", evidence={"since": state.step})
        return [self.conclude(working, judgement, view, state) for working in treatments]

    def _order_race(self, pending: PendingFollowUp, view: RunView, state: SupervisorState) -> Decision | None:
        """Train with and without the intervention from a checkpoint before it, if that is possible and affordable."""
        n_steps, factor = view.facts.steps_per_evaluation, self._limits.largest_step_factor
        checkpoints = [step for step in state.checkpoints if state.begin < step <= pending.step]
        is_supported = "race" in view.facts.actions and self._limits.strong_checks
        work = state.work_steps + (N_CONTROLS + N_SEEDS) * n_steps
        is_affordable = work <= self._limits.work_budget * view.facts.planned_steps
        if not (pending.knob and pending.before and checkpoints and is_supported and is_affordable):
            return None
        if pending.expected.signal.startswith("gate") or not can_judge_race(view.facts.evaluated_utterances):
            return None  # speech itself would not show it
        treated = state.knobs[pending.knob]
        if not 1 / factor <= treated / pending.before <= factor:
            return None  # from the checkpoint, the knob would jump by more than is allowed
        pending.racing = True
        arms, seeds = race_arms({pending.knob: pending.before}, [{pending.knob: treated}])
        fields = _describe(pending) | {"check": "race", "from_step": checkpoints[-1], "n_arms": len(arms)}
        order = TrainerOrder("race", step=checkpoints[-1], arms=arms, seeds=seeds, n_steps=n_steps)
        return make_decision(state, "follow_up", fields | {"knob": pending.knob, "n_steps": n_steps}, order)

    def _try_abandoned(self, pending: PendingFollowUp, view: RunView, state: SupervisorState) -> Decision | None:
        """Train the abandoned state for as many steps as training has done instead, if that is affordable."""
        if pending.abandoned_at is None or not can_judge_race(view.facts.evaluated_utterances):
            return None
        planned, n_steps = view.facts.planned_steps, view.attempt_steps - pending.abandoned_length
        must_be_tried = pending.lost_steps > MAX_LOST_SHARE * planned
        is_affordable = state.work_steps + n_steps <= self._limits.work_budget * planned
        if not (self._limits.strong_checks or must_be_tried) or not is_affordable or view.attempt_steps >= planned:
            return None
        pending.racing = True
        order = TrainerOrder("try_abandoned", step=pending.abandoned_at, n_steps=n_steps)
        fields = _describe(pending) | {"check": "abandoned", "abandoned_at": pending.abandoned_at, "n_steps": n_steps}
        return make_decision(state, "follow_up", fields, order)

    @staticmethod
    def judge_trial(arm: ArmSignals | None, distances: DistanceHistory) -> Judgement:
        """Verdict on the abandoned state, beside the latest evaluation; unknown if it cannot be read any more."""
        if arm is None:
            return Judgement("unknown")
        return judge_abandoned(distances.latest(), arm.distances, distances.levels())

    def judge_race(self, arms: Sequence[ArmSignals], start: int) -> tuple[Judgement, int]:
        """Verdict on the race that the pending intervention ordered, and the arm to continue with.

        What is no better than the untreated arms has had no effect.
        """
        controls, treated = arms[:N_CONTROLS], arms[N_CONTROLS:]
        settings = [treated[i : i + N_SEEDS] for i in range(0, len(treated), N_SEEDS)]
        result = judge_race(
            [arm.distances for arm in controls], [[arm.distances for arm in setting] for setting in settings]
        )
        winner = 0
        if result.verdict == "helped" and result.setting is not None:
            winner = N_CONTROLS + N_SEEDS * result.setting
        verdict = "no_effect" if result.verdict == "unknown" else result.verdict
        evidence = {"noise": result.noise, "winner": winner, "from_step": start}
        return Judgement(verdict, gain=result.gain, evidence=evidence), winner

    def supersede(self, view: RunView, state: SupervisorState) -> list[Decision]:
        """A person turned a knob: open interventions cannot be judged any more, and their knobs stay."""
        state.cooldown_until = state.step + cooldown_steps(view, self._limits)
        open_follow_ups = [*state.awaiting_outcome, *([state.pending] if state.pending is not None else [])]
        state.pending, state.awaiting_outcome = None, []
        return [
            make_decision(state, "follow_up", _describe(follow_up) | {"superseded_by": "person"})
            for follow_up in open_follow_ups
        ]

    def conclude(
        self, pending: PendingFollowUp, judgement: Judgement, view: RunView, state: SupervisorState
    ) -> Decision:
        """Record the verdict; a remedy without effect is not tried again in this phase, and its knob returns."""
        is_at_target = pending.knob is not None and state.knobs[pending.knob] == pending.target
        was_working = any(other is pending for other in state.awaiting_outcome)
        state.remove_follow_up(pending)
        state.treated_periods.append((pending.step, state.step))
        if pending.remedy not in FREE_REMEDIES and not was_working:
            state.cooldown_until = state.step + cooldown_steps(view, self._limits)
        fields: dict[str, Any] = _describe(pending) | {
            "verdict": judgement.verdict,
            "value": judgement.value,
            "gain": judgement.gain,
            **({"evidence": dict(judgement.evidence)} if judgement.evidence else {}),
        }
        if judgement.verdict in ("helped", "unknown"):
            return make_decision(state, "follow_up", fields)
        state.mark_failed(pending.ailment, pending.remedy)
        if judgement.verdict == "harmful" and pending.abandoned_at is not None and pending.racing:
            fields |= {"reverted": True, "action": "try_abandoned", "to_step": pending.abandoned_at}
            return make_decision(state, "follow_up", fields)
        if judgement.verdict == "harmful" and pending.utterances:
            order = TrainerOrder("release", utterances=tuple(pending.utterances))
            state.apply_order(order)
            return make_decision(state, "follow_up", fields | {"reverted": True, "action": "release"}, order)
        is_turned_again = was_working and not is_at_target
        if pending.knob is None or pending.before in (None, state.knobs[pending.knob]) or is_turned_again:
            return make_decision(state, "follow_up", fields | {"reverted": False})
        fields |= {"reverted": True, "knob": pending.knob, "from": state.knobs[pending.knob], "to": pending.before}
        state.returning[pending.knob] = pending.before
        state.n_started += was_working  # a change like any other, for what is being judged meanwhile
        state.cooldown_until = state.step + cooldown_steps(view, self._limits)
        order = move_knob(pending.knob, pending.before, view.facts, state, self._limits)
        return make_decision(state, "follow_up", fields, order)


def _is_due(pending: PendingFollowUp, view: RunView, state: SupervisorState, after_evaluation: bool) -> bool:
    if pending.racing or state.step < pending.expected.by_step:
        return False
    if pending.abandoned_at is not None:  # comparable at an evaluation after as many steps
        return after_evaluation and view.attempt_steps >= pending.abandoned_length
    if pending.knob is not None and state.knobs[pending.knob] != pending.target:
        return False  # the knob is still on its way
    return after_evaluation or not is_measured_at_evaluations(pending.expected.signal)


def _describe(pending: PendingFollowUp) -> dict[str, Any]:
    """Journal fields of every follow-up of an intervention."""
    return {
        "ailment": pending.ailment,
        "remedy": pending.remedy,
        "number": pending.number,
        "expected": asdict(pending.expected),
    }
