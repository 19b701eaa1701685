"""Unicode cleaning for every language, and the parts that the English and Russian rules share."""

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
# The joiners shape Arabic and Indic words; in other scripts they have no effect.
_STRAY_JOINER = re.compile("(?<![\u0600-\u0dff])[\u200c\u200d]")
_VARIATION_SELECTOR = re.compile("[\ufe00-\ufe0f]")
_DASH_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s*—\s*(?=\d)")
_DASH = re.compile(r"\s*—\s*")


def clean(text: str) -> str:
    """Return NFC text with plain quotes, hyphens, dashes (` - `) and single spaces, without invisible characters."""
    text = unicodedata.normalize("NFC", text.replace(_SOFT_HYPHEN, "")).translate(_SPELLINGS)
    text = _VARIATION_SELECTOR.sub("", _STRAY_JOINER.sub("", text))
    text = "".join(map(_visible, text))
    text = _DASH.sub(" - ", _DASH_BETWEEN_DIGITS.sub("-", text))
    return " ".join(text.split())


def _visible(character: str) -> str:
    """Return the character, a space for a control character, or nothing for an invisible one."""
    category = unicodedata.category(character)
    if category in ("Cc", "Zs", "Zl", "Zp"):
        return " "
    if category == "Cs":
        return _UNREADABLE
    return "" if category == "Cf" and character not in "\u200c\u200d" else character


def parse_table(entries: str) -> dict[str, str]:
    """Return the dictionary that is written as `km=kilometer, m=meter`."""
    pairs = (entry.split("=", maxsplit=1) for entry in entries.split(","))
    return {key.strip(): value.strip() for key, value in pairs}


def sign_rules(names: dict[str, str]) -> Rules:
    """Return a rule for each sign that replaces it by its name between spaces."""
    return tuple((re.compile(rf"\s*{re.escape(sign)}\s*"), f" {name} ") for sign, name in names.items())


def apply_rules(rules: Rules, text: str) -> str:
    """Apply each rule in turn to all of its matches."""
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


_SENTENCE_END = re.compile(r"[)'\"]*(\s*$|\s+[(\"']*[A-ZА-ЯЁ])")


def final_dot(match: re.Match[str]) -> str:
    """Return a full stop if the dot of the matched abbreviation also ends the sentence; else nothing."""
    return "." if _SENTENCE_END.match(match.string, match.end()) else ""


def separate_letters(match: re.Match[str]) -> str:
    """Return the letters of the match, separated by spaces."""
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


def tidy_punctuation(text: str) -> str:
    """Reduce punctuation to that of the symbol sets, without spaces before it."""
    return apply_rules(PUNCTUATION_RULES, text).strip()


_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_ROMAN = re.compile("M{0,3}(C[MD]|D?C{0,3})(X[CL]|L?X{0,3})(I[XV]|V?I{0,3})")


def roman_value(numeral: str) -> int | None:
    """Return the value of a Roman numeral (XIX → 19); `None` if it is malformed (IIX)."""
    if not _ROMAN.fullmatch(numeral) or not numeral:
        return None
    values = [_ROMAN_DIGITS[letter] for letter in numeral]
    return sum(-value if value < max(values[index:]) else value for index, value in enumerate(values))
