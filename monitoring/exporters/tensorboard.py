"""The run as TensorBoard shows it; the only door to its event files."""

from __future__ import annotations

import functools
import io
import struct
import time
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.journal.journal import Record
from monitoring.journal.run_state import SESSION_STARTS, JournalState
from monitoring.journal.sample_writer import WORST
from monitoring.language.base import words_of
from monitoring.language.decisions_in_words import in_words
from monitoring.report.curves import curves_picture
from monitoring.report.plots import pixels

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

DECISIONS = ("phase", "diagnosis", "intervention", "follow_up")
SCORE = "score/composite_tts_score"
GROUPS = {
    "loss": ("total_loss", "mel_loss", "gate_loss", "guide_loss", "nll_loss", "duration_loss"),
    "attention": ("diagonality", "free_diagonality", "focus", "path_ratio", "coverage"),
    "gate": ("gate_accuracy", "gate_premature", "gate_overrun", "calibrated_gate_threshold", "stop_rate"),
    "gradients": ("gradient_norm", "update_ratio", "nonfinite_steps"),
    "durations": ("zero_duration_share", "huge_duration_share", "length_ratio", "length_accuracy"),
    "flow": ("logdet", "latent_deviation", "prior_deviation", "actnorm_scale", "convolution_condition"),
    "supervisor": ("learning_rate",),
    "score": ("composite_tts_score", "mel_distance"),
    "data": ("outlier_utterances", "data_wait_share", "frames_per_second"),
    "memory": ("memory_bytes", "out_of_memory_steps", "disk_free_bytes", "checkpoint_bytes"),
}
"""As a person would look for them."""
CHARTS = {name: f"{group}/{name}" for group, names in GROUPS.items() for name in names}


class TensorBoardLog:
    """Writes scalars, pictures, sound and decisions of a run into event files; what is None is not written."""

    def __init__(self, run: Path) -> None:
        self._run, self._folder = run, run / "tensorboard"
        self._writer: SummaryWriter | None = None
        self._purge_step: int | None = None  # what was logged from this step on is to be hidden
        self._left: list[Callable[[], None]] = []
        self._curves: Callable[[], None] | None = None

    def on_record(self, record: Record, state: JournalState) -> None:
        known = {
            **dict.fromkeys(SESSION_STARTS, self._start),
            "rolled_back": self._go_back,
            "race": lambda told: self._hide_from(told["from_step"] + 1),
            "steps": self._steps,
            "evaluation": lambda told: self._evaluation(told, state),
            **dict.fromkeys(DECISIONS, self._decision),
        }
        if handle := known.get(record["kind"]):
            handle(record)
        if record["kind"] == "follow_up" and (winner := state.race_winner(record)) is not None:
            self._steps(winner)
            self._scalars(winner["steps"][-1], winner["evaluation"])

    def flush(self) -> None:
        try:
            for write in self._left:
                write()
            if self._curves is not None:
                self._curves()
            if self._writer is not None:
                self._writer.flush()
        except OSError:
            self._writer = None  # its thread has died of it; what is written twice is shown once
            raise
        self._left.clear()
        self._curves = None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The files themselves say what is there."""

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @property
    def _open_writer(self) -> SummaryWriter:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            _wait_for_a_later_second(self._folder)
            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_step)
            self._purge_step = None
        return self._writer

    def _start(self, record: Record) -> None:
        """Of a run that goes on, what it logged beyond its checkpoint is hidden, and all of one that had none."""
        self._hide_from(record["step"] + 1)
        self._left.append(lambda: _write_hparams(self._open_writer, record["hparams"]))

    def _go_back(self, record: Record) -> None:
        if record["to"] is not None:
            self._hide_from(record["to"] + 1)

    def _hide_from(self, step: int) -> None:
        def hide() -> None:
            self.close()
            self._purge_step = step

        self._left.append(hide)

    def _steps(self, record: Record) -> None:
        for i, step in enumerate(record["steps"]):
            self._scalars(step, {name: column[i] for name, column in record["signals"].items()})

    def _scalars(self, step: int, signals: Mapping[str, float | None]) -> None:
        def write() -> None:
            for name, value in signals.items():
                if value is not None:
                    self._open_writer.add_scalar(chart(name), value, step)

        self._left.append(write)

    def _evaluation(self, record: Record, state: JournalState) -> None:
        """Curves show all that was before, so of several evaluations that wait only the last one's are drawn."""
        step = record["step"]
        self._scalars(step, record["signals"])
        self._curves = lambda: self._draw_curves(state, step)
        for sample in record.get("samples", ()):
            if not sample["file"].startswith(WORST):
                self._left.append(functools.partial(self._sample, file=sample["file"], step=step))

    def _draw_curves(self, state: JournalState, step: int) -> None:
        curves = pixels(curves_picture(state, words_of("en")))
        self._open_writer.add_image("curves", curves, step, dataformats="HWC")

    def _sample(self, *, file: str, step: int) -> None:
        """By its name without the step, so that one can slide through the steps."""
        stem = self._run / file
        tag = stem.name.removeprefix(f"step-{step:08d}-")
        if (picture := stem.with_name(f"{stem.name}.png")).exists():
            self._add(f"{tag}/attention_and_mel", step, image=_as_image(picture.read_bytes()))
        for kind, suffix in (("free_running", ".wav"), ("teacher_forced", ".forced.wav")):
            if (sound := stem.with_name(stem.name + suffix)).exists():
                self._add(f"{tag}/{kind}", step, audio=_as_audio(sound.read_bytes()))

    def _add(self, tag: str, step: int, **value: Any) -> None:
        """Files as they are: the writer's own methods would decode and encode them."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        file_writer: Any = self._open_writer.file_writer
        file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, **value)]), step)

    def _decision(self, record: Record) -> None:
        kind, step = record["kind"], record["step"]
        if kind != "phase" and "ailment" not in record:
            return  # a knob on its way
        text = in_words(kind, record)
        self._left.append(lambda: self._open_writer.add_text(f"supervisor/{kind}", _as_markdown(text), step))


def chart(signal: str) -> str:
    """Where TensorBoard shows a signal: held-out losses stand beside those of training."""
    if signal.startswith("gradient_norm_"):  # of a part of the model
        return f"gradients/{signal}"
    return f"loss/{signal}" if signal.startswith("val_") else CHARTS.get(signal, f"more/{signal}")


def _write_hparams(writer: SummaryWriter, hparams: Mapping[str, Any]) -> None:
    """Into the run itself; the writer's own method would make a run of its own for them."""
    from torch.utils.tensorboard.summary import hparams as summaries

    plain = {name: value if isinstance(value, int | float | str) else str(value) for name, value in hparams.items()}
    file_writer: Any = writer.file_writer
    for summary in summaries(plain, {SCORE: 0.0}):
        file_writer.add_summary(summary)


def _as_image(png: bytes) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", png[16:24])
    return Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=3)


def _as_audio(content: bytes) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    with wave.open(io.BytesIO(content)) as file:
        return Summary.Audio(
            encoded_audio_string=content,
            content_type="audio/wav",
            sample_rate=file.getframerate(),
            num_channels=file.getnchannels(),
            length_frames=file.getnframes(),
        )


def _as_markdown(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\`*_[]<>#|~" else character for character in text)


def _wait_for_a_later_second(folder: Path) -> None:
    """Event files are read by their names: time in seconds first, then what says nothing of their order."""
    seconds = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")]
    while int(time.time()) in seconds:
        time.sleep(0.02)
