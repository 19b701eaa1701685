"""For each ailment a ladder of remedies, mildest first; each says what it does here, or that it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from smart_tuner.detectors.learning_rate import typical_ratio
from smart_tuner.diagnosis import Diagnosis
from smart_tuner.facts import Facts
from smart_tuner.follow_up import expect, level
from smart_tuner.interventions import Direction, Expectation, Order, Plan
from smart_tuner.memory import Memory
from smart_tuner.settings import Supervision
from smart_tuner.view import View

HEALTHY_UPDATE_RATIO = 0.003  # in the midst of training
HEALTHY_FIRST_RATIO = 0.025  # of fresh weights; it falls as they grow
FAR_FROM_BALANCED = 4.0  # nearer to the balanced gate weight than this factor is not what is wrong
SMALL_BATCH = 16
EARLY_SHARE, HALF_WAY = 0.3, 0.5  # of the plan: until then a new start costs little, or less than it is worth
REWARM_STEPS = 20
FEW_STEPS = 10
EXTREME_GRADIENT = 10.0  # times the threshold
MOST_FRAMES_PER_STEP = 10


@dataclass(frozen=True)
class Case:
    """A diagnosis and everything a remedy may need to know."""

    diagnosis: Diagnosis
    view: View
    memory: Memory
    limits: Supervision
    may_roll_back: bool

    @property
    def facts(self) -> Facts:
        return self.view.facts

    def later(self, evaluations: float) -> int:
        return self.view.step + max(1, round(evaluations * self.facts.steps_per_evaluation))

    @property
    def can_afford(self) -> float:
        """Steps that may still be done in all."""
        return self.limits.work_budget * self.facts.planned_steps - self.memory.work_steps


Remedy = Callable[[Case], Plan | None]


def _promise(
    case: Case, signal: str, direction: Direction, *, target: float | None = None, evaluations: float | None = None
) -> Expectation:
    """Better than the signal would do by itself, by the time follow-ups are due."""
    by_step = case.later(case.limits.follow_up_evaluations if evaluations is None else evaluations)
    return expect(case.view, signal, direction, by_step=by_step, target=target)


def turn_to(knob: str, target: Callable[[Case], float | None], signal: str, direction: Direction) -> Remedy:
    """Move a knob to where `target` says, within its bounds; nothing to do when it is (nearly) there."""

    def plan(case: Case) -> Plan | None:
        known = case.facts.knobs.get(knob)
        if known is None or knob in case.facts.pinned:
            return None
        now, wanted = case.memory.knobs[knob], target(case)
        if wanted is None:
            return None
        wanted = min(known.high, max(known.low, wanted))
        if abs(wanted - now) <= 0.05 * max(abs(now), abs(wanted)):
            return None
        return Plan(_promise(case, signal, direction), knob=knob, target=wanted)

    return plan


def turn_by(knob: str, factor: float, signal: str, direction: Direction) -> Remedy:
    def target(case: Case) -> float | None:
        now, first = case.memory.knobs[knob], case.facts.knobs[knob].first
        return now * factor if now else (first if factor > 1 else None)

    return turn_to(knob, target, signal, direction)


def _rate_for_healthy_updates(case: Case) -> float | None:
    """Weights that have hardly moved show how large the first updates would be; others how large those now are."""
    ratio = typical_ratio(case.view)
    wanted = HEALTHY_FIRST_RATIO if case.diagnosis.ailment == "learning_rate_too_low" else HEALTHY_UPDATE_RATIO
    return None if not ratio else case.memory.knobs["learning_rate_multiplier"] * wanted / ratio


def _guide_weight(case: Case) -> float | None:
    now = case.memory.knobs["guide_weight_multiplier"]
    return now * 4 if now else 1.0


def _calibrated_threshold(case: Case) -> float | None:
    return level(case.view, "calibrated_gate_threshold")


def _balanced_gate_weight(direction: Direction) -> Callable[[Case], float | None]:
    """The weight at which gates learn to open and not too early, if it lies far off in this direction."""

    def target(case: Case) -> float | None:
        now, balanced = case.memory.knobs["gate_positive_weight"], case.facts.balanced_gate_weight
        if balanced is None or not (balanced / now if direction == "up" else now / balanced) > FAR_FROM_BALANCED:
            return None
        return balanced

    return target


def _more_batches_an_update(case: Case) -> float | None:
    now = case.memory.knobs["batches_per_update"]
    return 2 * now if case.facts.effective_batch_size * now < SMALL_BATCH else None


def _typical_gradient(case: Case) -> float | None:
    """Clip where gradients used to be, not where they are now."""
    norms = [value for step, value in case.view.points("gradient_norm") if step < case.diagnosis.since]
    usual = sorted(norms)[len(norms) // 2] if norms else case.view.quality.gradient_norm_threshold
    return min(case.memory.knobs["grad_clip_thresh"] / 2, 2 * usual)


def rerun_step(case: Case) -> Plan | None:
    """The same batch once more: a transient fault is gone, a persistent one comes back."""
    expected = Expectation("nonfinite_now", "down", case.view.step + 1, None, 0.0, target=0.0)
    return Plan(expected, (Order("rerun_step"),))


def quarantine(case: Case) -> Plan | None:
    """Keep the named utterances out, and what they left behind; where one was not finite, look for others."""
    known = set(case.memory.quarantined)
    named = tuple(name for name in case.diagnosis.utterances if name not in known)
    if not named or len(known) + len(named) > case.limits.quarantine_share * case.facts.utterances:
        return None
    promise = _promise(case, "outlier_share", "down", target=0.1, evaluations=1)
    orders = [Order("quarantine", utterances=named, reason=case.diagnosis.ailment)]
    if case.diagnosis.evidence.get("not_finite"):
        orders.append(Order("screen"))
    if _unclipped_gradient(case) > EXTREME_GRADIENT * case.view.quality.gradient_norm_threshold:
        orders.append(Order("reset_moments", n_steps=REWARM_STEPS))
    able = [order for order in orders if order.action in ("quarantine", *case.facts.actions)]
    return Plan(promise, tuple(able))


def _unclipped_gradient(case: Case) -> float:
    """What the optimizer has taken in of the gradient at the last step, and will remember for long."""
    norms = case.view.values("gradient_norm", 1)
    clip = case.memory.knobs.get("grad_clip_thresh", float("inf"))
    return min(norms[-1], clip) if norms else 0.0


def _healthy_level(case: Case, signal: str) -> float | None:
    values = [value for step, value in case.view.points(signal) if step < case.diagnosis.since][-20:]
    return sorted(values)[len(values) // 2] if values else None


def roll_back(signal: str, direction: Direction, *, learning_rate_factor: float = 1.0) -> Remedy:
    """Back to the newest checkpoint from before the trouble, past the data that may have caused it."""

    def plan(case: Case) -> Plan | None:
        memory = case.memory
        if not case.may_roll_back or len(memory.rollbacks) >= 2:
            return None  # twice at the same place: going back is not the answer
        healthy = [
            step
            for step in memory.checkpoints
            if memory.begin < step < case.diagnosis.since and step not in memory.sick_checkpoints
        ]
        if not healthy or case.view.step - healthy[-1] > case.can_afford:
            return None
        knobs = {}
        if learning_rate_factor != 1.0:
            knob = case.facts.knobs.get("learning_rate_multiplier")
            if knob is None or "learning_rate_multiplier" in case.facts.pinned:
                return None
            slower = memory.knobs["learning_rate_multiplier"] * learning_rate_factor
            knobs = {"learning_rate_multiplier": max(knob.low, slower)}
        sick, well = level(case.view, signal), _healthy_level(case, signal)
        margin = 1.15 if direction == "down" else 0.85
        target = None if well is None else well * margin
        by_step = healthy[-1] + case.later(case.limits.follow_up_evaluations) - case.view.step
        promise = Expectation(signal, direction, by_step, sick, 0.05, target)
        order = Order("roll_back", step=healthy[-1], skip_since=case.diagnosis.since, knobs=knobs)
        return Plan(promise, (order,))

    return plan


def reset_moments(case: Case) -> Plan | None:
    promise = _promise(case, "total_loss", "down", evaluations=1)
    return Plan(promise, (Order("reset_moments", n_steps=REWARM_STEPS),))


def restart(
    signal: str, direction: Direction, *, until_share: float = 1.0, learning_rate_factor: float = 0.5
) -> Remedy:
    """From scratch with another seed and safer settings, while there is time for a whole run."""

    def plan(case: Case) -> Plan | None:
        planned = case.facts.planned_steps
        if case.can_afford < planned or case.view.steps_done > until_share * planned:
            return None
        steps_done = max(case.view.steps_done, case.facts.window_steps)
        sick = level(case.view, signal)
        promise = Expectation(signal, direction, case.view.step + steps_done, sick, 0.05)
        knobs = _safer_knobs(case, learning_rate_factor)
        return Plan(promise, (Order("restart", knobs=knobs, hparams=case.facts.preset_settings),))

    return plan


def restart_with_larger_steps(case: Case) -> Plan | None:
    """Twice as many frames a decoder step: attention has half as many steps to find its way through."""
    frames = case.facts.n_frames_per_step
    plan = restart("free_diagonality", "up")(case)
    if plan is None or frames is None or 2 * frames > MOST_FRAMES_PER_STEP:
        return None
    (order,) = plan.orders
    return replace(plan, orders=(replace(order, hparams={**order.hparams, "n_frames_per_step": 2 * frames}),))


def restart_with_balanced_gate(case: Case) -> Plan | None:
    """A gate that outweighed everything else has kept the rest from being learnt."""
    weight = _balanced_gate_weight("down")(case)
    plan = restart("gate_accuracy", "up", until_share=HALF_WAY, learning_rate_factor=1.0)(case)
    if plan is None or weight is None or "gate_positive_weight" in case.facts.pinned:
        return None
    (order,) = plan.orders
    knobs = {**order.knobs, "gate_positive_weight": weight}
    return replace(plan, orders=(replace(order, knobs=knobs),))


def _safer_knobs(case: Case, learning_rate_factor: float) -> dict[str, float]:
    """Those of the preset where this run's differ, a safer learning rate, guidance on; nothing that is pinned."""
    facts, knobs = case.facts, case.memory.knobs
    wanted = {name: known.preset for name, known in facts.knobs.items() if known.preset is not None}
    if "learning_rate_multiplier" in knobs:
        wanted["learning_rate_multiplier"] = _safer_rate(case, learning_rate_factor)
    if not knobs.get("guide_weight_multiplier", 1.0):
        wanted.setdefault("guide_weight_multiplier", facts.knobs["guide_weight_multiplier"].first or 1.0)
    return {
        name: min(facts.knobs[name].high, max(facts.knobs[name].low, value))
        for name, value in wanted.items()
        if name not in facts.pinned
    }


