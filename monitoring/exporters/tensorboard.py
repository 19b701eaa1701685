"""TensorBoard event files of a run; the only module that uses TensorBoard."""

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
from monitoring.journal.journal_state import SESSION_STARTS, JournalState
from monitoring.journal.sample_writer import WORST
from monitoring.language.english import ENGLISH
from monitoring.report.curves_picture import curves_picture
from monitoring.report.decision_text import decision_line
from monitoring.report.plots import pixels

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

DECISIONS = ("phase", "diagnosis", "intervention", "follow_up")
SCORE_TAG = "score/composite_tts_score"
TAG_GROUPS = {
    "loss": ("total_loss", "mel_loss", "gate_loss", "guide_loss", "nll_loss", "duration_loss"),
    "attention": ("diagonality", "free_diagonality", "focus", "path_ratio", "coverage"),
    "gate": ("gate_accuracy", "gate_premature", "gate_overrun", "calibrated_gate_threshold"),
    "ends": ("stop_rate", "plain_stop_rate"),
    "gradients": ("gradient_norm", "update_ratio", "nonfinite_steps"),
    "durations": ("zero_duration_share", "huge_duration_share", "length_ratio", "length_accuracy"),
    "flow": ("logdet", "latent_deviation", "prior_deviation", "actnorm_scale", "convolution_condition"),
    "supervisor": ("learning_rate",),
    "score": ("composite_tts_score", "mel_distance"),
    "data": ("outlier_utterances", "data_wait_share", "frames_per_second"),
    "memory": ("memory_bytes", "out_of_memory_steps", "disk_free_bytes", "checkpoint_bytes"),
}
TAGS = {signal: f"{group}/{signal}" for group, signals in TAG_GROUPS.items() for signal in signals}


