"""Carries out what people ask of a running training, between two steps, and has the journal say what became of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from commands.process.heartbeat import Heartbeat
from commands.run.order_place import Place, keep_place
from hparams import UserError
from monitoring.journal.control_file import PersonRequest, RequestReader
from monitoring.journal.recorder import RunRecorder
from smart_tuner.runtime import SupervisorRuntime
from smart_tuner.settings import SupervisionSettings
from training.knobs import KNOB_BOUNDS, Knobs
from training.trainer import EnhancedTrainer

LOOK_EVERY_SECONDS = 0.2  # while training pauses
LATEST_SECONDS = 600.0
"""What was asked longer ago than this, while no training was there to hear it, is no longer done."""
NOT_SAVED_AT_ONCE = ("set", "approve", "reject")
STOPPED = "SIGINT"
"""A person's stop is a Ctrl-C from afar: saved, and the same command goes on."""


class OrderTaker:
    """Looks into the box of orders before every step.

    What was done is done once more by a successor after a crash, unless a checkpoint holds it.
    """

    def __init__(
        self,
        trainer: EnhancedTrainer,
        recorder: RunRecorder,
        supervisor: SupervisorRuntime | None,
        settings: SupervisionSettings,
        heartbeat: Heartbeat,
        *,
        place: Place | None,
    ) -> None:
        """`place`: where a session was that has not come to its end; without one, only what is asked from now on."""
        self._trainer, self._recorder, self._supervisor = trainer, recorder, supervisor
        self._settings, self._heartbeat = settings, heartbeat
        self._reader = RequestReader(recorder.folder, None if place is None else place.offset)
        self._paused_by: str | None = None
        self._unsaved: list[PersonRequest] = []  # what was done since the last checkpoint
        self._asked_at: dict[int, float] = {}  # proposals, by time.monotonic()
        self._oldest = time.time() - LATEST_SECONDS
        self._waiting = deque(() if place is None else _once_more(place))
        self._keep_place()

    def look(self) -> None:
        """Returns when training may go on."""
        if self._unsaved and not self._trainer.state.is_unsaved:
            self._keep_place()
        self._take_all()
        if self._paused_by is not None:
            self._pause()

    def _pause(self) -> None:
        self._trainer.state.save()
        self._keep_place()
        while self._paused_by is not None and self._trainer.state.limits.interruption is None:
            self._heartbeat.done()
            time.sleep(LOOK_EVERY_SECONDS)
            self._take_all()

    def _take_all(self) -> None:
        while self._waiting:
            self._take(self._waiting.popleft())
        for order in self._reader.read():
            self._keep_place()  # one that ends training in an unforeseen way is not given again
            self._take(order)
        self._answer_late_proposals()

    def _keep_place(self) -> None:
        self._unsaved = self._unsaved if self._trainer.state.is_unsaved else []
        unsaved = [*self._unsaved, *self._waiting]
        keep_place(self._recorder.folder, Place(offset=self._reader.offset, paused_by=self._paused_by, unsaved=unsaved))

    def _take(self, order: PersonRequest) -> None:
        if order.text is not None:
            return self._recorder.on_note(self._trainer.state.progress.step, order.text)
        kinds: dict[str, Callable[[PersonRequest], str | None]] = {"stop": self._stop, "set": self._set}
        kinds |= {"pause": self._set_pause, "resume": self._set_pause}
        kinds |= dict.fromkeys(("approve", "reject"), self._answer)
        try:
            if order.at < self._oldest:
                raise UserError("it came too late: training had been away for long")
            remark = kinds[order.order](order)
        except UserError as refusal:
            return self._tell(order, result="refused", reason=str(refusal))
        if order.order in NOT_SAVED_AT_ONCE:
            self._trainer.state.is_unsaved = True
            self._unsaved.append(order)
        self._keep_place()
        return self._tell(order, result="done", **({"reason": remark} if remark else {}))

    def _tell(self, order: PersonRequest, **more: str) -> None:
        self._recorder.on_request(self._trainer.state.progress.step, order.journal_fields() | more)

    def _set_pause(self, order: PersonRequest) -> None:
        wants_pause = order.order == "pause"
        if wants_pause == (self._paused_by is not None):
            raise UserError("training pauses already" if wants_pause else "training does not pause")
        self._paused_by = order.by if wants_pause else None

    def _stop(self, _order: PersonRequest) -> None:
        self._trainer.state.limits.stop = STOPPED

    def _set(self, order: PersonRequest) -> None:
        assert order.knob is not None and order.value is not None, "as every order of this kind has"
        knob, value = order.knob, order.value
        if knob not in KNOB_BOUNDS:
            raise UserError(f"there is no knob {knob!r}; the knobs are {', '.join(KNOB_BOUNDS)}")
        bounds, start = KNOB_BOUNDS[knob], vars(Knobs.from_hparams(self._trainer.state.hparams))[knob]
        low, high = min(bounds.low, start), max(bounds.high, start)
        if not low <= value <= high:
            raise UserError(f"{knob}: expected {low:g} to {high:g}, got {value:g}")
        before = vars(self._trainer.state.knobs)[knob]
        self._trainer.state.turn_knobs({knob: value})
        self._recorder.on_turn(self._trainer.state.progress.step, knob, before, value)
        if self._supervisor is not None:
            self._supervisor.on_person_turn(knob, value)

    def _answer(self, order: PersonRequest) -> str | None:
        number = order.number
        if self._supervisor is None or number is None or number not in self._supervisor.open_proposals:
            raise UserError(f"there is no proposal {number} that waits for an answer")
        is_called_for = self._supervisor.is_still_needed(number)
        self._supervisor.answer_proposal(number, granted=order.order == "approve")
        return None if is_called_for else "what it was for is not seen any more"

    def _answer_late_proposals(self) -> None:
        """Who does not answer in time leaves it to the settings."""
        proposed = () if self._supervisor is None else self._supervisor.open_proposals
        now, patience = time.monotonic(), 60 * self._settings.approval_minutes
        self._asked_at = {number: self._asked_at.get(number, now) for number in proposed}
        for number in [number for number, asked in self._asked_at.items() if now - asked > patience]:
            by = "nobody in time"
            self._take(PersonRequest(order=self._settings.approval_default, number=number, by=by, at=time.time()))


def _once_more(place: Place) -> list[PersonRequest]:
    """What was done before a crash and is in no checkpoint, and the pause that it was in."""
    paused = [PersonRequest(order="pause", by=place.paused_by, at=time.time())] if place.paused_by is not None else []
    return [order.model_copy(update={"at": time.time()}) for order in place.unsaved] + paused
