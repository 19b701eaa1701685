"""Connection of a supervisor to a trainer: the facts it starts from, and the control it orders."""

from __future__ import annotations

from typing import Any

from commands.plan.training_plan import planned_schedule
from commands.run.event_publisher import EventPublisher
from commands.run.job import TrainingJob, preset_values, recording_values
from commands.run.start_point import StartPoint
from hparams import HParams, build_hparams
from recipes import RECIPES
from recipes.plan import PlanLength, balanced_gate_weight
from smart_tuner.inputs.run_facts import KnobFacts, RunFacts
from smart_tuner.runtime import SupervisorRuntime
from smart_tuner.supervisor import DECISION_VERSION, Supervisor
from training.knobs import RECIPE_FIELDS, Knobs, bounds_of, knobs_with_effect
from training.schedule import base_guide_weight
from training.trainer import EnhancedTrainer

FAR_FACTOR, FAR_DROPOUT = 3.0, 0.25
"""From this ratio (of a dropout: difference) on, a value is a choice of its own, not an adaptation to the corpus."""
SETTINGS_WITHOUT_KNOB = (
    *("warmup_steps", "adam_beta2", "weight_decay", "gate_loss_weight", "alignment_prior"),
    *(name for name in HParams.model_fields if "dropout" in name),
)
"""Training settings without a knob, which a restart may reset to the preset's values."""


def run_facts(trainer: EnhancedTrainer, preset: HParams, *, pinned: tuple[str, ...], planned_steps: int) -> RunFacts:
    """Collect what a supervisor must know of this training and of the preset its settings were made from."""
    hparams, model, data = trainer.state.hparams, trainer.state.model, trainer.state.data
    presets = preset_knobs(hparams, preset)
    patience_steps = trainer.state.stretch.training_steps(hparams.alignment_patience_steps)
    mean_frames = sum(e.n_frames for e in data.train.examples) / len(data.train.examples)
    has_reduction_factor = "n_frames_per_step" in RECIPES[hparams.model].architecture_fields
    return RunFacts(
        steps_per_evaluation=hparams.iters_per_evaluation,
        steps_per_epoch=data.train.n_batches(0),
        planned_steps=max(1, planned_steps),
        warmup_steps=hparams.warmup_steps,
        alignment_patience_steps=patience_steps if model.HAS_ATTENTION else 0,
        search_patience_steps=0 if model.HAS_ATTENTION else patience_steps,
        peak_learning_rate=hparams.learning_rate,
        decay_is_planned=hparams.learning_rate_schedule == "halving"
        and hparams.decay_start_step + hparams.decay_half_life_steps < planned_steps,
        balanced_gate_weight=balanced_gate_weight(mean_frames, model.frames_per_step) if model.HAS_GATE else None,
        spectrum_loss=model.SPECTRUM_LOSS,
        log_losses=model.LOG_LOSSES,
        n_frames_per_step=hparams.n_frames_per_step if has_reduction_factor else None,
        alignment_prior=None if model.HAS_ATTENTION else hparams.alignment_prior,
        utterances=len(data.train.examples),
        evaluated_utterances=len(data.held_out.examples),
        effective_batch_size=hparams.batch_size,
        knobs={name: _knob_facts(name, hparams, presets[name]) for name in knobs_with_effect(hparams)},
        preset_settings={
            name: getattr(preset, name)
            for name in SETTINGS_WITHOUT_KNOB
            if (name != "alignment_prior" or preset.alignment_guide == hparams.alignment_guide)
            and is_far_from_preset(name, getattr(preset, name), getattr(hparams, name))
        },
        pinned=pinned,
        actions=trainer.control.actions,
    )


def _knob_facts(name: str, hparams: HParams, preset: float) -> KnobFacts:
    start, bounds = vars(Knobs.from_hparams(hparams))[name], bounds_of(name, hparams)
    return KnobFacts(
        start=start,
        low=bounds.low,
        high=bounds.high,
        first=bounds.first,
        preset=preset if is_far_from_preset(name, preset, start) else None,
    )


