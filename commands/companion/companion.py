"""The process beside a training that shows it: it reads the journal and keeps nobody waiting.

`python -m commands.companion logs/<run>` shows what was not shown yet; with `--follow` it goes on until its standard
input ends, which it does when whoever started it is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from commands.companion.post import posts_of
from commands.companion.voicing import vocode
from corpus.audio.mel import write_wave
from hparams import HParams, UserError, build_hparams
from monitoring.exporters.mlflow_run import MlflowRun
from monitoring.exporters.mlflow_settings import memory_of
from monitoring.exporters.mlflow_study import StudyRun
from monitoring.exporters.tensorboard import TensorBoardLog
from monitoring.journal.control_file import RequestFile
from monitoring.journal.run_state import JournalState
from monitoring.journal.tail import JournalSubscriber, JournalTail
from monitoring.report.report import Report
from monitoring.report.samples import SampleFiles, Voicing
from smart_tuner.settings import DEFAULT_CONFIG, Settings, load_settings

SENDING_SECONDS = 10.0
"""How long after the end of a run servers may stay out of reach; what is left then is sent when the run goes on."""
SENDS = "mlflow"  # the only one who follows the journal to a server
NICENESS = 10
LOG = logging.getLogger("companion")


class Companion:
    """All who look at one run; pictures and sound come first, since others show them."""

    def __init__(
        self, run: Path, settings: Settings, say: Callable[[str], None], study: StudyRun | None = None
    ) -> None:
        """`study`: of which the run is a trial."""
        self._run = run
        samples = JournalTail("samples", run, lambda: SampleFiles(run, voicing_of(run)), warn=say)
        shown = {
            name: JournalTail(name, run, make, after=samples, warn=say) for name, make in pages(run, settings).items()
        }
        self._all = [samples, *shown.values()]
        if settings.mlflow.enabled:
            self._all.append(
                JournalTail(
                    SENDS,
                    run,
                    lambda: MlflowRun(run, settings.mlflow, study),
                    state_name=memory_of(settings.mlflow.store(run.parent if study is None else study.output)),
                    after=shown.get("report", samples),
                    warn=say,
                )
            )
        posts = posts_of(run, settings, samples, say)
        self._posts = [post for _, post in posts]
        self._all += [tail for tail, _ in posts]

    def start(self) -> None:
        for tail in self._all:
            tail.start()
        for post in self._posts:
            post.start()

    def finish(self) -> bool:
        """Show and send the rest; whether nothing is left."""
        for tail in self._all:
            tail.finish_requested.set()
        state = JournalState.load(self._run)
        for post in self._posts if not state.is_over else ():
            post.training_is_gone(state.step)
        for tail in self._all:
            if tail.name != SENDS:
                tail.join()
        deadline = time.monotonic() + SENDING_SECONDS
        for post in self._posts:
            post.finish(max(0.0, deadline - time.monotonic()))
        for tail in self._all:
            tail.join(max(0.0, deadline - time.monotonic()))
            tail.cancel_requested.set()
            tail.join()
        return not any(tail.is_behind for tail in self._all) and not any(len(p.outbox) for p in self._posts)


def pages(run: Path, settings: Settings) -> dict[str, Callable[[], JournalSubscriber]]:
    """What is made in the run's folder, if the settings want it, by name."""
    wanted: dict[str, Callable[[], JournalSubscriber]] = {}
    if settings.tensorboard:
        wanted["tensorboard"] = lambda: TensorBoardLog(run)
    if settings.report.enabled:
        wanted["report"] = lambda: Report(run, settings.report.language)
    return wanted


def voicing_of(run: Path) -> Voicing:
    """By the recipe of the run, which is there before anything was spoken."""

    @functools.cache
    def hparams() -> HParams:
        return build_hparams(json.loads((run / "hparams.json").read_text(encoding="utf-8")))

    def write(path: Path, wave: np.ndarray) -> None:
        write_wave(path, wave, hparams().sampling_rate)

    return Voicing(
        vocode=lambda mel: vocode(mel, hparams()),
        write_wave=write,
        seconds_per_frame=lambda: hparams().hop_length / hparams().sampling_rate,
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m commands.companion", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a run, like logs/<run>")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="settings file")
    parser.add_argument("--mlflow_uri", help="an MLflow server")
    parser.add_argument("--follow", action="store_true", help="until standard input ends")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.config, mlflow_uri=options.mlflow_uri)
        if not (options.run / "journal.jsonl").is_file():
            raise UserError(f"{options.run}: there is no run; expected a folder like logs/<run>")
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return accompany(options.run.resolve(), settings, follow=options.follow)


def accompany(run: Path, settings: Settings, *, follow: bool, study: StudyRun | None = None) -> int:
    """The only one for this run; one that is still sending the rest of an earlier session goes first."""
    (run / "companion").mkdir(exist_ok=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(WithoutSecrets(settings))
    _load_libraries()
    with FileLock(run / "companion" / ".lock"):
        companion = Companion(run, settings, functools.partial(tell, run), study)
        companion.start()
        if follow:
            sys.stdin.buffer.read()
        return 0 if companion.finish() else 1


def tell(run: Path, text: str) -> None:
    """To the log, and to whoever looks at the training."""
    LOG.warning(text)
    with contextlib.suppress(OSError):  # on a full disk the log says it
        RequestFile(run).append_note(text)


class WithoutSecrets(logging.Formatter):
    """Whatever a library may log or an exception may say, the token is not in the log."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        secrets = (settings.telegram.bot_token, settings.webhook.url)
        self._secrets = [secret.get_secret_value() for secret in secrets if secret is not None]
        self._secrets += [settings.mlflow.uri] if settings.mlflow.uri and "@" in settings.mlflow.uri else []

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text


def _load_libraries() -> None:
    """Those that import themselves in circles do not bear being imported by two threads at once."""
    for name in ("matplotlib.backends.backend_agg", "matplotlib.figure", "matplotlib.image", "torch.utils.tensorboard"):
        importlib.import_module(name)


def log_exception(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread else "a thread"
    LOG.error("%s broke", name, exc_info=arguments.exc_value)
