"""A loaded voice that speaks texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from corpus.text.frontend import text_frontend
from hparams import HParams, UserError
from models.vocoders.griffin_lim import griffin_lim
from models.weights import require_compatible
from speech.decoding import SHOWN_CHARACTERS, Sentence, decode_sentences, encode_sentence, evaluation_mode
from speech.speakers import choose_speaker, speaker_inputs
from speech.text_splitting import split_sentences
from speech.voice import Voice

PAUSE_SECONDS = 0.2
"""Silence between the sentences of one text."""

Warn = Callable[[str], None]


class Synthesizer:
    """A voice on a device, with its text front end; loaded once, it speaks any number of texts."""

    def __init__(self, voice: Voice, device: torch.device) -> None:
        self.hparams, self._voice, self._frontend = voice.hparams, voice, text_frontend(voice.hparams)
        require_compatible(voice.saved, voice.hparams, self._frontend.symbols)
        self._model = voice.model.to(device)

    def speak(
        self, texts: Sequence[str], *, speaker: str | None = None, warn: Warn = lambda text: None
    ) -> list[np.ndarray]:
        """Return a wave [samples] for each text; texts of several sentences are spoken sentence by sentence.

        The first speaker of the voice is the default. `warn` receives messages on what was left out or cut.
        """
        inputs = speaker_inputs(choose_speaker(speaker, self.hparams), self.hparams)
        texts_as_sentences = [self._encode(i, text, inputs, warn) for i, text in enumerate(texts)]
        mels = self._decode([sentence for sentences in texts_as_sentences for sentence in sentences], warn)
        return [self._vocode([mels[sentence.id] for sentence in sentences]) for sentences in texts_as_sentences]

    def _encode(self, number: int, text: str, inputs: dict[str, np.ndarray], warn: Warn) -> list[Sentence]:
        for symbol in self._frontend.unknown(text):
            warn(f"text {number}: symbol {symbol!r} is not in the voice's symbol set; it is left out")
        parts = [part for part in split_sentences(text) if self._frontend.encode(part)] or [text]
        return [encode_sentence(f"{number}-{i}", part, self._frontend, inputs) for i, part in enumerate(parts)]

    def _decode(self, sentences: Sequence[Sentence], warn: Warn) -> dict[str, np.ndarray]:
        """Mels [n_mel, T] by the ids of the sentences."""
        with evaluation_mode(self._model, self.hparams.seed):
            reports = decode_sentences(self._model, sentences, self.hparams.batch_size)
        for report in reports:
            if not report.stopped:
                warn(f"{report.text[:SHOWN_CHARACTERS]!r}: the voice did not end by itself and was cut")
        if not all(np.isfinite(report.free_mel).all() for report in reports):
            raise UserError(
                f"{self._voice.saved.path}: this voice produces values that are not finite; "
                "use an earlier checkpoint with --resume"
            )
        return {report.id: report.free_mel for report in reports}

    def _vocode(self, mels: Sequence[np.ndarray]) -> np.ndarray:
        """Samples of the mels one after another, with pauses between them."""
        pause = np.zeros(round(PAUSE_SECONDS * self.hparams.sampling_rate), dtype=np.float32)
        return np.concatenate([piece for mel in mels for piece in (pause, vocode(mel, self.hparams))][1:])


def vocode(mel: np.ndarray, hparams: HParams) -> np.ndarray:
    """Return samples for a natural-log mel [n_mel, T]."""
    return griffin_lim(torch.from_numpy(mel), hparams).numpy()
