"""Plan of a training in plain words."""

from __future__ import annotations

from commands.plan.training_plan import TrainingPlan
from commands.run.job import TrainingJob
from hparams import HParams
from models import ARCHITECTURES


def describe_plan(job: TrainingJob, plan: TrainingPlan) -> str:
    """Return lines on the length of the training and on its schedules."""
    hparams = job.hparams
    epochs = plan.steps / plan.steps_per_epoch
    lines = [
        f"plan    {hparams.model}, preset {job.preset}: {plan.steps:,} steps ({epochs:.1f} epochs of "
        f"{plan.steps_per_epoch:,}), evaluated every {hparams.iters_per_evaluation:,}",
        f"        learning rate up to {hparams.learning_rate:g}: {_learning_rate(hparams)}",
    ]
    if ARCHITECTURES[hparams.model].HAS_ATTENTION:
        fades = hparams.guide_anneal_start_step
        lines.append(
            f"        guided attention fades from step {fades:,} to {fades + hparams.guide_anneal_steps:,}; "
            f"attention is expected by step {hparams.alignment_patience_steps:,}"
        )
    elif hparams.alignment_prior:
        guide = "the alignment of the corpus" if hparams.alignment_guide == "corpus" else "equal durations"
        lines.append(f"        guided by {guide}")
    return "\n".join(lines)


def _learning_rate(hparams: HParams) -> str:
    rises = f"rises until step {hparams.warmup_steps:,}"
    if hparams.learning_rate_schedule == "noam":
        return f"{rises}, then falls with the square root of the step"
    return f"{rises}, halves every {hparams.decay_half_life_steps:,} from step {hparams.decay_start_step:,}"
