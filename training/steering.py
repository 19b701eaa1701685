"""Orders to a trainer: what it can be asked to do between two steps, by a supervisor or a person."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import torch

from corpus.batches import Batch
from hparams import UserError
from models import build_model
from training.checkpoint import list_checkpoints, load_checkpoint
from training.knobs import KNOB_BOUNDS
from training.quarantine import add_to_quarantine
from training.reports import ArmReport, RollbackReport, StepReport
from training.schedule import Clock, PhasePlan
from training.update import Learner

if TYPE_CHECKING:
    from training.trainer import EnhancedTrainer

PLACES_REMEMBERED = 10_000  # steps


class Order(Protocol):
    """One thing to do; which fields count depends on the action."""

    @property
    def action(self) -> str: ...
    @property
    def knobs(self) -> Mapping[str, float]: ...
    @property
    def step(self) -> int: ...
    @property
    def skip_since(self) -> int | None: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def arms(self) -> Sequence[Mapping[str, float]]: ...
    @property
    def utterances(self) -> Sequence[str]: ...
    @property
    def targets(self) -> Mapping[str, float]: ...
    @property
    def reason(self) -> str: ...


class Steering:
    """Carries orders out: at once what only changes settings, before the next step what changes where training is."""

    def __init__(self, trainer: EnhancedTrainer) -> None:
        self._trainer = trainer
        self._deferred: list[Callable[[], None]] = []
        self._places: deque[tuple[int, int, int]] = deque(maxlen=PLACES_REMEMBERED)  # step, epoch, place in it
        self._last_batches: tuple[Batch, ...] = ()
        self._rerun = False
        self._memory_error: RuntimeError | None = None
        self.end: str | None = None
        self.hopeless = False
        self._known: dict[str, Callable[[Any], None]] = {
            "turn": lambda order: self.turn(order.knobs),
            "enter_phase": lambda order: self._enter_phase(order.targets),
            "rerun_step": lambda order: self._run_last_batch_again(),
            "quarantine": lambda order: self._defer(lambda: self._quarantine(order.utterances)),
            "fetch_faster": lambda order: self._defer(self._fetch_faster),
            "keep_fewer_checkpoints": lambda order: self._keep_fewer_checkpoints(),
            "reset_moments": lambda order: self._reset_moments(order.n_steps),
            "roll_back": lambda order: self._defer(lambda: self._roll_back(order)),
            "restart": lambda order: self._defer(lambda: self._restart(order)),
            "race": lambda order: self._defer(lambda: self._race(order)),
            "finish": lambda order: self._finish(order.reason),
            "stop": lambda order: self._stop(order.reason),
        }

    @property
    def actions(self) -> tuple[str, ...]:
        return tuple(sorted(self._known))

    def carry_out(self, order: Order) -> None:
        self._known[order.action](order)

    @property
    def wants_attention(self) -> bool:
        """Whether the next batch may not simply follow."""
        return bool(self._deferred) or self.end is not None

    def carry_out_deferred(self) -> None:
        while self._deferred:
            self._deferred.pop(0)()

    def turn(self, knobs: Mapping[str, float]) -> None:
        """Set knobs; what lies beyond their bounds is a mistake of the one who asks, unless they started there."""
        for name, value in knobs.items():
            bounds = KNOB_BOUNDS[name]
            start = getattr(type(self._trainer.knobs).from_hparams(self._trainer.hparams), name)
            if not min(bounds.low, start) <= value <= max(bounds.high, start):
                raise ValueError(f"{name}: expected {bounds.low:g} to {bounds.high:g}, got {value:g}")
            setattr(self._trainer.knobs, name, float(value))
        self._trainer.model.decoder.gate_threshold = self._trainer.knobs.gate_threshold

    def remember_place(self, batches: Sequence[Batch]) -> None:
        """Where this step's data came from."""
        self._last_batches = tuple(batches)
        progress = self._trainer.progress
        self._places += [(progress.step, progress.epoch, batch.number) for batch in batches]

    def batch_to_rerun(self) -> tuple[Batch, ...]:
        rerun, self._rerun = self._rerun, False
        return self._last_batches if rerun else ()

    def out_of_memory(self, error: RuntimeError, batches: Sequence[Batch]) -> None:
        self._memory_error, self._micro_batches = error, self._trainer.knobs.micro_batches

    def require_answer_to_out_of_memory(self) -> None:
        """Unless someone has made the parts of a batch smaller, the next step would fail as this one did."""
        error, self._memory_error = self._memory_error, None
        if error is None:
            return
        if self._trainer.knobs.micro_batches <= self._micro_batches and self.end is None:
            raise error
        torch.cuda.empty_cache()
        self._run_last_batch_again()

    def _defer(self, work: Callable[[], None]) -> None:
        self._deferred.append(work)

    def _run_last_batch_again(self) -> None:
        self._rerun = True

    def _enter_phase(self, targets: Mapping[str, float]) -> None:
        names = PhasePlan.__dataclass_fields__
        self._trainer.plan = PhasePlan(**{name: value for name, value in targets.items() if name in names})

    def _quarantine(self, utterances: Sequence[str]) -> None:
        loader = self._trainer.data.train
        loader.quarantined |= set(utterances)
        add_to_quarantine(self._trainer.folder, utterances, step=self._trainer.progress.step)

    def _fetch_faster(self) -> None:
        self._trainer.data.train.n_threads *= 2

    def _keep_fewer_checkpoints(self) -> None:
        self._trainer.keep_checkpoints = 1

    def _reset_moments(self, n_steps: int) -> None:
        """Forget what the optimizer remembers and warm up again."""
        self._trainer.optimizer.state.clear()
        self._trainer.clock.warm_from_step = self._trainer.progress.step
        self._trainer.clock.warm_steps = n_steps

    def _roll_back(self, order: Order) -> None:
        trainer = self._trainer
        if order.skip_since is not None:
            since = order.skip_since
            trainer.data.train.left_out |= {(epoch, place) for step, epoch, place in self._places if step >= since}
        step, problems = self._go_back(order.step)
        if step is not None:
            self._abandon_after(step)
            self.turn(order.knobs)
        trainer.watcher.on_rollback(RollbackReport(order.step, step, problems))
        if step is not None:
            trainer.save()

    def _abandon_after(self, step: int) -> None:
        """What was saved later belongs to a future that will not be."""
        for saved in list_checkpoints(self._trainer.folder / "checkpoints"):
            if saved.step > step:
                saved.path.unlink()

    def _go_back(self, step: int) -> tuple[int | None, tuple[str, ...]]:
        """To that checkpoint or, if it is missing or ruined, to the newest usable one before it, if there is any."""
        trainer, problems = self._trainer, []
        saved = [found for found in list_checkpoints(trainer.folder / "checkpoints") if found.step <= step]
        for checkpoint in reversed(saved):
            try:
                state = load_checkpoint(checkpoint.path)
            except UserError as error:
                problems.append(str(error))
                continue
            self._apply(state)
            return checkpoint.step, tuple(problems)
        return None, tuple(problems) or (f"no checkpoint at or before step {step}",)

    def _apply(self, state: dict[str, Any]) -> None:
        """A state of this run with its knobs as they were; time that has passed stays passed."""
        trainer, seconds = self._trainer, self._trainer.progress.seconds
        trainer.go_back(state)
        trainer.progress.seconds = seconds
        self.turn(state["knobs"])

    def _restart(self, order: Order) -> None:
        """From scratch with another seed; steps are counted on, the schedules begin anew."""
        trainer = self._trainer
        torch.manual_seed(trainer.hparams.seed + trainer.progress.step)
        model = build_model(trainer.hparams, len(trainer.data.symbols))
        trainer.learner = Learner(model, trainer.hparams, trainer.device)
        trainer.clock = Clock(origin_step=trainer.progress.step)
        trainer.progress.epoch = trainer.progress.batch = 0
        self.turn(order.knobs)
        trainer.save()

    def _race(self, order: Order) -> None:
        """Train each arm from the same checkpoint on the same data; go on with the one the watcher prefers."""
        trainer = self._trainer
        arms: list[ArmReport] = []
        states = []
        start = order.step
        for knobs in order.arms:
            found, problems = self._go_back(start)
            if found is None:
                return trainer.watcher.on_rollback(RollbackReport(order.step, None, problems))
            start = found
            self.turn(knobs)
            arms.append(self._run_arm(knobs, order.n_steps))
            states.append(deepcopy(trainer.state_dict()))
        self._apply(states[trainer.watcher.on_race(start, arms)])
        self._abandon_after(start)
        trainer.save()

    def _run_arm(self, knobs: Mapping[str, float], n_steps: int) -> ArmReport:
        trainer = self._trainer
        reports: list[StepReport] = []
        while len(reports) < n_steps:
            batches = trainer.data.train.epoch(trainer.progress.epoch, start=trainer.progress.batch)
            for batch in islice(batches, n_steps - len(reports)):
                reports.append(trainer.train_step(batch))
                trainer.watcher.on_arm_step()
            batches.close()
            if len(reports) < n_steps:
                trainer.progress.epoch, trainer.progress.batch = trainer.progress.epoch + 1, 0
        trainer.watcher.before_evaluation()
        return ArmReport(dict(knobs), tuple(reports), trainer.validate())

    def _finish(self, reason: str) -> None:
        self.end = reason

    def _stop(self, reason: str) -> None:
        self.end, self.hopeless = reason, True
