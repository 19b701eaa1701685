"""A loaded voice that speaks texts of any kind and length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
import torch

from corpus.audio.speech_level import speech_level_db
from corpus.text.frontend import text_frontend
from corpus.text.lexicon import Lexicon
from hparams import HParams, UserError
from models.vocoders.griffin_lim import griffin_lim
from models.weights import require_compatible
from speech.decode_check import KEPT_REST_SECONDS, USUAL_REST_SECONDS, Pace
from speech.decoding import SHOWN_CHARACTERS, Sentence, encode_sentence
from speech.levels import gain_to
from speech.speakers import choose_speaker, speaker_inputs
from speech.text_filter import describe_left_out, filter_text
from speech.text_units import Unit, split_units, with_ending
from speech.unit_decoder import DecodedUnit, UnitDecoder
from speech.voice import Voice

FIRST_UNITS = 1
"""Units decoded before the first sound of a stream; the next groups are larger."""
MAX_UNITS_AT_ONCE = 8
LOWEST_SPEED, HIGHEST_SPEED = 0.25, 4.0

Warn = Callable[[str], None]


@dataclass(frozen=True)
class SpokenUnit:
    """A piece of text with its sound [samples], and the silence after it."""

    text: str
    wave: np.ndarray
    pause_seconds: float


class NothingToSay(UserError):
    """No unit of a text holds anything that the voice can speak."""


class Synthesizer:
    """A voice on a device, with its text front end; loaded once, it speaks any number of texts."""

    def __init__(self, voice: Voice, device: torch.device) -> None:
        frontend = text_frontend(voice.hparams)
        self.hparams, self._voice, self._lexicon = voice.hparams, voice, frontend.lexicon
        self._frontend = replace(frontend, lexicon=Lexicon())  # it is applied once, before anything is left out
        require_compatible(voice.saved, voice.hparams, self._frontend.symbols)
        self._model = voice.model.to(device)
        self.text_statistics = statistics = voice.text_statistics
        frame_seconds = self.hparams.hop_length / self.hparams.sampling_rate
        rest = None if statistics is None else statistics.rest_seconds
        self._pace = Pace(
            symbol_seconds=None if statistics is None else statistics.seconds_per_symbol,
            frame_seconds=frame_seconds,
            step_seconds=frame_seconds * self._model.frames_per_step,
            rest_seconds=max(KEPT_REST_SECONDS, rest) if rest else USUAL_REST_SECONDS,
        )
        self._decoder = UnitDecoder(self._model, self.hparams, self._pace, self._encode_piece)

    def speak(
        self, texts: Sequence[str], *, speaker: str | None = None, speed: float = 1.0, warn: Warn = lambda text: None
    ) -> list[np.ndarray]:
        """Return a wave [samples] for each text, spoken unit by unit.

        The first speaker of the voice is the default. `warn` receives messages on what was left out or said badly; of
        several texts, one that holds nothing to say has an empty wave.
        """
        self._set_speed(speed)
        inputs = speaker_inputs(choose_speaker(speaker, self.hparams), self.hparams)
        texts_as_units = [self._all_units(text, f"text {i}: ", warn, len(texts)) for i, text in enumerate(texts)]
        sentences = [
            self._encode(f"{i}-{n}", unit.text, inputs)
            for i, u in enumerate(texts_as_units)
            for n, unit in enumerate(u)
        ]
        decoded = iter(self._decode(sentences, warn))
        return [self._join([self._vocode(unit, next(decoded)) for unit in units]) for units in texts_as_units]

    def stream(
        self, text: str, *, speaker: str | None = None, speed: float = 1.0, warn: Warn = lambda text: None
    ) -> Iterator[SpokenUnit]:
        """Check the request, then return an iterator that speaks the units of a text, each when it is asked for."""
        self._set_speed(speed)
        inputs = speaker_inputs(choose_speaker(speaker, self.hparams), self.hparams)
        units = self._units(text, "", warn)
        return self._speak_units(chain([next(units)], units), inputs, warn)

    def _speak_units(self, units: Iterator[Unit], inputs: dict[str, np.ndarray], warn: Warn) -> Iterator[SpokenUnit]:
        """Decode the first unit alone, for an early sound, then growing groups."""
        first, n, level_db = 0, FIRST_UNITS, None
        while group := list(islice(units, n)):
            sentences = [self._encode(str(first + i), unit.text, inputs) for i, unit in enumerate(group)]
            for unit, decoded in zip(group, self._decode(sentences, warn), strict=True):
                spoken = self._vocode(unit, decoded)
                if level_db is None:
                    level_db = speech_level_db(spoken.wave, self.hparams.sampling_rate)
                yield self._at_level(spoken, level_db)
            first, n = first + n, min(2 * n, MAX_UNITS_AT_ONCE)

    def _all_units(self, text: str, where: str, warn: Warn, n_texts: int) -> list[Unit]:
        try:
            return list(self._units(text, where, warn))
        except NothingToSay as error:
            if n_texts == 1:
                raise
            warn(f"{where}{error}")
            return []

    def _set_speed(self, speed: float) -> None:
        if not LOWEST_SPEED <= speed <= HIGHEST_SPEED:
            raise UserError(f"speed {speed:g}: expected {LOWEST_SPEED:g} to {HIGHEST_SPEED:g}")
        if self._model.HAS_GATE and speed != 1.0:
            raise UserError(f"speed {speed:g}: {self.hparams.model} predicts no durations that could be changed")
        self._model.set_speed(speed)

    def _units(self, text: str, where: str, warn: Warn) -> Iterator[Unit]:
        """Yield units that end as training texts do, at least one; pieces that hold nothing to say are left out."""
        statistics, language = self.text_statistics, self.hparams.language
        if self._frontend.alphabet == "graphemes" and "[[" in text:
            raise UserError("[[phonemes]] in a text: this voice reads letters; respell the word instead")
        filtered = filter_text(self._lexicon.apply(text), language, None if statistics is None else statistics.scripts)
        if filtered.left_out:
            warn(where + describe_left_out(filtered.left_out))
        ending = "" if statistics is None else statistics.ending
        is_empty, reported = True, set[str]()
        for unit in split_units(
            filtered.text,
            language,
            length_of=lambda part: len(self._frontend.encode(part)),
            longest=None if statistics is None else statistics.longest_symbols,
        ):
            for symbol in dict.fromkeys(self._frontend.unknown(unit.text)):
                if symbol not in reported:
                    warn(f"{where}symbol {symbol!r} is not in the voice's symbol set; it is left out")
                reported.add(symbol)
            spoken = Unit(with_ending(unit.text, ending), unit.pause_seconds)
            if self._frontend.encode(spoken.text):
                is_empty = False
                yield spoken
        if is_empty:
            raise NothingToSay(f"{text[:SHOWN_CHARACTERS]!r} holds nothing that can be spoken by this voice")

    def _encode(self, id_: str, text: str, inputs: dict[str, np.ndarray]) -> Sentence:
        return encode_sentence(id_, text, self._frontend, inputs)

    def _encode_piece(self, id_: str, text: str, whole: Sentence) -> Sentence | None:
        """A piece of a sentence, with the ending of training texts; None if it holds nothing to say."""
        ending = "" if self.text_statistics is None else self.text_statistics.ending
        text = with_ending(text, ending)
        return encode_sentence(id_, text, self._frontend, whole.inputs) if self._frontend.encode(text) else None

    def _decode(self, sentences: Sequence[Sentence], warn: Warn) -> list[DecodedUnit]:
        decoded = self._decoder.decode(sentences)
        for unit in decoded:
            if unit.fault.reason:
                warn(f"{unit.text[:SHOWN_CHARACTERS]!r}: the voice {unit.fault.reason}")
            if not np.isfinite(unit.mel).all():
                raise UserError(
                    f"{self._voice.saved.path}: this voice produces values that are not finite; "
                    "use an earlier checkpoint with --resume"
                )
        return decoded

    def _vocode(self, unit: Unit, decoded: DecodedUnit) -> SpokenUnit:
        return SpokenUnit(unit.text, vocode(decoded.mel, self.hparams), unit.pause_seconds)

    def _at_level(self, unit: SpokenUnit, level_db: float | None) -> SpokenUnit:
        if level_db is None:
            return unit
        gain = gain_to(level_db, unit.wave, self.hparams.sampling_rate)
        return SpokenUnit(unit.text, unit.wave * gain, unit.pause_seconds)

    def _join(self, units: Sequence[SpokenUnit]) -> np.ndarray:
        """Samples of the units at one level, with the pauses between them."""
        rate = self.hparams.sampling_rate
        level_db = speech_level_db(units[0].wave, rate) if len(units) > 1 else None
        pieces = [x for unit in units for x in (self._at_level(unit, level_db).wave, silence(unit.pause_seconds, rate))]
        return np.concatenate(pieces[:-1]) if pieces else silence(0.0, rate)


def silence(seconds: float, sampling_rate: int) -> np.ndarray:
    return np.zeros(round(seconds * sampling_rate), dtype=np.float32)


def vocode(mel: np.ndarray, hparams: HParams) -> np.ndarray:
    """Return samples for a natural-log mel [n_mel, T]."""
    return griffin_lim(torch.from_numpy(mel), hparams).numpy()
