"""English normalisation: numbers, dates, money, units, abbreviations and signs become words."""

from __future__ import annotations

import re
import unicodedata

from corpus.text.english.abbreviations import ABBREVIATION_RULES, LETTER_RULES
from corpus.text.english.amounts import AMOUNT_RULES, CURRENCIES
from corpus.text.english.dates import DAY_FIRST_DATES, MONTH_FIRST_DATES, TIMES
from corpus.text.english.numbers import NUMBER, cardinal, digit_words, number_words, ordinal, year
from corpus.text.replacement_rules import (
    DOT_IN_VERSION,
    MAX_NUMBER_DIGITS,
    SEPARATE_LETTERS_FROM_DIGITS,
    Rules,
    apply_rules,
    number_sign_rules,
    roman_value,
    sign_rules,
    tidy_punctuation,
)


def normalize(text: str, *, day_first: bool) -> str:
    """Return words and punctuation for cleaned text; with `day_first`, 12/05 is the 12th of May."""
    text = text.replace("\u200c", "").replace("\u200d", "")
    dates = DAY_FIRST_DATES if day_first else MONTH_FIRST_DATES
    return tidy_punctuation(apply_rules((*_WEB, *dates, *_RULES), tidy_punctuation(text)))


def fold_to_ascii(text: str) -> str:
    """Remove the accents of each letter that becomes ASCII by it (é → e, æ → ae); keep all other characters."""
    return "".join(map(_fold, text))


_LIGATURES = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ı": "i"}
)


def _fold(character: str) -> str:
    category = unicodedata.category(character)
    if character.isascii() or category[0] not in "LM":
        return character
    decomposed = unicodedata.normalize("NFKD", character.lower().translate(_LIGATURES))
    folded = "".join(part for part in decomposed if not unicodedata.combining(part))
    if not folded.isascii():
        return character
    return folded.capitalize() if category == "Lu" else folded


# Roman numerals

_MONARCHS = (
    "Henry|Elizabeth|Edward|George|William|Charles|James|Richard|Louis|Philip|Napoleon|Nicholas|Peter|Catherine|"
    "Alexander|Ivan|Frederick|Ptolemy|Ramesses|Pius|Benedict|Clement|Innocent|Gregory|Leo|Paul|Francis|Mary|Ferdinand|"
    "Constantine|Darius|Xerxes|Otto|Wilhelm|Victoria|Harald|Urban|Boniface|Julius"
)
_NUMBERED = "Chapter|Part|Volume|Book|Act|Scene|Section|Phase|Type|Class|Title|Appendix|Figure|Table|Article|War|Level"
# Before anything else, an I after the name of a monarch is the pronoun: Mary I think.
_AFTER_REGNAL_I = r"(?= (?:of|was|and|had|who|died|is|in|as)\b|[,;:?!)']|\.?$|\.\s*$)"
_LONG_NUMERAL = r"[IVX]{2,}\b"


def _regnal_words(match: re.Match[str]) -> str:
    """Words of Henry VIII."""
    value = roman_value(match[2])
    return f"{match[1]} the {ordinal(value)}" if value else match[0]


def _numbered_words(match: re.Match[str]) -> str:
    """Words of Chapter IV."""
    value = roman_value(match[2])
    return f"{match[1]} {cardinal(value)}" if value else match[0]


_ROMAN_NUMERALS: Rules = (
    (re.compile(rf"\b({_MONARCHS}) ({_LONG_NUMERAL}|I\b{_AFTER_REGNAL_I}|[VX]\b(?!\. [A-Z]))"), _regnal_words),
    (re.compile(rf"\b({_NUMBERED}) ([IVXLC]+)\b(?!')"), _numbered_words),
    (re.compile(rf"\b((?i:{_NUMBERED})|[A-Z][a-z]+) ({_LONG_NUMERAL})(?!')"), _numbered_words),
)


# Plain numbers, and signs


def _ordinal_words(match: re.Match[str]) -> str:
    digits = match[1].replace(",", "")
    return ordinal(int(digits)) if len(digits) <= MAX_NUMBER_DIGITS else digit_words(digits) + "th"


def _phone_words(match: re.Match[str]) -> str:
    groups = re.findall(r"\d+", match[0])
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(digit_words(group) for group in groups)


_NUMBERS: Rules = (
    (re.compile(r"(\d[\d,]*)(?:st|nd|rd|th)\b", re.IGNORECASE), _ordinal_words),
    (re.compile(r"(\d)(?:[xX×]| [xX×] )(?=\d)"), r"\1 by "),
    (re.compile(r"(\d)[xX×](?!\w)"), r"\1 times"),
    SEPARATE_LETTERS_FROM_DIGITS,
    (DOT_IN_VERSION, " point "),
    (re.compile(r"(?<![\d.,])(1[1-9]\d\d|20\d\d)(?![\d]|[.,]\d)"), lambda m: year(int(m[1]))),
    (re.compile(rf"{NUMBER}|(?<!\d)\.\d+"), lambda m: number_words(m[0])),
)
_SIGNS: Rules = (
    (re.compile(r"\band\s?/\s?or\b", re.IGNORECASE), "and or"),
    *sign_rules(
        {"&": "and", "+": "plus", "@": "at", "=": "equals", "×": "times", "÷": "divided by", "±": "plus or minus"}
    ),
    *sign_rules({"−": "minus", "<": "less than", ">": "greater than", "%": "percent", "°": "degrees", "/": "slash"}),
    *sign_rules({sign: names[1] for sign, names in CURRENCIES.items()}),
    *sign_rules({"²": "squared", "³": "cubed"}),
)
_WEB: Rules = (
    (re.compile(r"\bhttps?://", re.IGNORECASE), ""),
    (re.compile(r"\bwww\.", re.IGNORECASE), "W W W dot "),
    (re.compile(r"(?<=[a-z0-9])\.(?=(?:com|org|net|edu|gov|io|ru|uk|de|html?)\b)"), " dot "),
    (re.compile(r"(?<![\w.])\+?(?:\d{1,2}[ -])?(?:\(\d{3}\) ?|\d{3}[ -])?\d{3}-\d{4}(?![\w-])"), _phone_words),
)
_RULES: Rules = (
    *TIMES,
    *number_sign_rules(about="about", number="number", hashtag="hashtag", section="section"),
    *ABBREVIATION_RULES,
    *AMOUNT_RULES,
    *_ROMAN_NUMERALS,
    *_NUMBERS,
    *LETTER_RULES,
    *_SIGNS,
)