class TensorBoardLog:
    """Journal subscriber that writes scalars, images, audio and decisions into event files."""

    def __init__(self, run: Path) -> None:
        self._run, self._folder = run, run / "tensorboard"
        self._writer: SummaryWriter | None = None
        self._purge_step: int | None = None  # TensorBoard hides earlier events from this step on
        self._queue: list[Callable[[], None]] = []
        self._draw_newest_curves: Callable[[], None] | None = None

    def on_record(self, record: Record, state: JournalState) -> None:
        handlers = {
            **dict.fromkeys(SESSION_STARTS, self._on_start),
            "rolled_back": self._on_rollback,
            "race": lambda race: self._hide_from(race["from_step"] + 1),
            "steps": self._on_steps,
            "evaluation": lambda evaluation: self._on_evaluation(evaluation, state),
            **dict.fromkeys(DECISIONS, self._on_decision),
        }
        if handler := handlers.get(record["kind"]):
            handler(record)
        if record["kind"] == "follow_up" and (winner := state.race_winner(record)) is not None:
            self._on_steps(winner)
            self._queue_scalars(winner["steps"][-1], winner["evaluation"])

    def flush(self) -> None:
        try:
            for write in self._queue:
                write()
            if self._draw_newest_curves is not None:
                self._draw_newest_curves()
            if self._writer is not None:
                self._writer.flush()
        except OSError:
            # its thread ended with the error; the next flush writes all of the queue again, which is shown once
            self._writer = None
            raise
        self._queue.clear()
        self._draw_newest_curves = None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load: new event files continue the earlier ones."""

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @property
    def _open_writer(self) -> SummaryWriter:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            _wait_for_unused_second(self._folder)
            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_step)
            self._purge_step = None
        return self._writer

    def _on_start(self, record: Record) -> None:
        """Hide what was logged beyond the checkpoint that the session starts from: everything, if from none."""
        self._hide_from(record["step"] + 1)
        self._queue.append(lambda: _write_hparams(self._open_writer, record["hparams"]))

    def _on_rollback(self, record: Record) -> None:
        if record["to"] is not None:
            self._hide_from(record["to"] + 1)

    def _hide_from(self, step: int) -> None:
        def hide() -> None:
            self.close()
            self._purge_step = step

        self._queue.append(hide)

    def _on_steps(self, record: Record) -> None:
        for i, step in enumerate(record["steps"]):
            self._queue_scalars(step, {name: column[i] for name, column in record["signals"].items()})

    def _queue_scalars(self, step: int, signals: Mapping[str, float | None]) -> None:
        def write() -> None:
            for name, value in signals.items():
                if value is not None:
                    self._open_writer.add_scalar(tag_of(name), value, step)

        self._queue.append(write)

    def _on_evaluation(self, record: Record, state: JournalState) -> None:
        """Queue signals and samples; only the newest of several evaluations draws the curves of the whole run."""
        step = record["step"]
        self._queue_scalars(step, record["signals"])
        self._draw_newest_curves = lambda: self._add_curves(state, step)
        for sample in record.get("samples", ()):
            if not sample["file"].startswith(WORST):
                self._queue.append(functools.partial(self._add_sample, file=sample["file"], step=step))

    def _add_curves(self, state: JournalState, step: int) -> None:
        curves = pixels(curves_picture(state, ENGLISH))
        self._open_writer.add_image("curves", curves, step, dataformats="HWC")

    def _add_sample(self, *, file: str, step: int) -> None:
        """Add picture and sound under the file's name without its step: TensorBoard then offers a slider of steps."""
        stem = self._run / file
        name = stem.name.removeprefix(f"step-{step:08d}-")
        if (picture := stem.with_name(f"{stem.name}.png")).exists():
            self._add_summary(f"{name}/attention_and_mel", step, image=_image_summary(picture.read_bytes()))
        for decoding, suffix in (("free_running", ".wav"), ("teacher_forced", ".forced.wav")):
            if (sound := stem.with_name(stem.name + suffix)).exists():
                self._add_summary(f"{name}/{decoding}", step, audio=_audio_summary(sound.read_bytes()))

    def _add_summary(self, tag: str, step: int, **value: Any) -> None:
        """Add an encoded file; the methods of SummaryWriter would decode and encode it again."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        file_writer: Any = self._open_writer.file_writer
        file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, **value)]), step)

    def _on_decision(self, record: Record) -> None:
        kind, step = record["kind"], record["step"]
        if kind != "phase" and "ailment" not in record:
            return  # a knob turned by a person, or a partial move of a knob
        text = decision_line(kind, record, ENGLISH)
        self._queue.append(lambda: self._open_writer.add_text(f"supervisor/{kind}", _escape_markdown(text), step))


def tag_of(signal: str) -> str:
    """Return the tag `group/signal`; held-out losses stand beside those of training."""
    if signal.startswith("gradient_norm_"):  # of one part of the model
        return f"gradients/{signal}"
    return f"loss/{signal}" if signal.startswith("val_") else TAGS.get(signal, f"more/{signal}")


def _write_hparams(writer: SummaryWriter, hparams: Mapping[str, Any]) -> None:
    """Write them into this run; `SummaryWriter.add_hparams` would create another run for them."""
    from torch.utils.tensorboard.summary import hparams as hparams_summaries

    values = {name: value if isinstance(value, int | float | str) else str(value) for name, value in hparams.items()}
    file_writer: Any = writer.file_writer
    for summary in hparams_summaries(values, {SCORE_TAG: 0.0}):
        file_writer.add_summary(summary)


def _image_summary(png: bytes) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", png[16:24])
    return Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=3)


def _audio_summary(wav: bytes) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    with wave.open(io.BytesIO(wav)) as file:
        return Summary.Audio(
            encoded_audio_string=wav,
            content_type="audio/wav",
            sample_rate=file.getframerate(),
            num_channels=file.getnchannels(),
            length_frames=file.getnframes(),
        )


def _escape_markdown(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\`*_[]<>#|~" else character for character in text)


def _wait_for_unused_second(folder: Path) -> None:
    """Wait until no event file has the present second in its name, since TensorBoard reads files in name order."""
    seconds = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")]
    while int(time.time()) in seconds:
        time.sleep(0.02)
