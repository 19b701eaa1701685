"""Single training steps and evaluations on the state of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice

import psutil
import torch

from corpus.batches import Batch
from models.interface import LossKnobs
from models.memory import is_out_of_memory
from reports import EvaluationReport, StepReport
from speech.decoding import evaluation_mode
from training.distributed.rank_group import StepTask
from training.evaluation import decode_plain_texts, decode_samples, evaluate_utterances
from training.run_state import RunState
from training.schedule import planned_learning_rate
from training.step.learner import UpdateResult
from training.step.micro_batches import split_batch

UPDATE_RATIO_EVERY = 10  # steps; measuring it needs a copy of all weights


class StepRunner:
    """Runner of training steps and evaluations; reports what happened and judges nothing."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._process = psutil.Process()

    def next_batches(self, batches: Iterator[Batch]) -> tuple[Batch, ...]:
        """Return the batches of one step; none at the end of the epoch."""
        return tuple(islice(batches, int(self._state.knobs.batches_per_update)))

    def train_step(self, *batches: Batch, started: float | None = None) -> StepReport:
        """Forward, backward and, if all is finite, one update; `started` is when waiting for the data began."""
        state, progress = self._state, self._state.progress
        loaded = time.perf_counter()
        started = loaded if started is None else started
        progress.step += 1
        progress.batch = batches[-1].number + 1
        state.is_unsaved = True
        learning_rate = self._set_learning_rate()
        state.remember_batches(batches)
        updated = self._update(batches)
        seconds = time.perf_counter() - started
        progress.seconds += seconds
        return self._report(batches, updated, learning_rate, seconds=seconds, waited=loaded - started)

    def _set_learning_rate(self) -> float:
        state, step = self._state, self._state.progress.step
        if state.phase_plan.hold_schedules:
            state.clock.hold(step, state.hparams, state.stretch)
        rate = planned_learning_rate(state.schedule_step, state.hparams) * state.clock.warmup_factor(step)
        rate *= state.knobs.learning_rate_multiplier * state.phase_plan.learning_rate_share
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _update(self, batches: Sequence[Batch]) -> UpdateResult:
        """Return a result without losses when memory ran out; then nothing was changed."""
        state = self._state
        chunks = [chunk for batch in batches for chunk in split_batch(batch, int(state.knobs.micro_batches))]
        clip = state.knobs.grad_clip_thresh * state.phase_plan.grad_clip_share
        measure = state.progress.step % UPDATE_RATIO_EVERY == 0
        try:
            total_frames = self._send_task(batches, clip)
            updated = state.learner.update(
                chunks, self._loss_knobs(), clip_norm=clip, measure=measure, total_frames=total_frames
            )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            state.progress.out_of_memory_steps += 1
            state.memory_error, state.failed_micro_batches = error, state.knobs.micro_batches
            return UpdateResult({}, tuple(id_ for batch in batches for id_ in batch.ids), (), None, None, {})
        state.progress.nonfinite_steps += updated.gradient_norm is None
        if updated.stop_signal is not None and state.limits.stop is None:
            state.limits.request_stop(updated.stop_signal)
        return updated

    def _send_task(self, batches: Sequence[Batch], clip: float) -> int | None:
        """Send the other ranks their part of this step; return the frames of all ranks."""
        state, ranks = self._state, self._state.rank_group
        if ranks.size == 1:
            return None
        if not state.learner.is_synchronized:
            state.learner.initialize_lazily(batches[0])
            ranks.broadcast(state.learner.shared_state(state.hparams, seed=state.random_seed))
        task = StepTask(
            examples=tuple(tuple(batch.rank_indices[rank] for batch in batches) for rank in range(ranks.size)),
            epoch=state.progress.epoch,
            last_batch=batches[-1].number,
            total_frames=self._n_frames(batches),
            micro_batches=int(state.knobs.micro_batches),
            loss_knobs=self._loss_knobs(),
            clip_norm=clip,
            learning_rate=float(state.optimizer.param_groups[0]["lr"]),
        )
        ranks.broadcast(task)
        return task.total_frames

    def _n_frames(self, batches: Sequence[Batch]) -> int:
        """Count the frames of all ranks."""
        if self._state.rank_group.size == 1:
            return sum(int(batch.mel_lengths.sum()) for batch in batches)
        return sum(self._state.data.train.n_frames(rows) for batch in batches for rows in batch.rank_indices)

    def _report(
        self,
        batches: Sequence[Batch],
        updated: UpdateResult,
        learning_rate: float,
        *,
        seconds: float,
        waited: float,
    ) -> StepReport:
        state, progress = self._state, self._state.progress
        losses = {} if updated.gradient_norm is None else updated.losses
        measure_names = (*state.model.MEASURES, *state.model.gradient_parts())
        return StepReport(
            step=progress.step,
            epoch=progress.epoch,
            utterance_ids=updated.utterance_ids,
            utterance_losses=updated.utterance_losses,
            total_loss=losses.get("total_loss"),
            loss_parts={name: losses.get(name) for name in state.model.LOSS_PARTS},
            measures={name: updated.measures.get(name) for name in measure_names},
            gradient_norm=updated.gradient_norm,
            learning_rate=learning_rate,
            update_ratio=updated.update_ratio,
            frames_per_second=self._n_frames(batches) / seconds,
            data_wait_share=waited / seconds,
            memory_bytes=self._memory_bytes(),
            nonfinite_steps=progress.nonfinite_steps,
            out_of_memory_steps=progress.out_of_memory_steps,
        )

    def _loss_knobs(self) -> LossKnobs:
        state = self._state
        return state.knobs.for_losses(state.schedule_step, state.hparams, state.phase_plan)

    def _memory_bytes(self) -> int:
        if self._state.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._state.device))
        return int(self._process.memory_info().rss)

    def validate(self) -> EvaluationReport:
        """Compute held-out losses and decodes with the present weights; change nothing."""
        state = self._state
        with evaluation_mode(state.model, state.hparams.seed), state.learner.precision.autocast():
            hparams = state.hparams.model_copy(update={"gate_threshold": state.knobs.gate_threshold})
            losses, decodes = evaluate_utterances(state.model, state.data.held_out, hparams, self._loss_knobs())
            sentences = decode_samples(state.model, state.data, state.hparams)
            plain = decode_plain_texts(state.model, state.data, state.hparams)
        seconds = round(state.progress.seconds, 3)
        return EvaluationReport(
            step=state.progress.step,
            epoch=state.progress.epoch,
            training_seconds=seconds,
            losses=losses,
            decodes=decodes,
            sentences=sentences,
            plain_decodes=plain,
        )
