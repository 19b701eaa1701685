"""Correction of a plan of minutes, once the real speed of the training is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from commands.plan.estimate import format_duration
from commands.plan.training_plan import TrainingPlan, write_plan
from hparams import build_hparams
from monitoring.journal.recorder import RunRecorder
from smart_tuner.runtime import SupervisorRuntime
from training.run_state import RunState


class PlanCorrection:
    """Gives a running training the corrected plan, and writes it into folder and journal."""

    def __init__(self, plan: TrainingPlan, folder: Path, recorder: RunRecorder) -> None:
        self._plan, self._folder, self._recorder = plan, folder, recorder
        self.state: RunState | None = None  # set once there is a trainer
        self.supervisor: SupervisorRuntime | None = None

    def is_due(self, step: int) -> bool:
        due = self._plan.correction_step
        return self.state is not None and due is not None and step >= due

    def apply(self, step: int, seconds_per_step: float) -> int:
        """Correct the plan by the speed measured up to this step; return its last step."""
        state = self.state
        assert state is not None, "is_due() is false until there is a state"
        seconds_left = state.limits.seconds_left
        plan = self._plan.corrected(step, seconds_per_step, seconds_left)
        before, self._plan = self._plan.steps, plan
        write_plan(self._folder, plan)
        if plan.steps == before:
            return before
        state.stretch = plan.stretch
        state.limits = replace(state.limits, max_steps=plan.steps)
        epochs = max(state.hparams.epochs, 1 + -(-plan.steps // plan.steps_per_epoch))
        state.hparams = build_hparams(state.hparams.model_dump(), {"epochs": epochs})
        patience_steps = plan.stretch.training_steps(state.hparams.alignment_patience_steps)
        if self.supervisor is not None:
            self.supervisor.supervisor.observe_plan(plan.steps, patience_steps)
        self._recorder.on_plan(
            step,
            planned_steps=plan.steps,
            patience_steps=patience_steps,
            text=f"a step takes {seconds_per_step:.2f} s: {plan.steps:,} steps instead of {before:,} fit into the "
            f"{format_duration(seconds_left)} that are left; the schedules follow",
        )
        return plan.steps
