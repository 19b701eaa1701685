"""Plan of a training in plain words."""

from __future__ import annotations

from commands.plan.training_plan import TrainingPlan
from commands.run.job import TrainingJob
from hparams import HParams
from models import ARCHITECTURES
from recipes import RECIPES


def describe_plan(job: TrainingJob, plan: TrainingPlan) -> str:
    """Return lines on the length of the training and on its schedules."""
    hparams = job.hparams
    epochs = plan.steps / plan.steps_per_epoch
    lines = [
        f"plan    {hparams.model}, preset {job.preset}: {plan.steps:,} steps ({epochs:.1f} epochs of "
        f"{plan.steps_per_epoch:,}), evaluated every {hparams.iters_per_evaluation:,}",
        f"        {_updates(hparams)}",
        f"        learning rate up to {hparams.learning_rate:g}: {_learning_rate(hparams)}",
    ]
    if ARCHITECTURES[hparams.model].HAS_ATTENTION:
        fades = hparams.guide_anneal_start_step
        lines.append(
            f"        guided attention fades from step {fades:,} to {fades + hparams.guide_anneal_steps:,}; "
            f"attention is expected by step {hparams.alignment_patience_steps:,}"
        )
    else:
        guide = "the alignment of the corpus" if hparams.alignment_guide == "corpus" else "equal durations"
        guided = f"guided by {guide}; " if hparams.alignment_prior else ""
        lines.append(f"        {guided}an alignment is expected by step {hparams.alignment_patience_steps:,}")
    return "\n".join(lines)


def _learning_rate(hparams: HParams) -> str:
    rises = f"rises until step {hparams.warmup_steps:,}"
    if hparams.learning_rate_schedule == "noam":
        return f"{rises}, then falls with the square root of the step"
    return f"{rises}, halves every {hparams.decay_half_life_steps:,} from step {hparams.decay_start_step:,}"


def _updates(hparams: HParams) -> str:
    """Settings that follow from the recordings."""
    parts = [f"batches of {hparams.batch_size} utterances"]
    if "n_frames_per_step" in RECIPES[hparams.model].architecture_fields:
        parts.append(f"{hparams.n_frames_per_step} frames a decoder step")
    light = RECIPES[hparams.model].dropout
    if light and all(getattr(hparams, name) == value for name, value in light.items()):
        parts.append("light dropout")
    if hparams.speech_level == "even":
        parts.append("all recordings at one level of speech")
    return ", ".join(parts)
