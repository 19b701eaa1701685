"""The door to espeak-ng: text → IPA, and text → speech with the place of every phone and word in the audio."""

from __future__ import annotations

import difflib
import functools
import os
import re
import threading
import unicodedata
from dataclasses import dataclass

import numpy as np

from corpus.text.espeak_library import EVENT_PHONEME, EVENT_WORD, Engine, Event
from hparams import UserError

MARKS = ".,!?;:"

_LANGUAGE_SWITCH = re.compile(r"\([a-z]{2,3}(-[A-Za-z0-9-]+)?\)")
_LAST_MARK = re.compile(rf"([{MARKS}])[^\w]*$")
_LAST_MARK_BEFORE_NEXT_CLAUSE = re.compile(rf"([{MARKS}])[^\w]*\w{{0,2}}$")
# Where espeak-ng lacks an IPA name it leaves Kirshenbaum's ASCII; among it are the marks, so it becomes IPA here.
_KIRSHENBAUM = {".": "\u0323", ":": "ː", "?": "ʔ", "[": "\u032a", '"': "\u0308", "^": "ʲ", "`": "ʼ"}
_KIRSHENBAUM_TO_IPA = str.maketrans(_KIRSHENBAUM | dict.fromkeys("!#$%&'()*+,-/;<=>@\\]_{|}~", ""))


@dataclass(frozen=True)
class TimedLabel:
    """A phone (in IPA) or a word and its place in the audio."""

    label: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Speech:
    """What espeak-ng spoke: int16 mono samples [n]; phones and words in their order, pauses belong to none."""

    audio: np.ndarray
    sampling_rate: int
    phones: list[TimedLabel]
    words: list[TimedLabel]


def languages() -> tuple[str, ...]:
    """The language tags that espeak-ng can read and speak, in lower case."""
    with _lock:
        return tuple(_engine().voices)


def is_supported(language: str) -> bool:
    """Whether espeak-ng can read and speak the language, a tag as `en-us` or `ru` (case is ignored)."""
    return language.lower() in languages()


def require_supported(language: str) -> str:
    """The tag in lower case; an unknown one is a user's error that names the nearest."""
    tag, known = language.lower(), languages()
    if tag not in known:
        near = ", ".join(difflib.get_close_matches(tag, known, n=3, cutoff=0.0))
        raise UserError(f"language {language!r}: espeak-ng has no voice for it; the nearest it has are {near}")
    return tag


def phonemize(text: str, language: str) -> str:
    """IPA with stress and length marks, one space between words; `.,!?;:` stay where they end a clause.

    The rest are the labels of `speak`'s phones in a row, but for three things that only one of the two tells: the
    stress that speech puts on the last word of a clause without any, a length mark that a dictionary adds to a
    phone, and the digits of tones. Words that espeak-ng runs together (`of the`) are one word here and there.
    """
    tag = require_supported(language)
    with _lock:
        _engine().use(tag)
        clauses = _engine().phonemize(_speakable(text))
    words: list[str] = []
    for index, (raw, read) in enumerate(clauses):
        pattern = _LAST_MARK if index == len(clauses) - 1 else _LAST_MARK_BEFORE_NEXT_CLAUSE
        mark = pattern.search(read)
        spoken = _ipa(raw).split()
        words += spoken[:-1] + [last + (mark[1] if mark else "") for last in spoken[-1:]]
    return " ".join(words)


def synthesize(text: str, language: str) -> Speech:
    """Speak the text; the flutter of the pitch runs on from call to call, so only a fresh process repeats a sample."""
    tag, text = require_supported(language), _speakable(text)
    with _lock:
        engine = _engine()
        engine.use(tag)
        audio, events = engine.synthesize(text)
    phones = _find_phones(audio, events)
    return Speech(
        audio=audio,
        sampling_rate=engine.sampling_rate,
        phones=[phone.timed(engine.sampling_rate) for phone in phones],
        words=[word.timed(engine.sampling_rate) for word in _find_words(text, events, phones)],
    )


def _speakable(text: str) -> str:
    """The text without control characters: espeak-ng takes some of them for commands."""
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)


def _ipa(raw: str) -> str:
    return _LANGUAGE_SWITCH.sub("", raw).translate(_KIRSHENBAUM_TO_IPA)


@dataclass(frozen=True)
class _Span:
    """A labelled stretch of samples; `place` is that of its event among all events."""

    label: str
    start: int
    end: int
    place: int

    def timed(self, sampling_rate: int) -> TimedLabel:
        return TimedLabel(self.label, self.start / sampling_rate, self.end / sampling_rate)


def _find_phones(audio: np.ndarray, events: list[Event]) -> list[_Span]:
    """The phones, each until the next one or a pause.

    What espeak-ng reports without a label is a pause if it is silent, else the onset of the next phone. A plosive is
    reported at its burst: the silence before it is its closure and is moved to it.
    """
    places = [place for place, event in enumerate(events) if event.kind == EVENT_PHONEME]
    ends = [events[place].sample for place in places[1:]] + [len(audio)]
    phones: list[_Span] = []
    onset: int | None = None
    for place, end in zip(places, ends, strict=True):
        label, start = _ipa(events[place].label), events[place].sample
        if not label:
            onset = start if audio[start:end].any() else onset
            continue
        start, onset = (start if onset is None else onset), None
        if phones and phones[-1].end == start:
            start = _closure_start(audio, phones[-1].start, start)
            phones[-1] = _Span(phones[-1].label, phones[-1].start, start, phones[-1].place)
        phones.append(_Span(label, start, end, place))
    return phones


def _closure_start(audio: np.ndarray, earliest: int, start: int) -> int:
    """Where the digital silence before `start` begins; `start` itself if all since `earliest` is silent."""
    sounding = np.flatnonzero(audio[earliest:start])
    return earliest + int(sounding[-1]) + 1 if len(sounding) else start


def _find_words(text: str, events: list[Event], phones: list[_Span]) -> list[_Span]:
    """The audible words, each from its first phone to its last; one number spoken in several words counts as one."""
    places: list[int] = []
    for place, event in enumerate(events):
        if event.kind == EVENT_WORD and (not places or event.text_start >= _text_end(events[places[-1]])):
            places.append(place)
    words = []
    for place, next_place in zip(places, places[1:] + [len(events)], strict=False):
        inside = [phone for phone in phones if place < phone.place < next_place]
        text_end = events[next_place].text_start if next_place < len(events) else len(text)
        written = text[events[place].text_start : text_end]
        label = re.sub(r"^\W+|\W+$", "", written) or written.strip()
        if inside:
            words.append(_Span(label, inside[0].start, inside[-1].end, place))
    return words


def _text_end(event: Event) -> int:
    return event.text_start + event.text_length


@functools.cache
def _engine() -> Engine:
    return Engine()


_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child forked while another thread speaks must not find the lock shut for good
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
