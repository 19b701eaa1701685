"""Replacement rules of normalisation, and the parts that the English and Russian rules share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

Replacement = str | Callable[[re.Match[str]], str]
Rule = tuple[re.Pattern[str], Replacement]
Rules = Sequence[Rule]

MAX_NUMBER_DIGITS = 15  # longer numbers are read digit by digit
CLOCK_TIME = r"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])"
DOT_IN_VERSION = re.compile(r"(?<=\d)\.(?=\d+\.\d)|(?<=\d\.\d)\.(?=\d)")
SEPARATE_LETTERS_FROM_DIGITS: Rule = (re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"), " ")
WRITE_OUT_FRACTION_SIGN: Rule = (  # ½ → 1/2
    re.compile("[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]"),
    lambda match: " " + unicodedata.normalize("NFKD", match[0]).replace("⁄", "/"),
)


def parse_table(entries: str) -> dict[str, str]:
    """Return the dictionary that is written as `km=kilometer, m=meter`."""
    pairs = (entry.split("=", maxsplit=1) for entry in entries.split(","))
    return {key.strip(): value.strip() for key, value in pairs}


def is_read_by_digit(digits: str) -> bool:
    """Whether a whole number is read digit by digit: it is long, or begins with a zero."""
    return len(digits) > MAX_NUMBER_DIGITS or (len(digits) > 1 and digits[0] == "0")


def alternatives(words: Iterable[str]) -> str:
    """Return a pattern that matches any of the words, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def look_up(table: Mapping[str, str], *, end: str = "") -> Replacement:
    """Return a replacement that finds the first group, in lower case, in a table and adds `end`."""
    return lambda match: table[match[1].lower()] + end


def number_sign_rules(*, about: str, number: str, hashtag: str, section: str) -> Rules:
    """Return rules for ~, № or # before a number, # before a word, and §."""
    return (
        (re.compile(r"~\s*(?=\d)"), f"{about} "),
        (re.compile(r"№\s*|#\s*(?=\d)"), f" {number} "),
        (re.compile(r"#\s*"), f" {hashtag} "),
        (re.compile(r"§+\s*"), f" {section} "),
    )


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
