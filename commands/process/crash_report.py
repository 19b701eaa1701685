"""The end of a training process that was not meant to be: told in words, and written into its run's folder."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from commands.process.child_process import Session
from files import atomic_replacement
from hparams import UserError
from monitoring.journal.journal import Journal
from monitoring.journal.summary import read_summary


@dataclass(frozen=True)
class Death:
    """Of one session of the training; a stuck one was ended by its watchdog."""

    session: Session

    @property
    def in_words(self) -> str:
        session = self.session
        when = "before its first step" if session.last_step is None else f"after step {session.last_step}"
        if session.is_stuck:
            silent, limit = session.silent_seconds, session.limit_seconds
            return f"made no progress {when} for {silent:.0f} s (the limit was {limit:.0f} s)"
        if session.returncode == -signal.SIGKILL:
            return f"was killed {when} (SIGKILL: by somebody, or because memory ran out)"
        if session.returncode < 0:
            return f"was killed {when} ({self._signal})"
        return f"failed {when} (exit code {session.returncode})"

    @property
    def checkpoint_step(self) -> int | None:
        return None if self.session.folder is None else newest_checkpoint_step(self.session.folder)

    @property
    def _signal(self) -> str:
        number = -self.session.returncode
        return next((known.name for known in signal.Signals if known == number), f"signal {number}")

    def record(self, *, gave_up: str | None) -> None:
        """Into the journal, where there is a run; with a reason for giving up it is the run's last word."""
        folder, by = self.session.folder, "watchdog"
        if folder is None or not folder.is_dir():
            return
        ailment, checkpoint = "no_progress" if self.session.is_stuck else "process_died", self.checkpoint_step
        step = self.session.last_step or checkpoint or 0
        diagnosis = {"ailment": ailment, "severity": "critical", "evidence": self._evidence()}
        try:
            with FileLock(folder / ".lock", timeout=0), Journal(folder / "journal.jsonl") as journal:
                journal.phase = read_summary(folder).get("phase")
                journal.write("diagnosis", step, **diagnosis, by=by)
                if gave_up is None:
                    journal.write("intervention", step, remedy="restart_process", from_checkpoint=checkpoint, by=by)
                else:
                    journal.write("finished", step, status="failed", reason=gave_up, by=by)
                    _end_summary(folder, gave_up)
        except Timeout as error:
            raise UserError(f"{folder} is in use by another process: it has taken this run over") from error

    def _evidence(self) -> dict[str, Any]:
        session = self.session
        return {
            "last_step": session.last_step,
            "exit_code": None if session.returncode < 0 else session.returncode,
            "signal": self._signal if session.returncode < 0 and not session.is_stuck else None,
            "seconds_without_progress": round(session.silent_seconds, 3),
            "limit_seconds": session.limit_seconds,
        }


def newest_checkpoint_step(folder: Path) -> int | None:
    """As the files' names have it: reading them is the training's business."""
    checkpoints = folder.glob("checkpoints/step-????????-*.pt")
    return max((int(path.name[5:13]) for path in checkpoints), default=None)


def _end_summary(folder: Path, reason: str) -> None:
    """A run that never came to write one has no result to speak of."""
    if summary := read_summary(folder):
        summary |= {"status": "failed", "reason": reason}
        with atomic_replacement(folder / "summary.json") as temporary:
            temporary.write_text(json.dumps(summary, ensure_ascii=False, indent=1), encoding="utf-8")
