"""What remains of a run in its folder: journal, samples, TensorBoard files, summary.json."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Any, Protocol

import numpy as np

from monitoring.journal import Journal
from monitoring.plots import Sample, save_png
from monitoring.progress import ProgressDisplay
from monitoring.signals import (
    DecodeReport,
    EvaluationReport,
    SignalHistory,
    Signals,
    StepReport,
    evaluation_signals,
    outlier_utterances,
    step_signals,
)
from monitoring.tensorboard import TensorBoardLog

SCHEMA_VERSION = 1
STEPS_PER_RECORD = 20  # step signals are journalled in blocks: a block is one write and one fsync


class SpokenSentence(Protocol):
    """A sentence spoken freely: a held-out one or one of the person's own."""

    @property
    def id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def symbol_ids(self) -> Sequence[int]: ...
    @property
    def free_attention(self) -> np.ndarray: ...
    @property
    def free_mel(self) -> np.ndarray: ...


class SpokenDecode(DecodeReport, SpokenSentence, Protocol):
    """A held-out utterance with its text."""


class FullEvaluation(EvaluationReport, Protocol):
    """An evaluation whose decodes can be shown and heard."""

    @property
    def training_seconds(self) -> float:
        """Time spent in training steps so far, evaluations not counted."""

    @property
    def decodes(self) -> Sequence[SpokenDecode]: ...
    @property
    def sentences(self) -> Sequence[SpokenSentence]: ...


@dataclass(frozen=True)
class Voicing:
    """How mels become sound and ids become symbols."""

    symbols: Sequence[str]
    vocode: Callable[[np.ndarray], np.ndarray]  # natural-log mel [n_mel, T] → samples in -1..1
    write_wave: Callable[[Path, np.ndarray], None]
    safe_name: Callable[[str], str]
    sampling_rate: int
    hop_length: int


class RollbackReport(Protocol):
    """Training went back, or could not."""

    @property
    def wanted_step(self) -> int: ...
    @property
    def step(self) -> int | None: ...
    @property
    def problems(self) -> Sequence[str]: ...


class ArmReport(Protocol):
    """One contender of a race."""

    @property
    def knobs(self) -> Mapping[str, float]: ...
    @property
    def steps(self) -> Sequence[StepReport]: ...
    @property
    def evaluation(self) -> EvaluationReport: ...


@dataclass(frozen=True)
class RecordedArm:
    """The signals of one contender."""

    knobs: Mapping[str, float]
    steps: Sequence[tuple[int, Signals]]
    evaluation: Signals


