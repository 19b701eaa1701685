"""espeak-ng: text to IPA, and text to speech with the times of its phones and words."""

from __future__ import annotations

import difflib
import functools
import os
import re
import threading
import unicodedata
from dataclasses import dataclass, replace

import numpy as np

from corpus.text.espeak_library import EVENT_PHONEME, EVENT_WORD, Engine, Event
from hparams import UserError

MARKS = ".,!?;:"

_LANGUAGE_SWITCH = re.compile(r"\([a-z]{2,3}(-[A-Za-z0-9-]+)?\)")
_LONG_ABBREVIATION = re.compile(r"(?:\w\.){8,}")
_LONG_WORD = re.compile(r"(\S{80})(?=\S)")
_LAST_MARK = re.compile(rf"([{MARKS}])[^\w]*$")
_LAST_MARK_BEFORE_NEXT_CLAUSE = re.compile(rf"([{MARKS}])[^\w]*\w{{0,2}}$")
# For phones without an IPA name espeak-ng writes Kirshenbaum's ASCII. It is turned into IPA, since it includes MARKS.
_KIRSHENBAUM = {".": "\u0323", ":": "ː", "?": "ʔ", "[": "\u032a", '"': "\u0308", "^": "ʲ", "`": "ʼ"}
_KIRSHENBAUM_TO_IPA = str.maketrans(_KIRSHENBAUM | dict.fromkeys("!#$%&'()*+,-/;<=>@\\]_{|}~", ""))


@dataclass(frozen=True)
class TimedLabel:
    """A phone (in IPA) or word with its start and end in the audio."""

    label: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Speech:
    """Synthesized speech: int16 mono samples [n], phones and words in order; pauses belong to none of them."""

    audio: np.ndarray
    sampling_rate: int
    phones: list[TimedLabel]
    words: list[TimedLabel]


def languages() -> tuple[str, ...]:
    """Return the tags of the languages that espeak-ng can speak, in lower case."""
    with _lock:
        return tuple(_engine().voices)


def require_supported(language: str) -> str:
    """Return a language tag such as `en-US` in lower case; raise `UserError` if espeak-ng has no voice for it."""
    tag, supported = language.lower(), languages()
    if tag not in supported:
        nearest = ", ".join(difflib.get_close_matches(tag, supported, n=3, cutoff=0.0))
        raise UserError(f"language {language!r}: espeak-ng has no voice for it; the nearest are {nearest}")
    return tag


def phonemize(text: str, language: str) -> str:
    """Return IPA with stress and length marks and one space between words; `.,!?;:` are kept where they end a clause.

    The other characters equal the joined labels of `synthesize`'s phones, except for three things that only one of
    the two reports: the stress that speech puts on the last word of a clause without any, a length mark that a
    dictionary adds to a phone, and the digits of tones. In both, words that espeak-ng joins (`of the`) are one word.
    """
    tag = require_supported(language)
    with _lock:
        _engine().select_voice(tag)
        clauses = _engine().phonemize(_harmless(text))
    words: list[str] = []
    for index, (ipa, clause) in enumerate(clauses):
        pattern = _LAST_MARK if index == len(clauses) - 1 else _LAST_MARK_BEFORE_NEXT_CLAUSE
        mark = pattern.search(clause)
        clause_words = _clean_ipa(ipa).split()
        words += clause_words[:-1] + [last + (mark[1] if mark else "") for last in clause_words[-1:]]
    return " ".join(words)


def mnemonics_to_ipa(mnemonics: str, language: str) -> str:
    """Return the IPA of phonemes in espeak-ng's own ASCII notation, such as `h@l'oU`."""
    tag = require_supported(language)
    with _lock:
        _engine().select_voice(tag)
        clauses = _engine().phonemize_mnemonics(_harmless(mnemonics).replace("]", ""))
    return " ".join(_clean_ipa(ipa).strip() for ipa, _ in clauses).strip()


