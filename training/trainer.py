"""EnhancedTrainer: the training loop, and the only writer of weights, optimizer and knobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from corpus.batches import Batch
from reports import EvaluationReport, StepReport
from training.control import RunControl
from training.evaluation import longest_rest_seconds
from training.rewind import Rewind
from training.run_state import RunLimits, RunState
from training.step_runner import StepRunner


class EnhancedTrainer:
    """Trainer of one model on one corpus; reports to its observer and judges nothing."""

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.control = RunControl(state)
        self._steps = StepRunner(state)
        self._rewind = Rewind(state, self._steps)
        self.before_step: Callable[[], None] = lambda: None
        """Called before each step: the moment for requests from outside."""
        self.after_evaluation: Callable[[float | None], None] = lambda score: None
        """Called with the score, once the evaluation is journalled and the best checkpoint is kept."""

    def fit(self, limits: RunLimits) -> str:
        """Train until the epochs or a limit are reached; end evaluated and saved. Return the reason for the end."""
        state = self.state
        state.limits = limits
        reason = self._run_epochs()
        if self.control.returns_to_best:
            self._rewind.return_to_best()
        if state.progress.evaluated_step != state.progress.step and limits.stop is None:
            self.evaluate()
        if state.is_unsaved:
            state.save()
        if reason == "epochs" or self.control.end is not None:
            self._rewind.forget_abandoned()
        return reason

    def _run_epochs(self) -> str:
        state, control = self.state, self.control
        while state.progress.epoch < state.hparams.epochs:
            batches = state.data.train.epoch(state.progress.epoch, start=state.progress.batch)
            try:
                reason = self._run_epoch(batches)
            finally:
                batches.close()
            if reason is not None:
                return reason
            if control.needs_new_batches:
                control.execute_pending(self._rewind)
            else:
                state.progress.epoch, state.progress.batch = state.progress.epoch + 1, 0
        return "epochs"

    def _run_epoch(self, batches: Iterator[Batch]) -> str | None:
        """Train until the epoch ends, a limit is reached, or an order changes the data to come."""
        state, control = self.state, self.control
        while not control.needs_new_batches:
            self.before_step()
            if reason := self._limit_reached():
                return reason
            started = time.perf_counter()
            chosen = self._steps.next_batches(batches)
            if not chosen:
                return None
            state.observer.on_step(self.train_step(*chosen, started=started))
            control.rerun_after_out_of_memory()
            self._evaluate_and_save_when_due()
        return state.limits.interruption if control.end is None else control.end

    def _evaluate_and_save_when_due(self) -> None:
        state, step = self.state, self.state.progress.step
        if step % state.hparams.iters_per_evaluation == 0 and not self.control.ends_or_moves:
            self.evaluate()
        if step % state.hparams.iters_per_checkpoint == 0 and state.is_unsaved and not self.control.ends_or_moves:
            state.save()

    def _limit_reached(self) -> str | None:
        limits = self.state.limits
        if limits.stop is None and limits.max_steps is not None and self.state.progress.step >= limits.max_steps:
            return limits.step_limit
        return limits.interruption

    def train_step(self, *batches: Batch, started: float | None = None) -> StepReport:
        """Forward, backward and, if all is finite, one update; `started` is when waiting for the data began."""
        return self._steps.train_step(*batches, started=started)

    def validate(self) -> EvaluationReport:
        """Compute held-out losses and decodes with the present weights; change nothing."""
        return self._steps.validate()

    def evaluate(self) -> None:
        """Validate, report, and keep a checkpoint when the score is the best so far."""
        state, progress = self.state, self.state.progress
        state.observer.on_evaluation_start()
        report = self.validate()
        state.data = state.data.with_rest(longest_rest_seconds(report.decodes, state.hparams))
        score = state.observer.on_evaluation(report)
        progress.evaluated_step = progress.step
        state.is_unsaved = True
        state.keep_if_best(score)
        self.after_evaluation(score)

    def write_voice(self) -> Path:
        return self.state.write_voice()
