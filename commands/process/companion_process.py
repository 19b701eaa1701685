"""Companion of a training as a child process: started and ended by the process that outlives the training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from commands.options import TrainOptions
from commands.process.signals import interruptible_wait
from files import REPOSITORY
from monitoring.exporters.mlflow_settings import subscriber_state_name
from smart_tuner.settings import Settings

END_TIMEOUT_SECONDS = 120.0
"""For the last pictures and messages; after it the companion continues in the background."""
_ONE_THREAD_NO_GPU = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


class CompanionProcess:
    """Companion process that is started on demand; training does not depend on it."""

    def __init__(self, options: TrainOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self, run: Path) -> None:
        """Start the companion unless it is running; a failure is reported and does not stop the training."""
        if self._process is not None and self._process.poll() is None:
            return
        try:
            self._process = self._open_process(run)
        except OSError as error:
            sys.stderr.write(f"the companion cannot be started ({error}); the run is not shown or sent anywhere\n")

    def _open_process(self, run: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "commands.companion", str(run.resolve()), "--follow"]
        command += ["--config", str(self._options.config.resolve())]
        command += [] if self._options.mlflow_uri is None else [f"--mlflow_uri={self._options.mlflow_uri}"]
        (run / "companion").mkdir(exist_ok=True)
        with (run / "companion" / "log.txt").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=os.environ | _ONE_THREAD_NO_GPU,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C must not end it
            )

    def finish(self) -> None:
        """Ask the companion to end, and wait for it; Ctrl-C ends the waiting, not the companion."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            with interruptible_wait():
                code = self._process.wait(END_TIMEOUT_SECONDS)
            if code != 0:
                sys.stderr.write("not everything could be shown or sent; the same command tries it again\n")
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            sys.stderr.write("the rest is shown and sent in the background\n")


def has_pending_output(run: Path, settings: Settings, output: Path | None = None) -> bool:
    """Whether companions of this run left something to show or send.

    `output`: folder of the MLflow store, if it is not the one that holds the run.
    """
    folder, length = run / "companion", (run / "journal.jsonl").stat().st_size
    saved = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    is_enabled = {
        "samples": True,
        "tensorboard": settings.tensorboard,
        "report": settings.report.enabled,
        subscriber_state_name(settings.mlflow.store_uri(output or run.parent)): settings.mlflow.enabled,
        "telegram": settings.telegram.enabled,
        "webhook": settings.webhook.url is not None,
    }
    return any(
        saved.get(name, {"offset": 0})["offset"] < length or saved.get(f"{name}-outbox", {}).get("waiting")
        for name, enabled in is_enabled.items()
        if enabled
    )
