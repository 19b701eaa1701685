"""Orders to a trainer: what it can be asked to do between two steps, by a supervisor or a person."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from corpus.batches import Batch
from hparams import UserError
from models import build_model, release_gpu_memory
from models.checkpoint_file import load_checkpoint
from reports import ArmReport, RollbackReport, StepReport
from training.checkpoints.checkpoint import list_checkpoints
from training.checkpoints.initial_weights import load_initial_weights
from training.checkpoints.run_files import add_amendments, add_to_quarantine
from training.knobs import KNOB_BOUNDS, Knobs
from training.schedule import PhasePlan, ScheduleClock
from training.step.learner import Learner

if TYPE_CHECKING:
    from training.trainer import EnhancedTrainer

PLACES_REMEMBERED = 2_000  # batches
NOTHING_LEFT = "every utterance to train on is quarantined"


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
    def reseeded_arm(self) -> int | None: ...
    @property
    def hparams(self) -> Mapping[str, float]: ...
    @property
    def utterances(self) -> Sequence[str]: ...
    @property
    def targets(self) -> Mapping[str, float]: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True)
class Move:
    """An order that changes where training is, as checkpoints keep it until it is carried out."""

    action: str
    knobs: dict[str, float]
    step: int
    skip_since: int | None
    n_steps: int
    arms: list[dict[str, float]]
    hparams: dict[str, float]
    reseeded_arm: int | None = None

    @staticmethod
    def ordered(order: Order) -> Move:
        arms = [dict(arm) for arm in order.arms]
        return Move(
            order.action,
            dict(order.knobs),
            order.step,
            order.skip_since,
            order.n_steps,
            arms,
            dict(order.hparams),
            order.reseeded_arm,
        )


class Steering:
    """Carries orders out: at once what only changes settings or data, before the next step what moves training."""

    def __init__(self, trainer: EnhancedTrainer) -> None:
        self._trainer = trainer
        self._moves: list[Move] = []
        self._reads_anew = False  # the batches to come are not those that were loaded ahead
        self._places: deque[tuple[int, int, int]] = deque(maxlen=PLACES_REMEMBERED)  # step, epoch, place in it
        self._memory_error: RuntimeError | None = None
        self.end: str | None = None
        self.hopeless = False
        self._returns_to_best = False
        self._known: dict[str, Callable[[Any], None]] = {
            "turn": lambda order: self.turn(order.knobs),
            "enter_phase": lambda order: self._enter_phase(order.targets),
            "rerun_step": lambda order: self._run_last_step_again(),
            "quarantine": lambda order: self._quarantine(order.utterances, reason=order.reason),
            "screen": lambda order: self._screen(),
            "fetch_faster": lambda order: self._fetch_faster(),
            "keep_fewer_checkpoints": lambda order: self._keep_fewer_checkpoints(),
            "reset_moments": lambda order: self._reset_moments(order.n_steps),
            "finish": lambda order: self._finish(order.reason),
            "stop": lambda order: self._stop(order.reason),
        }
        self._known |= dict.fromkeys(("roll_back", "restart", "race"), lambda order: self._wait(Move.ordered(order)))

    @property
    def actions(self) -> tuple[str, ...]:
        return tuple(sorted(self._known))

    def carry_out(self, order: Order) -> None:
        self._known[order.action](order)

    @property
    def wants_attention(self) -> bool:
        """Whether the next batch may not simply follow."""
        return self._reads_anew or self.leaves

    @property
    def leaves(self) -> bool:
        """Whether training does not go on from where it is."""
        return bool(self._moves) or self.end is not None

    def attend(self) -> None:
        """Carry out what waits, unless training is interrupted."""
        self._reads_anew = False
        moves = {"roll_back": self._roll_back, "restart": self._restart, "race": self._race}
        while self._moves and self.end is None and self._trainer.limits.interruption is None:
            move = self._moves.pop(0)
            moves[move.action](move)

    def state_dict(self) -> dict[str, Any]:
        return {"moves": [asdict(move) for move in self._moves], "places": [list(place) for place in self._places]}

    def recall_places(self, state: Mapping[str, Any]) -> None:
        """Steps that were undone are forgotten with the state they led to."""
        self._places = deque(((step, epoch, place) for step, epoch, place in state["places"]), PLACES_REMEMBERED)

    def forget_places(self) -> None:
        """They are those of other data."""
        self._places.clear()

    def recall_moves(self, state: Mapping[str, Any]) -> None:
        """What was ordered and not yet done when training ended."""
        self._moves = [Move(**move) for move in state["moves"]]

    def forget_moves(self) -> None:
        """Nobody is there any more who would want to know how they went."""
        self._moves.clear()

    def turn(self, knobs: Mapping[str, float]) -> None:
        """Set knobs; what lies beyond their bounds is a mistake of the one who asks, unless they started there."""
        starts = vars(Knobs.from_hparams(self._trainer.hparams))
        for name, value in knobs.items():
            bounds = KNOB_BOUNDS[name]
            if not min(bounds.low, starts[name]) <= value <= max(bounds.high, starts[name]):
                raise ValueError(f"{name}: expected {bounds.low:g} to {bounds.high:g}, got {value:g}")
        for name, value in knobs.items():
            setattr(self._trainer.knobs, name, float(value))
        self._trainer.model.set_gate_threshold(self._trainer.knobs.gate_threshold)

    def remember_place(self, batches: Sequence[Batch]) -> None:
        """Where this step's data came from."""
        progress = self._trainer.progress
        self._places += [(progress.step, progress.epoch, batch.number) for batch in batches]

    def out_of_memory(self, error: RuntimeError) -> None:
        self._memory_error, self._micro_batches = error, self._trainer.knobs.micro_batches

    def require_answer_to_out_of_memory(self) -> None:
        """Unless someone has made the parts of a batch smaller, the next step would fail as this one did."""
        error, self._memory_error = self._memory_error, None
        if error is None:
            return
        if self._trainer.knobs.micro_batches <= self._micro_batches and self.end is None:
            raise error
        del error  # its traceback holds what was computed
        release_gpu_memory()
        self._run_last_step_again()

    def _wait(self, move: Move) -> None:
        self._moves.append(move)

    def _run_last_step_again(self) -> None:
        """The data goes on from where the last step's began."""
        progress = self._trainer.progress
        if places := [place for step, _, place in self._places if step == progress.step]:
            progress.batch, self._reads_anew = min(places), True

    def _enter_phase(self, targets: Mapping[str, float]) -> None:
        names = PhasePlan.__dataclass_fields__
        self._trainer.plan = PhasePlan(**{name: value for name, value in targets.items() if name in names})

    def _quarantine(self, utterances: Sequence[str], *, reason: str) -> None:
        trainer, loader = self._trainer, self._trainer.data.train
        loader.quarantined |= set(utterances)
        add_to_quarantine(trainer.folder, utterances, step=trainer.progress.step)
        trainer.watcher.on_quarantine(utterances, reason)
        self._reads_anew = True
        if not loader.has_utterances:
            self._stop(NOTHING_LEFT)

    def _screen(self) -> None:
        """Look through all recordings for others that no model can learn from."""
        if broken := self._trainer.data.train.find_nonfinite():
            self._quarantine(broken, reason="not finite")

    def _fetch_faster(self) -> None:
        self._trainer.data.train.n_threads *= 2
        self._reads_anew = True

    def _keep_fewer_checkpoints(self) -> None:
        self._trainer.keep_checkpoints = 1

    def _reset_moments(self, n_steps: int) -> None:
        """Forget what the optimizer remembers and warm up again."""
        self._trainer.optimizer.state.clear()
        self._trainer.learner.is_synchronized = False
        self._trainer.clock.warm_from_step = self._trainer.progress.step
        self._trainer.clock.warm_steps = n_steps

    def _roll_back(self, move: Move) -> None:
        trainer, since = self._trainer, move.skip_since
        skipped = {(epoch, place) for step, epoch, place in self._places if since is not None and step >= since}
        step, problems = self._go_back(move.step)
        if step is not None:
            trainer.data.train.skipped_batches |= skipped
            self._abandon_after(step)
            self.turn(move.knobs)
        trainer.watcher.on_rollback(RollbackReport(move.step, step, problems))
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
        trainer.take_over_knobs(state)

    def _restart(self, move: Move) -> None:
        """From the very beginning with another seed; steps count on, the schedules and the data begin anew."""
        trainer = self._trainer
        if move.hparams:
            trainer.hparams = add_amendments(trainer.folder, trainer.hparams, move.hparams)
        torch.manual_seed(trainer.hparams.seed + trainer.progress.step)
        model = build_model(trainer.hparams, len(trainer.data.symbols))
        load_initial_weights(trainer.folder, model)
        trainer.learner = Learner(model, trainer.hparams, trainer.device, trainer.rank_group)
        trainer.clock = ScheduleClock(origin_step=trainer.progress.step)
        trainer.progress.epoch = trainer.progress.batch = 0
        self._places.clear()
        self.turn(move.knobs)
        trainer.save()

    def _race(self, move: Move) -> None:
        """Train each arm from the same checkpoint on the same data; go on with the one the watcher prefers."""
        trainer = self._trainer
        before = _copied(trainer.state_dict())
        arms: list[ArmReport] = []
        states = []
        start = move.step
        for number, knobs in enumerate(move.arms):
            found, problems = self._go_back(start)
            if found is None or (arms and found != start):
                self._apply(before)
                return trainer.watcher.on_rollback(RollbackReport(move.step, None, problems))
            start = found
            if number == move.reseeded_arm:
                torch.manual_seed(trainer.hparams.seed + trainer.progress.step)
            self.turn(knobs)
            reports = self._run_arm(move.n_steps)
            if trainer.limits.interruption is not None:  # as if it had not begun; it will, when training is resumed
                self._apply(before)
                return self._moves.insert(0, move)
            trainer.watcher.before_evaluation()
            arms.append(ArmReport(knobs, tuple(reports), trainer.validate()))
            states.append(_copied(trainer.state_dict()))
        self._apply(states[trainer.watcher.on_race(start, arms)])
        self._abandon_after(start)
        trainer.save()

    def _run_arm(self, n_steps: int) -> list[StepReport]:
        trainer = self._trainer
        reports: list[StepReport] = []
        while len(reports) < n_steps:
            loaded = trainer.data.train.epoch(trainer.progress.epoch, start=trainer.progress.batch)
            while len(reports) < n_steps and (batches := trainer.next_batches(loaded)):
                if trainer.limits.interruption is not None:
                    loaded.close()
                    return reports
                reports.append(trainer.train_step(*batches))
                trainer.watcher.on_arm_step()
            loaded.close()
            if len(reports) < n_steps:
                trainer.progress.epoch, trainer.progress.batch = trainer.progress.epoch + 1, 0
        self._memory_error = None  # an arm that does not fit into memory learns nothing, and its reports say so
        return reports

    def _finish(self, reason: str) -> None:
        self.end, self._returns_to_best = reason, True

    def return_to_best(self) -> None:
        """Of a training that was finished early because it only got worse."""
        best, progress = self._trainer.progress.best_step, self._trainer.progress
        of_this_attempt = best is not None and best > self._trainer.clock.origin_step
        if self._returns_to_best and best is not None and of_this_attempt and best < progress.step:
            self._roll_back(Move("roll_back", {}, best, None, 0, [], {}))
            self._trainer.progress.evaluated_step = -1

    def _stop(self, reason: str) -> None:
        self.end, self.hopeless = reason, True


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """In main memory, as a checkpoint would keep it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return dict(torch.load(file, map_location="cpu", weights_only=True))