def _safer_rate(case: Case, factor: float) -> float:
    """The preset's, if it lies on the better side; else one whose updates are healthy, or a part of the present one."""
    now, preset = case.memory.knobs["learning_rate_multiplier"], case.facts.knobs["learning_rate_multiplier"].preset
    too_low = case.diagnosis.ailment == "learning_rate_too_low"
    if preset is not None and (preset > now if too_low else preset < now):
        return preset
    off = too_low or case.diagnosis.ailment == "learning_rate_too_high"
    return (_rate_for_healthy_updates(case) if off else None) or now * factor


def fetch_faster(case: Case) -> Plan | None:
    return Plan(_promise(case, "data_wait_share", "down", evaluations=1), (Order("fetch_faster"),))


def split_batches(case: Case) -> Plan | None:
    """Halve what goes through the model at once and accumulate: the update stays the same."""
    now, known = case.memory.knobs["micro_batches"], case.facts.knobs["micro_batches"]
    if now >= known.high or "micro_batches" in case.facts.pinned:
        return None
    promise = Expectation("out_of_memory_share", "down", case.view.step + FEW_STEPS, None, 0.0, target=0.0)
    return Plan(promise, knob="micro_batches", target=min(known.high, 2 * now))


def keep_fewer_checkpoints(case: Case) -> Plan | None:
    return Plan(_promise(case, "disk_free_bytes", "up", evaluations=1), (Order("keep_fewer_checkpoints"),))


