"""Requests of people to a running training: executed between two steps, with the result journalled."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from commands.process.heartbeat import Heartbeat
from files import write_atomically
from hparams import UserError
from monitoring.journal.control_file import PersonRequest, RequestReader
from monitoring.journal.recorder import RunRecorder
from monitoring.journal.summary import read_summary
from smart_tuner.runtime import SupervisorRuntime
from smart_tuner.settings import SupervisionSettings
from training.knobs import bounds_of, knobs_with_effect
from training.trainer import EnhancedTrainer

PAUSE_POLL_SECONDS = 0.2
MAX_AGE_SECONDS = 600.0
"""A request made longer ago than this, while no training was there to read it, is refused."""
LASTING_REQUESTS = ("set", "approve", "reject")
"""Requests that change the state of training, so that a crash before the next checkpoint would lose them."""
STOP_SIGNAL = "SIGINT"
"""A person's stop does what Ctrl-C does: save; the same command continues."""
CLUSTER_SIGNALS = ("SIGTERM", "SIGUSR1")


class RequestPosition(BaseModel):
    """Position of a session in the request file, kept for its successor after a crash or a preemption."""

    offset: int  # bytes of the request file that were read
    paused_by: str | None = None
    unsaved: list[PersonRequest] = []  # executed since the last checkpoint

    def save(self, run: Path) -> None:
        path = _position_path(run)
        with contextlib.suppress(OSError):  # on a full disk: at worst a request is executed twice
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, self.model_dump_json().encode())

    def requests_to_repeat(self) -> list[PersonRequest]:
        """Return the requests that no checkpoint contains, then the active pause, with the present time."""
        now = time.time()
        repeated = [request.model_copy(update={"at": now}) for request in self.unsaved]
        return (
            repeated if self.paused_by is None else [*repeated, PersonRequest(order="pause", by=self.paused_by, at=now)]
        )


def load_position(run: Path) -> RequestPosition | None:
    """Load the position of a session that was cut short; after an intended end there is none."""
    path, summary = _position_path(run), read_summary(run)
    was_cut_short = summary.get("status") in ("running", "failed") or summary.get("reason") in CLUSTER_SIGNALS
    return RequestPosition.model_validate_json(path.read_bytes()) if was_cut_short and path.exists() else None


def _position_path(run: Path) -> Path:
    return run / "companion" / "order-place.json"


class RequestHandler:
    """Reader of the request file before every step; executes what is new."""

    def __init__(
        self,
        trainer: EnhancedTrainer,
        recorder: RunRecorder,
        *,
        supervisor: SupervisorRuntime | None,
        settings: SupervisionSettings,
        heartbeat: Heartbeat,
        position: RequestPosition | None,
    ) -> None:
        """Begin at the position of a session that was cut short; without one, at the end of the file."""
        self._trainer, self._recorder, self._supervisor = trainer, recorder, supervisor
        self._settings, self._heartbeat = settings, heartbeat
        self._reader = RequestReader(recorder.folder, None if position is None else position.offset)
        self._paused_by: str | None = None
        self._unsaved: list[PersonRequest] = []  # executed since the last checkpoint
        self._proposed_at: dict[int, float] = {}  # proposal number → time.monotonic()
        self._oldest = time.time() - MAX_AGE_SECONDS
        self._repeated = deque(() if position is None else position.requests_to_repeat())
        self._save_position()

    def execute_new(self) -> None:
        """Execute new requests; during a pause, return only when training may continue."""
        if self._unsaved and not self._trainer.state.is_unsaved:
            self._save_position()
        self._execute_all()
        if self._paused_by is not None:
            self._pause()

    def _pause(self) -> None:
        self._trainer.state.save()
        self._save_position()
        while self._paused_by is not None and self._trainer.state.limits.interruption is None:
            self._heartbeat.done()
            time.sleep(PAUSE_POLL_SECONDS)
            self._execute_all()

    def _execute_all(self) -> None:
        while self._repeated:
            self._execute(self._repeated.popleft())
        for request in self._reader.read():
            self._save_position()  # a request that crashes the training is not executed again
            self._execute(request)
        self._answer_overdue_proposals()

    def _save_position(self) -> None:
        self._unsaved = self._unsaved if self._trainer.state.is_unsaved else []
        unsaved = [*self._unsaved, *self._repeated]
        RequestPosition(offset=self._reader.offset, paused_by=self._paused_by, unsaved=unsaved).save(
            self._recorder.folder
        )

    def _execute(self, request: PersonRequest) -> None:
        if request.text is not None:
            return self._recorder.on_note(self._trainer.state.progress.step, request.text)
        executors: dict[str, Callable[[PersonRequest], str | None]] = {"stop": self._stop, "set": self._set}
        executors |= {"pause": self._set_pause, "resume": self._set_pause}
        executors |= dict.fromkeys(("approve", "reject"), self._answer)
        try:
            if request.at < self._oldest:
                raise UserError("it was made more than ten minutes before training started")
            remark = executors[request.order](request)
        except UserError as refusal:
            return self._journal(request, result="refused", reason=str(refusal))
        if request.order in LASTING_REQUESTS:
            self._trainer.state.is_unsaved = True
            self._unsaved.append(request)
        self._save_position()
        return self._journal(request, result="done", **({"reason": remark} if remark else {}))

    def _journal(self, request: PersonRequest, **fields: str) -> None:
        self._recorder.on_request(self._trainer.state.progress.step, request.journal_fields() | fields)

    def _set_pause(self, request: PersonRequest) -> None:
        wants_pause = request.order == "pause"
        if wants_pause == (self._paused_by is not None):
            raise UserError("training is paused already" if wants_pause else "training is not paused")
        self._paused_by = request.by if wants_pause else None

    def _stop(self, _request: PersonRequest) -> None:
        self._trainer.state.limits.request_stop(STOP_SIGNAL)

    def _set(self, request: PersonRequest) -> None:
        assert request.knob is not None and request.value is not None, "validated for this kind of request"
        knob, value = request.knob, request.value
        state = self._trainer.state
        if knob not in (known := knobs_with_effect(state.hparams)):
            raise UserError(f"{state.hparams.model} has no knob {knob!r}; its knobs are {', '.join(known)}")
        bounds = bounds_of(knob, state.hparams)
        if not bounds.low <= value <= bounds.high:
            raise UserError(f"{knob}: expected {bounds.low:g} to {bounds.high:g}, got {value:g}")
        before = vars(state.knobs)[knob]
        state.turn_knobs({knob: value})
        self._recorder.on_turn(state.progress.step, knob, before=before, after=value)
        if self._supervisor is not None:
            self._supervisor.on_person_turn(knob, value)

    def _answer(self, request: PersonRequest) -> str | None:
        number = request.number
        if self._supervisor is None or number is None or number not in self._supervisor.open_proposals:
            raise UserError(f"there is no proposal {number} that waits for an answer")
        is_needed = self._supervisor.is_still_needed(number)
        self._supervisor.answer_proposal(number, granted=request.order == "approve")
        return None if is_needed else "the problem it was proposed for is gone"

    def _answer_overdue_proposals(self) -> None:
        """Answer as the settings say when the time for an answer is over."""
        proposals = () if self._supervisor is None else self._supervisor.open_proposals
        now, max_wait_seconds = time.monotonic(), 60 * self._settings.approval_minutes
        self._proposed_at = {number: self._proposed_at.get(number, now) for number in proposals}
        for number in [number for number, since in self._proposed_at.items() if now - since > max_wait_seconds]:
            answer, by = self._settings.approval_default, "timeout"
            self._execute(PersonRequest(order=answer, number=number, by=by, at=time.time()))
