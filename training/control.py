"""Control of a running training: executes at once the orders that only change settings, loss weights or data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from models.memory import release_gpu_memory
from reports import QuarantineReport, TrainerOrder
from training.checkpoints.json_files import add_to_quarantine, remove_from_quarantine
from training.rewind import Rewind
from training.run_state import RunState
from training.schedule import PhasePlan

NOTHING_LEFT = "every utterance to train on is quarantined"
MAX_LOADER_THREADS = 8
"""More threads would only hold more batches in memory: each reads up to four ahead."""
MOVES = ("roll_back", "restart", "race", "try_abandoned")
"""Actions that change the step and weights training continues from; they wait for the end of the step."""


class RunControl:
    """Executor of a supervisor's or a person's orders; the trainer asks it between steps whether to go on."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._must_reload = False  # prefetched batches are stale
        self.end: str | None = None  # the reason to end training
        self.is_hopeless = False
        self.returns_to_best = False
        self._executors: dict[str, Callable[[TrainerOrder], None]] = {
            "turn": lambda order: state.turn_knobs(order.knobs),
            "enter_phase": lambda order: self._enter_phase(order.targets),
            "rerun_step": lambda _order: self._rerun_step(),
            "quarantine": lambda order: self._quarantine(order.utterances, reason=order.reason),
            "release": lambda order: self._release(order.utterances),
            "screen": lambda _order: self._quarantine_nonfinite(),
            "fetch_faster": lambda _order: self._fetch_faster(),
            "keep_fewer_checkpoints": lambda _order: self._keep_fewer_checkpoints(),
            "reset_moments": lambda order: self._reset_moments(order.n_steps),
            "finish": lambda order: self._finish(order.reason),
            "stop": lambda order: self._stop(order.reason),
        }
        self._executors |= dict.fromkeys(MOVES, self._queue)

    @property
    def actions(self) -> tuple[str, ...]:
        return tuple(sorted(self._executors))

    def execute(self, order: TrainerOrder) -> None:
        self._executors[order.action](order)

    @property
    def needs_new_batches(self) -> bool:
        """Whether the prefetched batches are not the next ones to train on."""
        return self._must_reload or self.ends_or_moves

    @property
    def ends_or_moves(self) -> bool:
        """Whether training ends, or continues from another state, after this step."""
        return bool(self._state.pending_orders) or self.end is not None

    def execute_pending(self, rewind: Rewind) -> None:
        """Execute the orders that move training, unless training is interrupted."""
        self._must_reload = False
        orders = self._state.pending_orders
        while orders and self.end is None and self._state.limits.interruption is None:
            order = orders.pop(0)
            if not rewind.execute(order):
                orders.insert(0, order)

    def forget_pending(self) -> None:
        """Drop pending orders: no supervisor is attached that would judge their result."""
        self._state.pending_orders.clear()

    def rerun_after_out_of_memory(self) -> None:
        """After a step without memory: rerun its data if an order has made the micro-batches smaller, else raise."""
        error, self._state.memory_error = self._state.memory_error, None
        if error is None:
            return
        if self._state.knobs.micro_batches <= self._state.failed_micro_batches and self.end is None:
            raise error
        del error  # its traceback holds what was computed
        release_gpu_memory()
        self._rerun_step()

    def _queue(self, order: TrainerOrder) -> None:
        """Keep the order until the end of the step; by then a restart's first phase has begun already."""
        state = self._state
        if order.action in ("roll_back", "restart"):
            state.phase_plan_before_move = state.phase_plan
        state.pending_orders.append(order)

    def _rerun_step(self) -> None:
        """Read the batches of the last step again."""
        progress = self._state.progress
        if batches := [batch for step, _, batch in self._state.recent_batches if step == progress.step]:
            progress.batch, self._must_reload = min(batches), True

    def _enter_phase(self, targets: Mapping[str, float]) -> None:
        names = PhasePlan.__dataclass_fields__
        self._state.phase_plan = PhasePlan(**{name: value for name, value in targets.items() if name in names})

    def _quarantine(self, utterances: Sequence[str], *, reason: str) -> None:
        state, loader = self._state, self._state.data.train
        loader.quarantined |= set(utterances)
        add_to_quarantine(state.folder, utterances, step=state.progress.step)
        state.observer.on_quarantine(QuarantineReport(tuple(utterances), reason))
        self._must_reload = True
        if not loader.has_utterances:
            self._stop(NOTHING_LEFT)

    def _release(self, utterances: Sequence[str]) -> None:
        """Train on quarantined utterances again."""
        self._state.data.train.quarantined -= set(utterances)
        remove_from_quarantine(self._state.folder, utterances)
        self._must_reload = True

    def _quarantine_nonfinite(self) -> None:
        """Quarantine all recordings that hold numbers no model can learn from."""
        if broken := self._state.data.train.find_nonfinite():
            self._quarantine(broken, reason="not finite")

    def _fetch_faster(self) -> None:
        loader = self._state.data.train
        loader.n_threads = min(2 * loader.n_threads, MAX_LOADER_THREADS)
        self._must_reload = True

    def _keep_fewer_checkpoints(self) -> None:
        self._state.keep_checkpoints = 1

    def _reset_moments(self, n_steps: int) -> None:
        """Clear the optimizer's moments and warm up again."""
        state = self._state
        state.optimizer.state.clear()
        state.learner.is_synchronized = False
        state.clock.warm_from_step, state.clock.warm_steps = state.progress.step, n_steps

    def _finish(self, reason: str) -> None:
        self.end, self.returns_to_best = reason, True

    def _stop(self, reason: str) -> None:
        self.end, self.is_hopeless = reason, True