def finish_with_best(case: Case) -> Plan | None:
    """More training would only harm: the best voice so far is the result."""
    promise = Expectation("val_mel_loss", "down", case.view.step, None, 0.0)
    return Plan(promise, (Order("finish", reason="overfitting: the best checkpoint is the result"),))


WHAT_TO_CHANGE: Mapping[str, str] = {
    "attention_not_forming": "check that transcripts fit their recordings (--mode check), or give more recordings",
    "attention_lost": "give more recordings, or a smaller learning rate",
    "exploding_gradient": "look for broken recordings (--mode check), or give a smaller learning rate",
    "loss_spike": "look for broken recordings (--mode check), or give a smaller learning rate",
    "nonfinite_step": "look for broken recordings (--mode check), or train with --hparams precision=float32",
    "learning_rate_too_high": "give a smaller --learning_rate, and do not pin learning_rate_multiplier",
    "out_of_memory": "give a smaller --batch_size, a smaller preset, or a GPU with more memory",
}


def stop(case: Case) -> Plan | None:
    """Says what goes on in spite of everything, and what a person could change."""
    ailments = sorted(case.diagnosis.evidence)
    advice = "; ".join(dict.fromkeys(WHAT_TO_CHANGE[ailment] for ailment in ailments if ailment in WHAT_TO_CHANGE))
    reason = f"hopeless: {', '.join(ailments)} goes on although every remedy was tried; {advice}"
    return Plan(Expectation("total_loss", "down", case.view.step, None, 0.0), (Order("stop", reason=reason),))


slower = turn_by("learning_rate_multiplier", 0.5, "total_loss", "down")
healthy_rate = turn_to("learning_rate_multiplier", _rate_for_healthy_updates, "total_loss", "down")

