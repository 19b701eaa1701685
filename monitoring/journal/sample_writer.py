"""Writer of decoded samples: a few held-out utterances, the person's sentences and the worst utterances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from files import safe_name
from monitoring.events import EvaluationEvent
from monitoring.journal.decoded_arrays import DecodedSample, write_decoded
from reports import DecodeReport, SentenceReport

SAMPLES, WORST, RECORDED = "samples", "samples/worst", "samples/recorded"
MAX_WORST = 3  # utterances of an evaluation, enough to see what they have in common


@dataclass(frozen=True)
class WrittenSamples:
    """Result of writing one evaluation: journal fields, sound and picture files to come, skipped utterance ids."""

    journal_fields: dict[str, Any]
    files: list[str]
    skipped: list[str]


class SampleWriter:
    """Writer of one .npz file an evaluation; the companion draws and vocodes it."""

    def __init__(self, folder: Path, symbols: Sequence[str], *, n_samples: int) -> None:
        self._folder, self._symbols, self._n_samples = folder, symbols, n_samples

    def write(self, event: EvaluationEvent) -> WrittenSamples:
        """Write an evaluation's samples; skip those with a non-finite mel."""
        step = event.report.step
        samples = self._regular(event) + self._worst(event)
        skipped = [sample.id for sample in samples if not sample.is_finite]
        samples = [sample for sample in samples if sample.is_finite]
        if not samples:
            return WrittenSamples({}, [], skipped)
        path = self._folder / SAMPLES / f"step-{step:08d}.npz"
        write_decoded(path, samples)
        regular = [sample.file for sample in samples if not sample.file.startswith(WORST)]
        names = ("id", "sentence", "file", "recorded")
        fields = [{name: getattr(sample, name) for name in names} for sample in samples]
        return WrittenSamples(
            {"spoken": str(path.relative_to(self._folder)), "samples": fields},
            [f"{file}.{kind}" for file in regular for kind in ("wav", "png")],
            skipped,
        )

    def _regular(self, event: EvaluationEvent) -> list[DecodedSample]:
        """Return the same few held-out utterances every time, and all of the person's own sentences."""
        chosen = sorted(event.report.decodes, key=lambda decode: decode.id)[: self._n_samples]
        prefix = f"{SAMPLES}/step-{event.report.step:08d}-"
        return [self._of_decode(decode, prefix) for decode in chosen] + [
            self._of_sentence(sentence, prefix) for sentence in event.report.sentences
        ]

    def _worst(self, event: EvaluationEvent) -> list[DecodedSample]:
        """Return the utterances of lowest score, unless no samples are wanted at all."""
        scored = zip(event.report.decodes, (utterance.score for utterance in event.utterances), strict=True)
        ranked = sorted((score, decode.id, decode) for decode, score in scored if score is not None)
        return [self._of_decode(decode, f"{WORST}/") for *_, decode in ranked[: MAX_WORST if self._n_samples else 0]]

    def _of_decode(self, decode: DecodeReport, prefix: str) -> DecodedSample:
        return replace(
            self._of_sentence(decode, prefix),
            recorded=f"{RECORDED}/{safe_name(decode.id)}",
            forced_mel=decode.forced_mel,
            recorded_mel=decode.recorded_mel,
        )

    def _of_sentence(self, sentence: DecodeReport | SentenceReport, prefix: str) -> DecodedSample:
        return DecodedSample(
            id=sentence.id,
            sentence=sentence.text,
            symbols=tuple(self._symbols[i] for i in sentence.symbol_ids),
            file=prefix + safe_name(sentence.id),
            recorded=None,
            free_attention=sentence.free_attention,
            free_mel=sentence.free_mel,
        )