def synthesize(text: str, language: str) -> Speech:
    """Synthesize speech with the times of its phones and words.

    The small variations of the pitch continue from call to call, so only a new process gives the same samples again.
    """
    tag, text = require_supported(language), _harmless(text)
    with _lock:
        engine = _engine()
        engine.select_voice(tag)
        audio, events = engine.synthesize(text)
    phones = _find_phones(audio, events)
    return Speech(
        audio=audio,
        sampling_rate=engine.sampling_rate,
        phones=[phone.in_seconds(engine.sampling_rate) for phone in phones],
        words=[word.in_seconds(engine.sampling_rate) for word in _find_words(text, events, phones)],
    )


def _harmless(text: str) -> str:
    """Text without what makes espeak-ng do something else than read, or crash.

    It executes some control characters as commands, takes what follows [[ for phonemes, and overruns its buffers in
    words of some hundred characters.
    """
    text = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    text = _LONG_ABBREVIATION.sub(lambda match: match[0].replace(".", ". "), text)
    return _LONG_WORD.sub(r"\1 ", text.replace("[[", " ").replace("]]", " "))


def _clean_ipa(ipa: str) -> str:
    return _LANGUAGE_SWITCH.sub("", ipa).translate(_KIRSHENBAUM_TO_IPA)


@dataclass(frozen=True)
class _Span:
    """A phone or word with its start and end in samples and the index of its event."""

    label: str
    start: int
    end: int
    event_index: int

    def in_seconds(self, sampling_rate: int) -> TimedLabel:
        return TimedLabel(self.label, self.start / sampling_rate, self.end / sampling_rate)


def _find_phones(audio: np.ndarray, events: list[Event]) -> list[_Span]:
    """Return the phones; each ends at the next phone or pause.

    A phoneme event without a label is a pause if it is silent, else the onset of the next phone. espeak-ng reports a
    plosive at its burst; the silence before it, the closure, is moved from the phone before to the plosive.
    """
    indices = [index for index, event in enumerate(events) if event.kind == EVENT_PHONEME]
    ends = [events[index].sample for index in indices[1:]] + [len(audio)]
    phones: list[_Span] = []
    onset: int | None = None
    for index, end in zip(indices, ends, strict=True):
        label, start = _clean_ipa(events[index].label), events[index].sample
        if not label:
            onset = start if audio[start:end].any() else onset
            continue
        start, onset = (start if onset is None else onset), None
        if phones and phones[-1].end == start:
            start = _closure_start(audio, phones[-1].start, start)
            phones[-1] = replace(phones[-1], end=start)
        phones.append(_Span(label, start, end, index))
    return phones


def _closure_start(audio: np.ndarray, earliest: int, start: int) -> int:
    """Return the first sample of the digital silence before `start`; `start` if all from `earliest` on is silent."""
    nonzero = np.flatnonzero(audio[earliest:start])
    return earliest + int(nonzero[-1]) + 1 if len(nonzero) else start


def _find_words(text: str, events: list[Event], phones: list[_Span]) -> list[_Span]:
    """Return the words that have phones, from the first phone to the last; a number is one word however it is read."""
    indices: list[int] = []
    for index, event in enumerate(events):
        if event.kind == EVENT_WORD and (not indices or event.text_start >= _text_end(events[indices[-1]])):
            indices.append(index)
    words = []
    for index, next_index in zip(indices, indices[1:] + [len(events)], strict=False):
        word_phones = [phone for phone in phones if index < phone.event_index < next_index]
        text_end = events[next_index].text_start if next_index < len(events) else len(text)
        word_text = text[events[index].text_start : text_end]
        label = re.sub(r"^\W+|\W+$", "", word_text) or word_text.strip()
        if word_phones:
            words.append(_Span(label, word_phones[0].start, word_phones[-1].end, index))
    return words


def _text_end(event: Event) -> int:
    return event.text_start + event.text_length


@functools.cache
def _engine() -> Engine:
    return Engine()


_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child forked while another thread holds the lock would wait forever
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
