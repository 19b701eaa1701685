"""Symbol sets that voices read. The index of a symbol is its id, so the order must never change."""

from __future__ import annotations

import re
import string

PAD = "_"
STRESS = "\u0301"
"""Combining acute accent, placed after the stressed vowel of a Russian word."""


def _arpabet() -> list[str]:
    """Return CMUdict's 84 phones in its order: consonants, and each vowel without stress and with stress 0, 1, 2."""
    vowels = re.findall(r"\w+", "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW")
    consonants = re.findall(r"\w+", "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH")
    return sorted(consonants + [vowel + stress for vowel in vowels for stress in ("", "0", "1", "2")])


ENGLISH = (PAD, "-", *"!'(),.:;? ", *string.ascii_uppercase, *string.ascii_lowercase, *("@" + s for s in _arpabet()))
"""The 148 symbols of NVIDIA's Tacotron 2 in their order, so that its checkpoints load."""

RUSSIAN = (PAD, "-", *"!'(),.:;? ", *"абвгдеёжзийклмнопрстуфхцчшщъыьэюя", STRESS)

# All characters that espeak-ng writes in its 137 languages, including mnemonics that it does not turn into IPA.
_MARKS = "-!'(),.:;? \"#+[]^`"
_LATIN = string.ascii_lowercase + "AKNSXZ" + "æçðøħŋœäëõĩũ"
_IPA_EXTENSIONS = "".join(map(chr, range(0x250, 0x2B0)))
_GREEK = "βεθχΦ"
_MODIFIERS = "ˈˌːˑʰʲʷʼˠˤ˞ᵐᵑⁿᵝᵻˡ"
_COMBINING = "".join(
    map(chr, (0x303, 0x306, 0x308, 0x30A, 0x30B, 0x31A, 0x31D, 0x31E, 0x31F, 0x320, 0x323, 0x324, 0x325, 0x329, 0x32A))
) + "".join(map(chr, (0x32C, 0x32F, 0x330, 0x339, 0x33A, 0x33B, 0x33C, 0x35C, 0x361)))
_TONES = string.digits + "˥˦˧˨˩↓↑"

PHONEMES = (PAD, *_MARKS, *_LATIN, *_IPA_EXTENSIONS, *_GREEK, *_MODIFIERS, *_COMBINING, *_TONES)
"""One set for all languages, so that a voice can be warm-started from a voice of another language."""
