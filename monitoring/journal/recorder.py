"""What a training leaves in its run's folder: journal, what was spoken, summary.json; all that is shown comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import disk_usage
from typing import Any, Protocol

import numpy as np

from files import write_atomically
from monitoring.journal.decoded_arrays import DecodedSample, write_decoded
from monitoring.journal.journal import Journal
from monitoring.measures.history import SignalHistory
from monitoring.measures.signals import (
    DecodeReport,
    EvaluationReport,
    Signals,
    StepReport,
    UtteranceSignals,
    evaluation_signals,
    outlier_utterances,
    step_signals,
    utterance_signals,
)
from monitoring.terminal.progress import ProgressDisplay

SCHEMA_VERSION = 1
SAMPLES, WORST, RECORDED = "samples", "samples/worst", "samples/recorded"
MOST_WORST = 3  # utterances of an evaluation, to look for what they have in common
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
class Naming:
    """How ids become symbols and names of files."""

    symbols: Sequence[str]
    safe_name: Callable[[str], str]


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
        naming: Naming,
        *,
        model: str,
        n_samples: int,
        display: ProgressDisplay,
    ) -> None:
        self.folder, self._naming, self._n_samples, self._display = folder, naming, n_samples, display
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

    def begin(self, *, step: int, epoch: int, best: Path | None, samples: list[str]) -> None:
        """Say that the run is under way again, from what an earlier session left."""
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
        self._summary |= {"step": report.step, "epoch": report.epoch}
        self._display.on_step(report)
        if self.listener is not None:
            self.listener.step(report.step, signals, outliers)

    def before_evaluation(self) -> None:
        """It may take minutes: the steps so far are not to wait for it."""
        self.write_steps()

    def on_evaluation(self, report: FullEvaluation) -> float | None:
        utterances = [utterance_signals(decode) for decode in report.decodes]
        signals = evaluation_signals(report, utterances)
        self.write_steps()
        self.history.record(report.step, signals)
        self.journal.write(
            "evaluation",
            report.step,
            signals=signals,
            training_seconds=report.training_seconds,
            utterances=[
                {"id": decode.id, "text": decode.text, **asdict(utterance), "score": utterance.score}
                for decode, utterance in zip(report.decodes, utterances, strict=True)
            ],
            **self._leave_spoken(report, utterances),
        )
        self.write_summary()
        self._display.on_evaluation(report.step, signals)
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
        self.journal.allocate_reserve()
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
        self._display.on_decision(kind, step, fields)

    def on_order(self, step: int, order: Mapping[str, Any]) -> None:
        """What a person has asked for, and whether it was done."""
        self.write_steps()
        self.journal.write("order", step, **order)
        self._display.on_request(step, order)

    def on_note(self, step: int, text: str) -> None:
        """What somebody beside the training wants known."""
        self.journal.write("note", step, text=text)
        self._display.on_note(text)

    def on_turn(self, step: int, knob: str, before: float, after: float) -> None:
        """A person has turned a knob."""
        self.write_steps()
        self.journal.write("intervention", step, by="person", knob=knob, **{"from": before, "to": after})

    def enter_phase(self, phase: str | None) -> None:
        """Every record from here on names it; None where nobody supervises."""
        self._summary["phase"] = self.journal.phase = phase
        self._display.set_phase(phase)

    def _relative(self, path: Path | None) -> str | None:
        return None if path is None else str(path.relative_to(self.folder))

    def finish(self, *, status: str, reason: str) -> None:
        """The last word on this run; no step is lost, and on a full disk the reserve makes room for it."""
        self._display.close()
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

    def write_summary(self) -> None:
        self._summary["signals"] = self.history.latest()
        self._summary["seconds"] = round(self._display.elapsed_seconds(), 3)
        content = json.dumps(self._summary, ensure_ascii=False, indent=1, allow_nan=False)
        write_atomically(self.folder / "summary.json", content.encode("utf-8", "backslashreplace"))

    def state_dict(self) -> dict[str, Any]:
        state = {"history": self.history.state_dict(), "seconds": self._display.elapsed_seconds()}
        return state | ({} if self.listener is None else {"listener": self.listener.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history.load_state_dict(state["history"])
        if self.listener is not None and "listener" in state:
            self.listener.load_state_dict(state["listener"])
        self._display.add_earlier_seconds(state["seconds"])

    def _leave_spoken(self, report: FullEvaluation, utterances: Sequence[UtteranceSignals]) -> dict[str, Any]:
        """Write what is to be drawn and heard of this evaluation; returns what the journal says of it."""
        samples = self._samples(report) + self._worst(report, utterances)
        for spoken in samples:
            if not spoken.is_finite:
                self.journal.write("sample_skipped", report.step, utterance=spoken.id, reason="its mel is not finite")
        samples = [spoken for spoken in samples if spoken.is_finite]
        if not samples:
            return {}
        path = self.folder / SAMPLES / f"step-{report.step:08d}.npz"
        write_decoded(path, samples)
        regular = [spoken.file for spoken in samples if not spoken.file.startswith(WORST)]
        self._summary["samples"] = [f"{file}.{kind}" for file in regular for kind in ("wav", "png")]
        names = ("id", "sentence", "file", "recorded")
        told = [{name: getattr(spoken, name) for name in names} for spoken in samples]
        return {"spoken": str(path.relative_to(self.folder)), "samples": told}

    def _samples(self, report: FullEvaluation) -> list[DecodedSample]:
        """The same few held-out utterances every time, and all of the person's own sentences."""
        chosen = sorted(report.decodes, key=lambda decode: decode.id)[: self._n_samples]
        place = f"{SAMPLES}/step-{report.step:08d}-"
        return [self._of_decode(decode, place) for decode in chosen] + [
            self._of_sentence(sentence, place) for sentence in report.sentences
        ]

    def _worst(self, report: FullEvaluation, utterances: Sequence[UtteranceSignals]) -> list[DecodedSample]:
        """Those of the lowest score, unless nothing is to be heard at all."""
        scored = zip(report.decodes, (utterance.score for utterance in utterances), strict=True)
        known = sorted(((score, decode.id, decode) for decode, score in scored if score is not None))
        return [self._of_decode(decode, f"{WORST}/") for *_, decode in known[: MOST_WORST if self._n_samples else 0]]

    def _of_decode(self, decode: SpokenDecode, place: str) -> DecodedSample:
        return replace(
            self._of_sentence(decode, place),
            recorded=f"{RECORDED}/{self._naming.safe_name(decode.id)}",
            forced_mel=decode.forced_mel,
            recorded_mel=decode.recorded_mel,
        )

    def _of_sentence(self, sentence: SpokenSentence, place: str) -> DecodedSample:
        return DecodedSample(
            id=sentence.id,
            sentence=sentence.text,
            symbols=tuple(self._naming.symbols[i] for i in sentence.symbol_ids),
            file=place + self._naming.safe_name(sentence.id),
            recorded=None,
            free_attention=sentence.free_attention,
            free_mel=sentence.free_mel,
        )


def _columns(steps: Sequence[tuple[int, Signals]]) -> dict[str, Any]:
    """Signals of several steps, a list each."""
    names = steps[0][1] if steps else ()
    return {"steps": [step for step, _ in steps], "signals": {name: [s[name] for _, s in steps] for name in names}}
