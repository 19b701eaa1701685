"""Unicode cleaning for every language, and what the English and the Russian rules share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

Replacement = str | Callable[[re.Match[str]], str]
Rules = Sequence[tuple[re.Pattern[str], Replacement]]

_SPELLINGS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛ʼʹ′`´＇", "'"),
        **dict.fromkeys("“”„‟«»″〝〞〟「」『』＂", '"'),
        **dict.fromkeys("‐‑\u00ad", "-"),
        **dict.fromkeys("‒–—―", "—"),
        **{"‹": '"', "›": '"', "…": "...", "。": ". ", "．": ".", "，": ", ", "、": ", ", "！": "! ", "？": "? "},
        **{"：": ": ", "；": "; ", "（": " (", "）": ") ", "،": ",", "؛": ";", "؟": "?", "।": "."},
    }
)
_SOFT_HYPHEN = "\u00ad"
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"
# The joiners shape Arabic and Indic words; everywhere else they are invisible clutter.
_STRAY_JOINER = re.compile("(?<![\u0600-\u0dff])[\u200c\u200d]")
_VARIATION_SELECTOR = re.compile("[\ufe00-\ufe0f]")
_DASH_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s*—\s*(?=\d)")
_DASH = re.compile(r"\s*—\s*")


def clean(text: str) -> str:
    """NFC text with plain quotes, hyphens, dashes (` - `) and single spaces, without invisible characters."""
    text = unicodedata.normalize("NFC", text.replace(_SOFT_HYPHEN, "")).translate(_SPELLINGS)
    text = _VARIATION_SELECTOR.sub("", _STRAY_JOINER.sub("", text))
    text = "".join(map(_visible, text))
    text = _DASH.sub(" - ", _DASH_BETWEEN_DIGITS.sub("-", text))
    return " ".join(text.split())


def _visible(character: str) -> str:
    """The character, a space for a control character, nothing for an invisible one."""
    category = unicodedata.category(character)
    if category in ("Cc", "Zs", "Zl", "Zp"):
        return " "
    if category == "Cs":
        return _UNREADABLE
    return "" if category == "Cf" and character not in "\u200c\u200d" else character


def table(entries: str) -> dict[str, str]:
    """The dictionary written as `km=kilometer, m=meter`."""
    pairs = (entry.split("=", maxsplit=1) for entry in entries.split(","))
    return {name.strip(): meaning.strip() for name, meaning in pairs}


def sign_rules(words: dict[str, str]) -> Rules:
    """A rule for each sign: its words between spaces."""
    return tuple((re.compile(rf"\s*{re.escape(sign)}\s*"), f" {spoken} ") for sign, spoken in words.items())


def apply_rules(rules: Rules, text: str) -> str:
    """The text after each rule in turn replaced all that it matches."""
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


_SENTENCE_END = re.compile(r"[)'\"]*(\s*$|\s+[(\"']*[A-ZА-ЯЁ])")


def final_dot(match: re.Match[str]) -> str:
    """A full stop where the match, an abbreviation with its dot, also ended the sentence; else nothing."""
    return "." if _SENTENCE_END.match(match.string, match.end()) else ""


def spaced(match: re.Match[str]) -> str:
    """The letters of the match one by one."""
    return " ".join(re.findall(r"[^\W\d_]", match.group()))


PUNCTUATION_RULES: Rules = (
    (re.compile(r'"'), ""),  # quotation marks are not spoken
    (re.compile(r"[\[{]"), "("),
    (re.compile(r"[\]}]"), ")"),
    (re.compile(r"\s+"), " "),
    (re.compile(r"\s+(?=[,.:;?!)])"), ""),
    (re.compile(r"(?<=\()\s+"), ""),
    (re.compile(r"\(\)"), ""),
    (re.compile(r"([,:;!?])\1+"), r"\1"),
    (re.compile(r"\.{4,}"), "..."),
)


def tidy(text: str) -> str:
    """Text whose punctuation is that of the symbol sets, with no space before it."""
    return apply_rules(PUNCTUATION_RULES, text).strip()


_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_ROMAN = re.compile("M{0,3}(C[MD]|D?C{0,3})(X[CL]|L?X{0,3})(I[XV]|V?I{0,3})")


def roman_value(numeral: str) -> int | None:
    """XIX → 19; None for what is no Roman numeral, such as IIX."""
    if not _ROMAN.fullmatch(numeral) or not numeral:
        return None
    values = [_ROMAN_DIGITS[letter] for letter in numeral]
    return sum(-value if value < max(values[place:]) else value for place, value in enumerate(values))
