"""Report of a training process that ended unplanned: a description, and records in the run's journal and summary."""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from commands.process.child_process import ProcessOutcome
from hparams import UserError
from monitoring.journal.journal import Journal
from monitoring.journal.summary import read_summary, write_summary


@dataclass(frozen=True)
class CrashReport:
    """Unplanned end of a training process: it failed, was killed, or was stuck and killed by its watchdog."""

    outcome: ProcessOutcome

    @property
    def description(self) -> str:
        """End of a sentence that begins with "the training process"."""
        outcome = self.outcome
        when = "before its first step" if outcome.last_step is None else f"after step {outcome.last_step}"
        if outcome.is_stuck:
            silent, limit = outcome.silent_seconds, outcome.limit_seconds
            return f"made no progress {when} for {silent:.0f} s (the limit was {limit:.0f} s)"
        if outcome.returncode == -signal.SIGKILL:
            return f"was killed {when} (SIGKILL: by somebody, or because memory ran out)"
        if outcome.returncode < 0:
            return f"was killed {when} ({self._signal})"
        return f"failed {when} (exit code {outcome.returncode})"

    @property
    def checkpoint_step(self) -> int | None:
        return None if self.outcome.run is None else newest_checkpoint_step(self.outcome.run)

    @property
    def _signal(self) -> str:
        number = -self.outcome.returncode
        return next((known.name for known in signal.Signals if known == number), f"signal {number}")

    def write(self, *, give_up_reason: str | None) -> None:
        """Append to the run's journal, if there is a run; with a reason for giving up the run is marked as failed."""
        run, by = self.outcome.run, "watchdog"
        if run is None or not run.is_dir():
            return
        ailment, checkpoint = "no_progress" if self.outcome.is_stuck else "process_died", self.checkpoint_step
        step = self.outcome.last_step or checkpoint or 0
        diagnosis = {"ailment": ailment, "severity": "critical", "evidence": self._evidence()}
        try:
            with FileLock(run / ".lock", timeout=0), closing(Journal(run / "journal.jsonl")) as journal:
                journal.phase = read_summary(run).get("phase")
                journal.write("diagnosis", step, **diagnosis, by=by)
                if give_up_reason is None:
                    journal.write("intervention", step, remedy="restart_process", from_checkpoint=checkpoint, by=by)
                else:
                    journal.write("finished", step, status="failed", reason=give_up_reason, by=by)
                    if summary := read_summary(run):  # empty before the run has a result to report
                        write_summary(run, summary | {"status": "failed", "reason": give_up_reason})
        except Timeout as error:
            raise UserError(f"{run} is in use by another process: it has taken this run over") from error

    def _evidence(self) -> dict[str, Any]:
        outcome = self.outcome
        return {
            "last_step": outcome.last_step,
            "exit_code": None if outcome.returncode < 0 else outcome.returncode,
            "signal": self._signal if outcome.returncode < 0 and not outcome.is_stuck else None,
            "seconds_without_progress": round(outcome.silent_seconds, 3),
            "limit_seconds": outcome.limit_seconds,
        }


def newest_checkpoint_step(run: Path) -> int | None:
    """Step in the file names; reading the files would load torch."""
    checkpoints = run.glob("checkpoints/step-????????-*.pt")
    return max((int(path.name[5:13]) for path in checkpoints), default=None)
