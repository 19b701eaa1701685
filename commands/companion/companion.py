"""Companion of a run: one thread for each reader of its journal; training never waits for any of them."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from commands.companion.channels import MessageChannel, Warn, open_webhook_channel
from commands.companion.log import LOG, RedactingFormatter, Redactor
from corpus.audio.recording import write_wave
from hparams import HParams, build_hparams
from monitoring.exporters.mlflow_run import MlflowRun
from monitoring.exporters.mlflow_settings import subscriber_state_name
from monitoring.exporters.mlflow_study import MlflowStudy
from monitoring.exporters.tensorboard import TensorBoardLog
from monitoring.journal.control_file import RequestFile
from monitoring.journal.journal_state import JournalState
from monitoring.journal.tail import JournalSubscriber, JournalTail
from monitoring.report.report import RunReport
from monitoring.report.samples import SampleFiles, SampleVocoder
from smart_tuner.settings import Settings
from speech.synthesizer import vocode

SERVER_TIMEOUT_SECONDS = 10.0
"""Time for servers that are out of reach when a run ends; the rest is sent when the run is started again."""


class Companion:
    """Journal tails and message channels of one run. `samples` comes first, since the others use its files."""

    def __init__(self, run: Path, settings: Settings, warn: Warn, study: MlflowStudy | None = None) -> None:
        """`study`: the study that this run is a trial of."""
        self._run = run
        samples = JournalTail("samples", run, lambda: SampleFiles(run, vocoding_of(run)), warn=warn)
        self._tails = [samples]
        pages: dict[str, Callable[[], JournalSubscriber]] = {}
        if settings.tensorboard:
            pages["tensorboard"] = lambda: TensorBoardLog(run)
        if settings.report.enabled:
            pages["report"] = lambda: RunReport(run, settings.report.language)
        page_tails = {name: JournalTail(name, run, page, after=samples, warn=warn) for name, page in pages.items()}
        self._tails += page_tails.values()
        self._channels = _open_channels(run, settings, samples, warn)
        self._tails += [channel.tail for channel in self._channels]
        self._server_tails = []
        if settings.mlflow.enabled:
            store = settings.mlflow.store_uri(run.parent if study is None else study.output)
            self._server_tails.append(
                JournalTail(
                    "mlflow",
                    run,
                    lambda: MlflowRun(run, settings.mlflow, study),
                    state_name=subscriber_state_name(store),
                    after=page_tails.get("report", samples),
                    warn=warn,
                )
            )

    def start(self) -> None:
        for tail in (*self._tails, *self._server_tails):
            tail.start()
        for channel in self._channels:
            channel.start()

    def finish(self) -> bool:
        """Show and send the rest; return whether all of it succeeded."""
        tails = [*self._tails, *self._server_tails]
        for tail in tails:
            tail.finish_requested.set()
        state = JournalState.load(self._run)
        if not state.is_over:
            for channel in self._channels:
                channel.report_lost_training(state.step)
        for tail in self._tails:
            tail.join()
        deadline = time.monotonic() + SERVER_TIMEOUT_SECONDS
        for channel in self._channels:
            channel.finish(max(0.0, deadline - time.monotonic()))
        for tail in tails:
            tail.join(max(0.0, deadline - time.monotonic()))
            tail.cancel_requested.set()
            tail.join()
        is_sent = not any(len(channel.outbox) for channel in self._channels)
        return is_sent and not any(tail.is_behind for tail in tails)


def _open_channels(run: Path, settings: Settings, samples: JournalTail, warn: Warn) -> list[MessageChannel]:
    channels = []
    if settings.telegram.enabled:
        from commands.companion.telegram_channel import open_telegram_channel  # slow to import: Telegram's library

        channels.append(open_telegram_channel(run, settings, samples, warn))
    if settings.webhook.url is not None:
        channels.append(open_webhook_channel(run, settings, samples, warn))
    return channels


def vocoding_of(run: Path) -> SampleVocoder:
    """Vocoder for the run's samples; reads hparams.json only when the first sample exists."""

    @functools.cache
    def hparams() -> HParams:
        return build_hparams(json.loads((run / "hparams.json").read_text(encoding="utf-8")))

    def write(path: Path, wave: np.ndarray) -> None:
        write_wave(path, wave, hparams().sampling_rate)

    return SampleVocoder(
        vocode=lambda mel: vocode(mel, hparams()),
        write_wave=write,
        seconds_per_frame=lambda: hparams().hop_length / hparams().sampling_rate,
    )


def run_companion(run: Path, settings: Settings, *, follow: bool, study: MlflowStudy | None = None) -> int:
    """Show and send what is new; wait for another companion of this run to end first. Return the exit code."""
    (run / "companion").mkdir(exist_ok=True)
    redact = Redactor(settings)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(RedactingFormatter(redact))
    _import_before_threads()
    with FileLock(run / "companion" / ".lock"):
        companion = Companion(run, settings, lambda text: warn(run, redact(text)), study)
        companion.start()
        if follow:
            sys.stdin.buffer.read()
        return 0 if companion.finish() else 1


def warn(run: Path, text: str) -> None:
    """Write to the log, and to the training, which shows it on its terminal."""
    LOG.warning(text)
    with contextlib.suppress(OSError):  # the disk is full; the log has it
        RequestFile(run).append_note(text)


def _import_before_threads() -> None:
    """Import libraries with circular imports here: two threads that import them at once would fail."""
    for name in ("matplotlib.backends.backend_agg", "matplotlib.figure", "matplotlib.image", "torch.utils.tensorboard"):
        importlib.import_module(name)