LADDERS: dict[str, Mapping[str, Remedy]] = {
    "nonfinite_step": {
        "rerun_step": rerun_step,
        "roll_back": roll_back("nonfinite_share", "down"),
        "roll_back_slower": roll_back("nonfinite_share", "down", learning_rate_factor=0.5),
        "restart": restart("nonfinite_share", "down"),
    },
    "exploding_gradient": {
        "tighter_clipping": turn_to("grad_clip_thresh", _typical_gradient, "gradient_norm", "down"),
        "lower_learning_rate": turn_by("learning_rate_multiplier", 0.5, "gradient_norm", "down"),
        "roll_back": roll_back("gradient_norm", "down"),
        "roll_back_slower": roll_back("gradient_norm", "down", learning_rate_factor=0.5),
        "restart": restart("gradient_norm", "down"),
        "restart_slower": restart("gradient_norm", "down", learning_rate_factor=0.1),
    },
    "vanishing_gradient": {
        "reset_moments": reset_moments,
        "restart": restart("total_loss", "down"),
    },
    "loss_spike": {
        "roll_back": roll_back("total_loss", "down"),
        "roll_back_slower": roll_back("total_loss", "down", learning_rate_factor=0.5),
        "reset_moments": reset_moments,
        "lower_learning_rate": slower,
        "restart": restart("total_loss", "down"),
        "restart_slower": restart("total_loss", "down", learning_rate_factor=0.1),
    },
    "oscillating_loss": {
        "lower_learning_rate": slower,
        "larger_effective_batch": turn_to("batches_per_update", _more_batches_an_update, "total_loss", "down"),
        "tighter_clipping": turn_by("grad_clip_thresh", 0.5, "total_loss", "down"),
    },
    "attention_not_forming": {
        "more_guidance": turn_to("guide_weight_multiplier", _guide_weight, "free_diagonality", "up"),
        "narrower_guidance": turn_by("guide_sigma", 0.5, "free_diagonality", "up"),
        "larger_effective_batch": turn_to("batches_per_update", _more_batches_an_update, "diagonality", "up"),
        "lower_learning_rate": turn_by("learning_rate_multiplier", 0.5, "free_diagonality", "up"),
        "restart": restart("free_diagonality", "up"),
        "larger_reduction_factor": restart_with_larger_steps,
    },
    "attention_lost": {
        "roll_back": roll_back("free_diagonality", "up"),
        "more_guidance": turn_to("guide_weight_multiplier", _guide_weight, "free_diagonality", "up"),
        "roll_back_slower": roll_back("free_diagonality", "up", learning_rate_factor=0.5),
        "restart": restart("free_diagonality", "up"),
    },
    "gate_never_fires": {
        "balanced_gate_weight": turn_to("gate_positive_weight", _balanced_gate_weight("up"), "gate_accuracy", "up"),
        "calibrated_threshold": turn_to("gate_threshold", _calibrated_threshold, "gate_accuracy", "up"),
        "more_gate_weight": turn_by("gate_positive_weight", 2.0, "gate_accuracy", "up"),
    },
    "premature_stop": {
        "restart_with_balanced_gate": restart_with_balanced_gate,
        "balanced_gate_weight": turn_to("gate_positive_weight", _balanced_gate_weight("down"), "gate_accuracy", "up"),
        "calibrated_threshold": turn_to("gate_threshold", _calibrated_threshold, "gate_accuracy", "up"),
        "less_gate_weight": turn_by("gate_positive_weight", 0.5, "gate_accuracy", "up"),
    },
    "plateau": {"lower_learning_rate": turn_by("learning_rate_multiplier", 0.5, "val_total_loss", "down")},
    "overfitting": {
        "lower_learning_rate": turn_by("learning_rate_multiplier", 0.5, "val_mel_loss", "down"),
        "finish_with_best": finish_with_best,
    },
    "learning_rate_too_high": {
        "restart": restart("total_loss", "down", until_share=EARLY_SHARE),
        "roll_back": roll_back("total_loss", "down"),
        "healthy_learning_rate": healthy_rate,
        "restart_late": restart("total_loss", "down"),
    },
    "learning_rate_too_low": {
        "restart": restart("total_loss", "down", until_share=EARLY_SHARE),
        "healthy_learning_rate": healthy_rate,
    },
    "bad_utterance": {"quarantine": quarantine},
    "data_starvation": {"fetch_faster": fetch_faster},
    "out_of_memory": {"split_batches": split_batches},
    "disk_running_full": {"keep_fewer_checkpoints": keep_fewer_checkpoints},
    "hopeless_run": {"stop": stop},
}
