"""German normalisation: dates, times, ordinals, years, units, abbreviations and signs become words.

Plain numbers stay: espeak-ng reads them.
"""

from __future__ import annotations

import re

from corpus.text.german.abbreviations import ABBREVIATION_RULES, LETTER_RULES, final_dot
from corpus.text.german.amounts import AMOUNT_RULES
from corpus.text.german.dates import DATES, ORDINALS, TIMES, YEARS
from corpus.text.german.numbers import ordinal
from corpus.text.replacement_rules import (
    Rules,
    apply_rules,
    number_sign_rules,
    roman_value,
    sign_rules,
    tidy_punctuation,
)

_KINGS = "Karl|Friedrich|Wilhelm|Heinrich|Ludwig|Otto|Franz|Josef|Leopold|Ferdinand|Rudolf|Philipp|Georg|Napoleon"
_KINGS += "|Paul|Pius|Benedikt|Gregor|Leo|Innozenz|Johannes|Alexander|Nikolaus|Peter|August|Maximilian|Konrad"
_QUEENS = "Katharina|Elisabeth|Elizabeth|Maria|Margarethe"


def normalize(text: str) -> str:
    """Return words, plain numbers and punctuation for cleaned text."""
    return tidy_punctuation(apply_rules(_RULES, tidy_punctuation(text)))


def _regnal_words(match: re.Match[str]) -> str:
    """Words of Friedrich II."""
    value = roman_value(match[2])
    article = "die" if match[1] in _QUEENS.split("|") else "der"
    if value is None:
        return match[0]
    dot = final_dot(match) if match[0].endswith(".") else ""
    return f"{match[1]} {article} {ordinal(value, 'e').capitalize()}{dot}"


_RULES: Rules = (
    *DATES,
    *TIMES,
    *number_sign_rules(about="ungefähr", number="Nummer", hashtag="Hashtag", section="Paragraf"),
    *ABBREVIATION_RULES,
    (re.compile(rf"\b({_KINGS}|{_QUEENS}) ([IVX]+)\b\.?"), _regnal_words),
    *AMOUNT_RULES,
    *ORDINALS,
    *YEARS,
    *LETTER_RULES,
    (re.compile(r"(?<=[^\W\d_])/(?=[^\W\d_])"), " "),
    *sign_rules({"&": "und", "+": "plus", "@": "at", "=": "gleich", "×": "mal", "÷": "geteilt durch"}),
    *sign_rules(
        {
            "€": "Euro",
            "$": "Dollar",
            "£": "Pfund",
            "%": "Prozent",
            "°": "Grad",
            "±": "plus minus",
            "−": "minus",
            "<": "kleiner als",
            ">": "größer als",
        }
    ),
)
