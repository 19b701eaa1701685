"""Decoding of units with a second look: faulty decodes are repeated, cut at their end, or said in smaller pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hparams import HParams
from models import TrainableModel
from reports import SentenceReport
from speech.decode_check import DecodeFault, Pace, check_decode, resting_step
from speech.decoding import Sentence, decode_sentences, evaluation_mode
from speech.text_units import WORD_SPACE

RETRIES = 3
MAX_DEPTH = 2  # halvings of a unit that no attempt says well

EncodePiece = Callable[[str, str, Sentence], Sentence | None]
"""Id and text of a piece of a sentence → the piece as a sentence; None if it holds nothing to say."""


@dataclass(frozen=True)
class DecodedUnit:
    """Mel [n_mel, T] of a unit, and the fault that remains after all attempts."""

    text: str
    mel: np.ndarray
    fault: DecodeFault


class UnitDecoder:
    """A model in evaluation mode that decodes units; `encode` turns the text of a smaller piece into a sentence."""

    def __init__(self, model: TrainableModel, hparams: HParams, pace: Pace, encode: EncodePiece) -> None:
        self._model, self._hparams, self._pace, self._encode = model, hparams, pace, encode

    def decode(self, sentences: Sequence[Sentence]) -> list[DecodedUnit]:
        """Decode the sentences in batches, each as well as it can be."""
        return self._decode(sentences, depth=0)

    def _decode(self, sentences: Sequence[Sentence], depth: int) -> list[DecodedUnit]:
        best = [self._checked(report) for report in self._run(sentences, attempt=0)]
        for attempt in range(1, RETRIES + 1 if self._model.HAS_ATTENTION else 1):
            faulty = [i for i, (_, fault) in enumerate(best) if fault.badness]
            if not faulty:
                break
            again = self._run([sentences[i] for i in faulty], attempt)
            for i, report in zip(faulty, again, strict=True):
                best[i] = min(best[i], self._checked(report), key=lambda pair: pair[1].badness)
        return [
            self._in_smaller_pieces(sentence, report, fault, depth)
            for sentence, (report, fault) in zip(sentences, best, strict=True)
        ]

    def _run(self, sentences: Sequence[Sentence], attempt: int) -> list[SentenceReport]:
        if not sentences:
            return []
        with evaluation_mode(self._model, self._hparams.seed + attempt):
            return decode_sentences(self._model, sentences, self._hparams.batch_size)

    def _checked(self, report: SentenceReport) -> tuple[SentenceReport, DecodeFault]:
        """The decode, cut where its attention rests at the end, with its fault."""
        fault = check_decode(report, self._pace, has_attention=self._model.HAS_ATTENTION)
        if not fault.badness:
            return report, fault
        step = resting_step(report.free_attention, self._pace) if self._model.HAS_ATTENTION else None
        if step is None:
            return report, fault
        n_frames = step * self._model.frames_per_step
        cut = replace(
            report, free_attention=report.free_attention[:step], free_mel=report.free_mel[:, :n_frames], stopped=True
        )
        return cut, check_decode(cut, self._pace, has_attention=True)

    def _in_smaller_pieces(
        self, sentence: Sentence, report: SentenceReport, fault: DecodeFault, depth: int
    ) -> DecodedUnit:
        """Halves of a unit that no attempt says well, if they are said better."""
        whole = DecodedUnit(sentence.text, report.free_mel, fault)
        if not fault.badness or depth == MAX_DEPTH or not self._model.HAS_ATTENTION:
            return whole
        words = WORD_SPACE.split(sentence.text)
        texts = " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])
        halves = [self._encode(f"{sentence.id}.{i}", text, sentence) for i, text in enumerate(texts) if text]
        encoded = [half for half in halves if half is not None]
        if len(encoded) < 2:
            return whole
        parts = self._decode(encoded, depth + 1)
        worst = max((part.fault for part in parts), key=lambda part_fault: part_fault.badness)
        if worst.badness >= fault.badness:
            return whole
        return DecodedUnit(sentence.text, np.concatenate([part.mel for part in parts], axis=1), worst)