class Listener(Protocol):
    """Someone who decides by the signals, after they were recorded."""

    def step(self, step: int, signals: Signals, outliers: Mapping[str, float | None]) -> None: ...
    def evaluation(self, step: int, signals: Signals) -> None: ...
    def checkpoint(self, step: int, kept: Sequence[int], signals: Signals) -> None: ...
    def rolled_back(self, step: int | None) -> None: ...
    def race(self, start_step: int, arms: Sequence[RecordedArm]) -> int: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class RunRecord:
    """Watches a trainer, writes down what it reports, and lets the listener know."""

    def __init__(
        self,
        folder: Path,
        voicing: Voicing,
        *,
        model: str,
        n_samples: int,
        tensorboard: TensorBoardLog | None,
        display: ProgressDisplay,
    ) -> None:
        self.folder, self._voicing, self._n_samples = folder, voicing, n_samples
        self._tensorboard, self._display = tensorboard, display
        self.journal = Journal(folder / "journal.jsonl")
        self.history = SignalHistory()
        self.listener: Listener | None = None
        self._pending: list[tuple[int, Signals]] = []
        self._outliers: dict[str, dict[str, float | None]] = {}  # step → utterances that stood out
        self._summary: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "status": "running",
            "reason": None,
            "model": model,
            "step": 0,
            "epoch": 0,
            "seconds": 0.0,
            "phase": None,
            "signals": {},
            "interventions": {},
            "best_checkpoint": None,
            "samples": [],
        }

    def begin(self, *, step: int, epoch: int, best: Path | None, samples: list[str], origin_step: int = 0) -> None:
        """Say that the run is under way again, from what an earlier session left; it began anew at `origin_step`."""
        if origin_step:
            self._display.begin_anew(origin_step)
        self._summary |= {"step": step, "epoch": epoch, "best_checkpoint": self._relative(best), "samples": samples}
        self.write_summary()

    def on_step(self, report: StepReport) -> None:
        signals = step_signals(report)
        self.history.record(report.step, signals)
        self._pending.append((report.step, signals))
        outliers = outlier_utterances(report)
        if outliers:
            self._outliers[str(report.step)] = outliers
        if len(self._pending) >= STEPS_PER_RECORD:
            self.write_steps()
        if self._tensorboard is not None:
            self._tensorboard.step(report)
        self._summary |= {"step": report.step, "epoch": report.epoch}
        self._display.step(report)
        if self.listener is not None:
            self.listener.step(report.step, signals, outliers)

    def before_evaluation(self) -> None:
        """It may take minutes: the steps so far are not to wait for it."""
        self.write_steps()

    def on_evaluation(self, report: FullEvaluation) -> float | None:
        signals = evaluation_signals(report)
        self.write_steps()
        self.history.record(report.step, signals)
        self.journal.write("evaluation", report.step, signals=signals, training_seconds=report.training_seconds)
        samples = self._samples(report)
        paths = [path for sample in samples for path in self._write_sample(report.step, sample)]
        if self._tensorboard is not None:
            self._tensorboard.evaluation(report, signals, samples)
        self._summary["samples"] = [str(path.relative_to(self.folder)) for path in paths]
        self.write_summary()
        self._display.evaluation(report.step, signals)
        if self.listener is not None:
            self.listener.evaluation(report.step, signals)
        return signals["composite_tts_score"]

    def write_steps(self) -> None:
        """What was told so far is in the journal before anything that follows from it."""
        if not self._pending:
            return
        outliers = {"outliers": self._outliers} if self._outliers else {}
        self.journal.write("steps", self._pending[-1][0], **_columns(self._pending), **outliers)
        self._pending, self._outliers = [], {}

    def before_checkpoint(self) -> None:
        self.write_steps()

    def after_checkpoint(self, *, latest: Path, best: Path | None, kept: Sequence[int]) -> None:
        self._summary["best_checkpoint"] = self._relative(best)
        step, path = self._summary["step"], str(latest.relative_to(self.folder))
        free, size = disk_usage(latest.parent).free, latest.stat().st_size
        sizes: Signals = {"disk_free_bytes": float(free), "checkpoint_bytes": float(size)}
        self.history.record(step, sizes)
        self.journal.write("checkpoint", step, path=path, kept=list(kept), signals=sizes)
        self.journal.keep_reserve()
        if self.listener is not None:
            self.listener.checkpoint(step, kept, sizes)

    def on_rollback(self, report: RollbackReport) -> None:
        self.write_steps()
        step = self._summary["step"] if report.step is None else report.step
        self.journal.write(
            "rolled_back", step, wanted_step=report.wanted_step, to=report.step, problems=report.problems
        )
        self._go_back(report.step)
        if self.listener is not None:
            self.listener.rolled_back(report.step)

    def _go_back(self, step: int | None) -> None:
        if step is not None:
            self.history.forget_after(step)
            self._summary["step"] = step

    def on_arm_step(self) -> None:
        """Written down when the race is over."""

    def on_quarantine(self, utterances: Sequence[str], reason: str) -> None:
        self.journal.write("quarantined", self._summary["step"], utterances=list(utterances), reason=reason)

    def on_race(self, start_step: int, arms: Sequence[ArmReport]) -> int:
        recorded = [
            RecordedArm(arm.knobs, [(r.step, step_signals(r)) for r in arm.steps], evaluation_signals(arm.evaluation))
            for arm in arms
        ]
        told = [{"knobs": dict(a.knobs), **_columns(a.steps), "evaluation": a.evaluation} for a in recorded]
        self.write_steps()
        self.journal.write("race", self._summary["step"], from_step=start_step, arms=told)
        assert self.listener is not None, "only a listener asks for a race"
        winner = self.listener.race(start_step, recorded)
        self._go_back(start_step)
        for step, signals in recorded[winner].steps:
            self.history.record(step, signals)
        last = arms[winner].steps[-1]
        self.history.record(last.step, recorded[winner].evaluation)
        self._summary |= {"step": last.step, "epoch": last.epoch}
        return winner

    def on_decision(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        """Take down what the listener decided, after the signals it follows from."""
        self.write_steps()
        self.enter_phase(fields["phase"])
        self.journal.write(kind, step, **fields)
        if verdict := fields.get("verdict"):
            counts = self._summary["interventions"]
            counts[verdict] = counts.get(verdict, 0) + 1
        self._display.decision(kind, step, fields)

    def enter_phase(self, phase: str | None) -> None:
        """Every record from here on names it; None where nobody supervises."""
        self._summary["phase"] = self.journal.phase = phase

    def _relative(self, path: Path | None) -> str | None:
        return None if path is None else str(path.relative_to(self.folder))

    def finish(self, *, status: str, reason: str) -> None:
        """The last word on this run; no step is lost, and on a full disk the reserve makes room for it."""
        self.journal.release_reserve()
        self.write_steps()
        self.journal.write("finished", self._summary["step"], status=status, reason=reason)
        self._summary |= {"status": status, "reason": reason}
        self.write_summary()

    @property
    def is_running(self) -> bool:
        return bool(self._summary["status"] == "running")

    def close(self) -> None:
        self._display.close()
        self.journal.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def write_summary(self) -> None:
        self._summary["signals"] = self.history.latest()
        self._summary["seconds"] = round(self._display.seconds(), 3)
        temporary = self.folder / ".summary.json.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(self._summary, file, ensure_ascii=False, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.folder / "summary.json")

    def state_dict(self) -> dict[str, Any]:
        state = {"history": self.history.state_dict(), "seconds": self._display.seconds()}
        return state | ({} if self.listener is None else {"listener": self.listener.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history.load_state_dict(state["history"])
        if self.listener is not None and "listener" in state:
            self.listener.load_state_dict(state["listener"])
        self._display.resume(state["seconds"])

    def _samples(self, report: FullEvaluation) -> list[Sample]:
        """The same few held-out utterances every time, and all of the person's own sentences."""
        chosen = sorted(report.decodes, key=lambda decode: decode.id)[: self._n_samples]
        samples = [self._sample(decode, decode.recorded_mel) for decode in chosen]
        samples += [self._sample(sentence, None) for sentence in report.sentences]
        for sample in samples:
            if not np.isfinite(sample.audio).all():
                self.journal.write("sample_skipped", report.step, utterance=sample.id, reason="its sound is not finite")
        return [sample for sample in samples if np.isfinite(sample.audio).all()]

    def _sample(self, spoken: SpokenSentence, recorded_mel: np.ndarray | None) -> Sample:
        voicing = self._voicing
        return Sample(
            id=spoken.id,
            sentence=spoken.text,
            symbols=[voicing.symbols[i] for i in spoken.symbol_ids],
            attention=spoken.free_attention,
            free_mel=spoken.free_mel,
            recorded_mel=recorded_mel,
            audio=voicing.vocode(spoken.free_mel),
            sampling_rate=voicing.sampling_rate,
            hop_length=voicing.hop_length,
        )

    def _write_sample(self, step: int, sample: Sample) -> tuple[Path, Path]:
        stem = self.folder / "samples" / f"step-{step:08d}-{self._voicing.safe_name(sample.id)}"
        stem.parent.mkdir(exist_ok=True)
        wave, picture = stem.with_name(stem.name + ".wav"), stem.with_name(stem.name + ".png")
        self._voicing.write_wave(wave, sample.audio)
        save_png(sample.picture, picture)
        return wave, picture


def _columns(steps: Sequence[tuple[int, Signals]]) -> dict[str, Any]:
    """Signals of several steps, a list each."""
    names = steps[0][1] if steps else ()
    return {"steps": [step for step, _ in steps], "signals": {name: [s[name] for _, s in steps] for name in names}}
