"""Starting and ending the companion of a training: from the process that outlives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from commands.options import TrainOptions
from commands.process.stop_signals import interruptible
from files import REPOSITORY
from monitoring.exporters.mlflow_settings import memory_of
from smart_tuner.settings import Settings

PATIENCE_SECONDS = 120.0
"""For the last pictures and messages; whatever takes longer goes on by itself."""
_QUIET = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


class CompanionProcess:
    """Not started yet, running, or ended; one that dies takes nothing with it."""

    def __init__(self, options: TrainOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, run: Path) -> None:
        """Unless it runs; without one that can be started, training goes on all the same."""
        if self._process is not None and self._process.poll() is None:
            return
        try:
            self._process = self._started(run)
        except OSError as error:
            sys.stderr.write(f"the companion cannot be started ({error}); nothing is shown until it can\n")

    def _started(self, run: Path) -> subprocess.Popen[bytes]:
        """In a session of its own, so that Ctrl-C is not for it."""
        command = [sys.executable, "-m", "commands.companion", str(run.resolve()), "--follow"]
        command += ["--config", str(self._options.config.resolve())]
        command += [] if self._options.mlflow_uri is None else [f"--mlflow_uri={self._options.mlflow_uri}"]
        (run / "companion").mkdir(exist_ok=True)
        with (run / "companion" / "log.txt").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=os.environ | _QUIET,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def finish(self) -> None:
        """It shows the rest and ends; who does not want to wait for that presses Ctrl-C."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            with interruptible():
                code = self._process.wait(PATIENCE_SECONDS)
            if code != 0:
                sys.stderr.write("not all could be shown or sent; the same command tries it again\n")
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            sys.stderr.write("what is left to be shown and sent goes on in the background\n")


def is_anything_left(run: Path, settings: Settings, output: Path | None = None) -> bool:
    """To be shown or sent, by what companions have left; `output`: where a run's MLflow store is, if not beside it."""
    folder, length = run / "companion", (run / "journal.jsonl").stat().st_size
    kept = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    doors = [name for name, is_open in _doors(settings).items() if is_open]
    shown = [
        "samples",
        *(["tensorboard"] if settings.tensorboard else []),
        *(["report"] if settings.report.enabled else []),
    ]
    shown += [memory_of(settings.mlflow.store(output or run.parent))] if settings.mlflow.enabled else []
    if any(kept.get(name, {"offset": 0})["offset"] < length for name in [*shown, *doors]):
        return True
    return any(kept.get(f"{name}-outbox", {"waiting": []})["waiting"] for name in doors)


def _doors(settings: Settings) -> dict[str, bool]:
    return {"telegram": settings.telegram.enabled, "webhook": settings.webhook.url is not None}
