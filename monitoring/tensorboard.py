"""The run as TensorBoard shows it; the only door to its event files."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from monitoring.plots import Sample
from monitoring.signals import EvaluationReport, Signals, StepReport, step_signals

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_OWN_CHARTS = ("gradient_norm", "learning_rate")


def _wait_for_a_later_second(folder: Path) -> None:
    """Event files are read by their names: time in seconds first, then what says nothing of their order."""
    seconds = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")]
    while int(time.time()) in seconds:
        time.sleep(0.02)


class TensorBoardLog:
    """Writes scalars, pictures and sound of one run into a folder of event files; what is None is not written."""

    def __init__(self, folder: Path, resumed_step: int | None = None) -> None:
        """Open the folder; a resumed run hides what an earlier one logged beyond the step it resumed from."""
        from torch.utils.tensorboard import SummaryWriter

        purge_step = None if resumed_step is None else resumed_step + 1
        _wait_for_a_later_second(folder)
        self._excepthook_before = threading.excepthook
        threading.excepthook = self._without_full_disk
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write out what is buffered, as far as the disk has room, and close the event file."""
        try:
            self._writer.close()
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
        finally:
            threading.excepthook = self._excepthook_before

    def _without_full_disk(self, arguments: threading.ExceptHookArgs) -> None:
        """The writer's thread dies of a full disk with a traceback; the next call raises the same error to our face."""
        if not (isinstance(arguments.exc_value, OSError) and arguments.exc_value.errno in NO_SPACE):
            self._excepthook_before(arguments)

    def step(self, report: StepReport) -> None:
        """Log the signals of one training step."""
        self._scalars(report.step, step_signals(report))

    def evaluation(self, report: EvaluationReport, signals: Signals, samples: Sequence[Sample]) -> None:
        """Log the signals of one evaluation and what its samples look and sound like, and flush."""
        self._scalars(report.step, signals)
        for number, sample in enumerate(samples):
            self._sample(report.step, f"sample_{number:02d}", sample)
        self._writer.flush()

    def _scalars(self, step: int, signals: Signals) -> None:
        for name, value in signals.items():
            if value is not None:
                self._writer.add_scalar(_chart(name), value, step)

    def _sample(self, step: int, tag: str, sample: Sample) -> None:
        self._writer.add_image(f"{tag}/alignment_and_mel", sample.picture, step, dataformats="HWC")
        if sample.audio.size > 1 and np.isfinite(sample.audio).all():
            wave = np.clip(sample.audio, -1.0, 1.0)
            self._writer.add_audio(f"{tag}/audio", wave, step, sample_rate=sample.sampling_rate)


def _chart(signal: str) -> str:
    if signal.endswith("_loss"):
        return f"losses/{signal}"
    return signal if signal in _OWN_CHARTS else f"signals/{signal}"
