"""ctypes binding of the espeak-ng shared library; the program uses it only through `corpus.text.espeak`."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np

# The constants of espeak-ng's speak_lib.h
EVENT_WORD, EVENT_PHONEME = 1, 7
_EVENT_LIST_TERMINATED = 0
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS, _INITIALIZE_PHONEME_IPA, _INITIALIZE_DONT_EXIT = 1, 2, 0x8000
_CHARS_UTF8, _PHONEMES_IPA, _PHONEME_INPUT = 1, 2, 0x100
_PARAMETER_RATE, _DEFAULT_VALUE = 1, 0


@dataclass(frozen=True)
class Event:
    """Event of espeak-ng: a phoneme has a `label` (IPA), a word has `text_start` and `text_length` (characters)."""

    kind: int
    sample: int
    text_start: int
    text_length: int
    label: str


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _NativeEvent(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


class _NativeVoice(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("padding", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_NativeEvent))


class Engine:
    """The initialised library. Its state is global: at most one per process, used by one thread at a time."""

    def __init__(self) -> None:
        self._data_path = Path(espeakng_loader.get_data_path())
        self._library = _load_library()
        options = _INITIALIZE_PHONEME_EVENTS | _INITIALIZE_PHONEME_IPA | _INITIALIZE_DONT_EXIT
        self.sampling_rate: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(self._data_path), options
        )
        if self.sampling_rate <= 0:
            raise RuntimeError(f"espeak-ng did not start with its data in {self._data_path}")
        self.voices = self._find_voices()
        self._language: str | None = None
        self._has_phonemized = False
        self._audio: list[np.ndarray] = []
        self._events: list[Event] = []
        self._callback = _Callback(self._collect)  # a reference, since the library stores only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def select_voice(self, language: str) -> None:
        """Switch to the voice of a language, a key of `voices`."""
        if language == self._language:
            return
        self._language = None
        if self._library.espeak_SetVoiceByName(os.fsencode(self.voices[language])) != 0:
            raise RuntimeError(f"espeak-ng lists the voice {self.voices[language]!r} but cannot load it")
        # Some voices change the speed of the voice selected next; setting the rate recomputes all lengths.
        rate = self._library.espeak_GetParameter(_PARAMETER_RATE, _DEFAULT_VALUE)
        self._library.espeak_SetParameter(_PARAMETER_RATE, rate, 0)
        self._language = language

    def synthesize(self, text: str) -> tuple[np.ndarray, list[Event]]:
        """Return int16 samples [n] and the events in order."""
        if self._has_phonemized:  # the first speech after long phonemizing may miss the labels of its first phonemes
            self._has_phonemized = False
            self.synthesize("a")
        self._audio, self._events = [np.zeros(0, dtype=np.int16)], []
        encoded = text.encode()
        status = self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        if status != 0:
            raise RuntimeError(f"espeak-ng could not synthesize {text!r} (status {status})")
        return np.concatenate(self._audio), self._events

    def phonemize_mnemonics(self, mnemonics: str) -> list[tuple[str, str]]:
        """Return the IPA of phonemes in espeak-ng's ASCII notation."""
        # the library reads [[ ]] as phonemes only after it has spoken with that flag
        silent = b" "
        self._library.espeak_Synth(silent, len(silent) + 1, 0, 1, 0, _CHARS_UTF8 | _PHONEME_INPUT, None, None)
        return self.phonemize(f"[[{mnemonics}]]")

    def phonemize(self, text: str) -> list[tuple[str, str]]:
        """Return the IPA and the text of each clause; the text extends some characters into the next clause."""
        self._has_phonemized = True
        buffer = ctypes.create_string_buffer(text.encode())
        address = ctypes.addressof(buffer)
        position = ctypes.c_void_p(address)
        clauses = []
        while position.value is not None:
            start = position.value - address
            ipa = self._library.espeak_TextToPhonemes(ctypes.byref(position), _CHARS_UTF8, _PHONEMES_IPA)
            end = len(buffer.value) if position.value is None else position.value - address
            clauses.append((ipa.decode(), buffer.value[start:end].decode(errors="ignore")))
        return clauses

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if count > 0:
            self._audio.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        index = 0
        while events[index].type != _EVENT_LIST_TERMINATED:
            self._events.append(_read_event(events[index]))
            index += 1
        return 0

    def _find_voices(self) -> dict[str, str]:
        """Map each language tag in lower case to the identifier of the voice with the highest priority for it."""
        best: dict[str, tuple[int, str]] = {}
        voices = self._library.espeak_ListVoices(None)
        index = 0
        while voices[index]:
            voice = voices[index].contents
            identifier = os.fsdecode(voice.identifier)
            if self._has_dictionary(identifier):
                for priority, tag in _parse_languages(voice.languages):
                    best[tag] = min((priority, identifier), best.get(tag, (priority, identifier)))
            index += 1
        return {tag: identifier for tag, (_, identifier) in sorted(best.items())}

    def _has_dictionary(self, identifier: str) -> bool:
        """Whether the voice can read text: the package has some voices without their dictionary."""
        voice_file = self._data_path / "lang" / identifier
        settings = [line.split() for line in voice_file.read_text(encoding="utf-8").splitlines()]
        names = [words[1] for words in settings if len(words) > 1 and words[0] == "dictionary"]
        name = names[0] if names else voice_file.name.split("-")[0]
        return (self._data_path / f"{name}_dict").is_file()


def _load_library() -> ctypes.CDLL:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_NativeVoice))
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    return library


def _read_event(native: _NativeEvent) -> Event:
    is_phoneme = native.type == EVENT_PHONEME
    label = native.id.string.decode(errors="ignore") if is_phoneme else ""  # espeak-ng cuts labels to 8 bytes
    return Event(native.type, native.sample, native.text_position - 1, native.length, label)


def _parse_languages(address: int) -> Iterator[tuple[int, str]]:
    """Yield the priorities and tags of a voice, stored as a byte and a C string each, until a zero byte."""
    while priority := ctypes.string_at(address, 1)[0]:
        tag = ctypes.string_at(address + 1)
        yield priority, tag.decode().lower()
        address += len(tag) + 2
