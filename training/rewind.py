"""Rollbacks, restarts, races and returns: orders that change the step and weights training continues from."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hparams import UserError, build_hparams
from models import build_model
from models.checkpoint_file import load_checkpoint
from reports import AbandonedReport, ArmReport, RaceReport, RaceWinner, RollbackReport, StepReport, TrainerOrder
from training.checkpoints.checkpoint import list_checkpoints, load_abandoned, remove_abandoned, save_abandoned
from training.checkpoints.initial_weights import load_initial_weights
from training.checkpoints.json_files import add_amendments
from training.run_state import RunState
from training.schedule import PhasePlan, ScheduleClock
from training.step.learner import Learner
from training.step_runner import StepRunner


class Rewind:
    """Executor of rollbacks, restarts, races and trials of the abandoned state."""

    def __init__(self, state: RunState, steps: StepRunner) -> None:
        self._state, self._steps = state, steps

    def execute(self, order: TrainerOrder) -> bool:
        """Return False when an interruption came first; then everything is as before."""
        if order.action == "race":
            return self._race(order)
        if order.action == "try_abandoned":
            return self._try_abandoned(order)
        save_abandoned(self._folder, self._describe_abandoned(order))
        if order.action == "restart":
            self._restart(order)
        else:
            self._roll_back(order)
        return True

    @property
    def _folder(self) -> Path:
        return self._state.folder / "checkpoints"

    def _describe_abandoned(self, order: TrainerOrder) -> dict[str, Any]:
        """State to return to: settings that a restart changes, and the first step that a return undoes, with it."""
        state = self._state
        content = {name: value for name, value in state.state_dict().items() if name != "watcher"}
        former = {name: getattr(state.hparams, name) for name in order.hparams}
        first_step = state.progress.step if order.action == "restart" else order.step + 1
        return content | {
            "former": former,
            "phase_plan": asdict(state.phase_plan_before_move),
            "undone_from": first_step,
        }

    def forget_abandoned(self) -> None:
        """Training is over: there is no verdict to come."""
        remove_abandoned(self._folder)

    def _roll_back(self, order: TrainerOrder) -> None:
        state, since = self._state, order.skip_since
        skipped = {(epoch, batch) for step, epoch, batch in state.recent_batches if since is not None and step >= since}
        step, problems = self._load_at_or_before(order.step)
        if step != order.step:
            remove_abandoned(self._folder)  # a return would not know which checkpoints to undo
        if step is not None:
            state.data.train.skipped_batches |= skipped
            self._delete_checkpoints_after(step)
            state.turn_knobs(order.knobs)
        state.observer.on_rollback(RollbackReport(order.step, step, problems))
        if step is not None:
            state.save()

    def return_to_best(self) -> None:
        """Go back to the best checkpoint of this attempt, if it is an earlier one."""
        state, best = self._state, self._state.progress.best_step
        if best is not None and state.clock.origin_step < best < state.progress.step:
            self._roll_back(TrainerOrder("roll_back", step=best))
            state.progress.evaluated_step = -1

    def _delete_checkpoints_after(self, step: int) -> None:
        """Delete checkpoints after the step that training continues from."""
        for saved in list_checkpoints(self._state.folder / "checkpoints"):
            if saved.step > step:
                saved.path.unlink()

    def _load_at_or_before(self, step: int) -> tuple[int | None, tuple[str, ...]]:
        """Load the newest usable checkpoint at or before a step; return its step and the problems of newer ones."""
        problems = []
        origin = self._state.clock.origin_step  # older checkpoints are of the attempt before a restart
        found = list_checkpoints(self._state.folder / "checkpoints")
        saved = [checkpoint for checkpoint in found if origin <= checkpoint.step <= step]
        for checkpoint in reversed(saved):
            try:
                loaded = load_checkpoint(checkpoint.path)
            except UserError as error:
                problems.append(str(error))
                continue
            self._restore(loaded)
            return checkpoint.step, tuple(problems)
        return None, tuple(problems) or (f"no checkpoint at or before step {step}",)

    def _restore(self, saved: dict[str, Any]) -> None:
        """Restore a state of this run with its knobs; the seconds spent since stay counted."""
        seconds = self._state.progress.seconds
        self._state.rewind_to(saved)
        self._state.progress.seconds = seconds
        self._state.restore_knobs(saved)

    def _restart(self, order: TrainerOrder) -> None:
        """Begin with new weights and another seed; steps count on, schedules and data begin anew."""
        state = self._state
        if order.hparams:
            state.hparams = add_amendments(state.folder, state.hparams, order.hparams)
        torch.manual_seed(state.hparams.seed + state.progress.step)
        model = build_model(state.hparams, len(state.data.symbols))
        load_initial_weights(state.folder, model)
        state.learner = Learner(model, state.hparams, state.device, state.rank_group)
        state.clock = ScheduleClock(origin_step=state.progress.step)
        state.progress.epoch = state.progress.batch = 0
        state.progress.recent_scores = []
        state.recent_batches.clear()
        state.turn_knobs(order.knobs)
        state.save()

    def _race(self, order: TrainerOrder) -> bool:
        """Train each arm from the same checkpoint on the same data; continue with the one the observer chooses."""
        state = self._state
        before = _copy_to_memory(state.state_dict())
        arms: list[ArmReport] = []
        ends: list[dict[str, Any] | None] = []
        start = order.step
        for knobs, seed in zip(order.arms, order.seeds, strict=True):
            loaded, problems = self._load_at_or_before(start)
            if loaded is None or (arms and loaded != start):
                self._restore(before)
                state.observer.on_rollback(RollbackReport(order.step, None, problems))
                return True
            start = loaded
            state.arm_seed = seed
            if state.arm_seed:
                torch.manual_seed(state.random_seed)
            state.turn_knobs(knobs)
            reports = self._run_arm(order.n_steps)
            state.arm_seed = 0
            if state.limits.interruption is not None:
                self._restore(before)
                return False
            state.observer.on_evaluation_start()
            arms.append(ArmReport(knobs, tuple(reports), self._steps.validate()))
            ends.append(None if seed else _copy_to_memory(state.state_dict()))  # others only show the noise
        winner = state.observer.on_race(RaceReport(start, tuple(arms)))
        end = ends[winner.arm]
        assert end is not None, "an arm of the checkpoint's own random state wins"
        self._restore(end)
        self._delete_checkpoints_after(start)
        if not state.keep_if_best(winner.score):
            state.save()
        return True

    def _try_abandoned(self, order: TrainerOrder) -> bool:
        """Train on what was abandoned, evaluate it, and continue with it if the observer chooses so."""
        state = self._state
        try:
            abandoned = load_abandoned(self._folder, order.step, fingerprint=state.data.fingerprint)
        except UserError as error:
            state.observer.on_abandoned(AbandonedReport(order.step, None, str(error)))
            return True
        present, phase_plan = _copy_to_memory(state.state_dict()), state.phase_plan
        changed = {name: present["hparams"][name] for name in abandoned["former"]}
        self._switch_to(abandoned, abandoned["former"], PhasePlan(**abandoned["phase_plan"]))
        state.knobs.micro_batches = max(state.knobs.micro_batches, present["knobs"]["micro_batches"])
        reports = self._run_arm(order.n_steps)
        if state.limits.interruption is not None:
            self._switch_to(present, changed, phase_plan)
            return False
        state.observer.on_evaluation_start()
        arm = ArmReport(asdict(state.knobs), tuple(reports), self._steps.validate())
        winner = state.observer.on_abandoned(AbandonedReport(order.step, arm))
        if winner is not None:
            self._return_to_abandoned(abandoned, winner)
        else:
            self._switch_to(present, changed, phase_plan)
            state.save()  # with the verdict, before the file goes
        remove_abandoned(self._folder)
        return True

    def _return_to_abandoned(self, abandoned: dict[str, Any], winner: RaceWinner) -> None:
        """Replace the checkpoints of what came instead by one of the present state; the newest goes last."""
        state = self._state
        undone = [saved.path for saved in list_checkpoints(self._folder) if saved.step >= abandoned["undone_from"]]
        for path in undone[:-1]:
            path.unlink()
        progress = state.progress
        if progress.best_step is not None and progress.best_step >= abandoned["undone_from"]:
            progress.best_step = progress.best_score = None
        progress.evaluated_step = progress.step
        if not state.keep_if_best(winner.score):
            state.save()
        for path in undone[-1:]:
            path.unlink(missing_ok=True)
        if abandoned["former"]:
            add_amendments(state.folder, state.hparams, abandoned["former"])
        state.report_checkpoint(list_checkpoints(self._folder)[-1].path)

    def _switch_to(self, saved: dict[str, Any], changes: dict[str, Any], phase_plan: PhasePlan) -> None:
        """Continue from a state of this run, whose model has another shape if these settings differ."""
        state = self._state
        hparams, state.phase_plan = build_hparams(state.hparams.model_dump(), changes), phase_plan
        if hparams != state.hparams:
            state.hparams = hparams
            state.learner = Learner(
                build_model(hparams, len(state.data.symbols)), hparams, state.device, state.rank_group
            )
        self._restore(saved)

    def _run_arm(self, n_steps: int) -> list[StepReport]:
        state, steps = self._state, self._steps
        reports: list[StepReport] = []
        while len(reports) < n_steps:
            batches = state.data.train.epoch(state.progress.epoch, start=state.progress.batch)
            while len(reports) < n_steps and (chosen := steps.next_batches(batches)):
                if state.limits.interruption is not None:
                    batches.close()
                    return reports
                reports.append(steps.train_step(*chosen))
                state.observer.on_race_step()
            batches.close()
            if len(reports) < n_steps:
                state.progress.epoch, state.progress.batch = state.progress.epoch + 1, 0
        state.memory_error = None  # an arm that does not fit into memory learns nothing, and its reports say so
        return reports


def _copy_to_memory(state: dict[str, Any]) -> dict[str, Any]:
    """Copy a state to main memory, as a checkpoint would hold it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return dict(torch.load(file, map_location="cpu", weights_only=True))