def is_far_from_preset(name: str, preset: float, value: float) -> bool:
    """Tell whether a value is too far from the preset's to be an adaptation to the corpus."""
    if (name == "weight_decay" and value < preset) or (name == "warmup_steps" and value > preset):
        return False  # less weight decay or a slower start never keeps a model from learning
    if "dropout" in name:
        return abs(preset - value) >= FAR_DROPOUT
    return preset != value and max(preset, value) >= FAR_FACTOR * min(preset, value)


def preset_knobs(hparams: HParams, preset: HParams) -> dict[str, float]:
    """Return the knob positions at which this run would train with the preset's settings."""
    return vars(Knobs.from_hparams(preset)) | {
        "learning_rate_multiplier": preset.learning_rate / hparams.learning_rate,
        "guide_weight_multiplier": preset.guide_loss_weight / base_guide_weight(hparams),
    }


def with_changed_settings(facts: RunFacts, start: StartPoint) -> RunFacts:
    """Facts of a session that resumes with other settings than the checkpoint's: where its knobs stood before."""
    if not start.changed:
        return facts
    former = former_positions(start)
    knobs = {name: knob.model_copy(update={"former": former.get(name)}) for name, knob in facts.knobs.items()}
    return facts.model_copy(update={"resumed_at": start.progress.step, "knobs": knobs})


def former_positions(start: StartPoint) -> dict[str, float]:
    """Knob positions that bring back what was trained with before the resume changed settings."""
    positions = {}
    for name, position in start.state["knobs"].items():
        before, now = start.changed.get(RECIPE_FIELDS.get(name, name), (None, None))
        if name not in RECIPE_FIELDS and before is not None:
            positions[name] = position
        elif before is not None and now:
            positions[name] = position * before / now
    return positions


def attach_supervisor(
    job: TrainingJob, trainer: EnhancedTrainer, publisher: EventPublisher, start: StartPoint, *, planned_steps: int
) -> None:
    """Have a supervisor receive every event and steer the trainer, unless --supervise is off."""
    if job.options.supervise == "off":
        return
    model = job.hparams.model
    preset = build_hparams(
        preset_values(job.options, model),
        recording_values(job.options, model),
        _planned_values(job, trainer, planned_steps),
    )
    facts = run_facts(trainer, preset, pinned=job.options.pinned_knobs, planned_steps=planned_steps)
    actions = tuple(action for action in facts.actions if action not in job.disabled_actions)
    forks = job.settings.supervision.forks
    may_fork = forks == "on" or (forks == "auto" and job.device.type == "cuda")
    facts = with_changed_settings(facts.model_copy(update={"actions": actions, "forks": may_fork}), start)
    supervisor = Supervisor(facts, job.settings, advise=job.options.supervise == "advise")
    publisher.supervisor = SupervisorRuntime(supervisor, trainer.control, on_decision=publisher.recorder.on_decision)


def _planned_values(job: TrainingJob, trainer: EnhancedTrainer, planned_steps: int) -> dict[str, Any]:
    """The preset's schedules and dropout for this training; none where the recipe has its own."""
    if not job.preset:
        return {}
    length = PlanLength(planned_steps, trainer.state.data.train.n_batches(0))
    dropout = {name: getattr(job.hparams, name) for name in RECIPES[job.hparams.model].dropout.keys() - job.given}
    return planned_schedule(job.hparams.model, job.preset, length, is_short=job.has_short_plan) | dropout


def synchronize_knobs(supervisor: Supervisor, trainer: EnhancedTrainer) -> None:
    """Tell the supervisor where the knobs stand: since it was saved, settings may have changed that they start from."""
    supervisor.state.knobs |= {name: vars(trainer.state.knobs)[name] for name in supervisor.facts.knobs}


def describe_supervision(supervisor: Supervisor, mode: str) -> dict[str, Any]:
    """Return everything but signals that later decisions depend on, for the journal."""
    return {
        "version": DECISION_VERSION,
        "mode": mode,
        "facts": supervisor.facts.model_dump(mode="json"),
        "settings": supervisor.settings.model_dump(mode="json", include={"quality_control", "phases", "supervision"}),
        "knobs": {name: supervisor.state.knobs[name] for name in supervisor.facts.knobs},
    }
