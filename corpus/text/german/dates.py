"""German dates, times of day and ordinal numbers in words."""

from __future__ import annotations

import re

from corpus.text.german.numbers import ordinal, year
from corpus.text.replacement_rules import Rules

_MONTH_NAMES = "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
_MONTHS = _MONTH_NAMES.split("|")
_MONTH_ABBREVIATIONS = {name: month for month in _MONTHS for name in (month[:3], month[:4]) if name != month}
_PREPOSITIONS = "in|an|auf|aus|bei|mit|nach|von|zu|seit|ab|unter|über|vor|während|wegen|trotz|pro"
_DATIVE = "am|im|vom|zum|zur|beim|ans|ins|dem|den|des|einem|einen|einer|eines|diesem|diesen|dieses|jedem|jeden|seinem"
_DATIVE += "|seinen|ihrem|ihren|meinem|meinen|unserem|unseren|bis|ab|seit|alle|und|oder"
_BEFORE = re.compile(
    rf"(?:(?P<weak>\b(?:{_DATIVE})|\b(?:{_PREPOSITIONS}) der)|(?P<article>\b(?:der|die|das|jede)))\s+$", re.I
)


def _ordinal_before(match: re.Match[str], number: int) -> str:
    """The number with the ending that the word before it asks for: am dritten, der dritte, dritter."""
    before = _BEFORE.search(match.string, 0, match.start())
    if before is None:
        return ordinal(number, "er")
    return ordinal(number, "en" if before["weak"] else "e")


def _date_words(match: re.Match[str]) -> str:
    """Words of 24.12.2023, am 24.12., 2023-12-24."""
    day, month = int(match["day"]), int(match["month"])
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return match[0]
    words = f"{_ordinal_before(match, day)} {_MONTHS[month - 1]}"
    return f"{words} {_year_words(match['year'])}" if match["year"] else words


def _year_words(digits: str) -> str:
    return year(int(digits)) if len(digits) == 4 else digits


def _month_name(match: re.Match[str]) -> str:
    return f"{match[1]} {_MONTH_ABBREVIATIONS[match[2]]}"


def _ordinal_words(match: re.Match[str]) -> str:
    """Words of am 3. Tag, 3. Oktober, 1. FC; elsewhere the dot before a capital letter may end a sentence."""
    is_first = not match.string[: match.start()].strip()
    if is_first or match["goes_on"] or _BEFORE.search(match.string, 0, match.start()):
        return _ordinal_before(match, int(match[1]))
    return match[0]


def _time_words(match: re.Match[str]) -> str:
    """Words of 8:30 Uhr, 8.05 Uhr, 20:15."""
    hour, minute = int(match[1]), int(match[2])
    return f"{hour} Uhr {minute}" if minute else f"{hour} Uhr"


_CLOCK_TIME = r"(?<![\d:.,])([01]?\d|2[0-4])[:.]([0-5]\d)(?![\d:])"
DATES: Rules = (
    (re.compile(r"(?<![\d-])(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?![\d-])"), _date_words),
    (
        re.compile(r"(?<![\d.])(?P<day>\d{1,2})\. ?(?P<month>\d{1,2})\.(?: ?(?P<year>\d{4}|\d{2}))?(?![\d.])"),
        _date_words,
    ),
    (re.compile(rf"(\d\.) ?({'|'.join(_MONTH_ABBREVIATIONS)})\b\.?"), _month_name),
)
TIMES: Rules = (
    (re.compile(rf"{_CLOCK_TIME}(?= ?(?:bis|und|oder|-) ?[\d.:]+ ?Uhr\b)"), _time_words),
    (re.compile(rf"{_CLOCK_TIME} ?Uhr\b"), _time_words),
    (re.compile(_CLOCK_TIME.replace("[:.]", ":")), _time_words),
)
ORDINALS: Rules = (
    (
        re.compile(rf"(?<![\d.,])([1-9]\d{{0,2}})\.(?= ?(?:(?P<goes_on>{_MONTH_NAMES}|[a-zäöüß])|[^\W\d_]))"),
        _ordinal_words,
    ),
)
YEARS: Rules = (
    (re.compile(r"(?<![\d.,-])(1[1-9]\d\d)(?=(?:er|ern)?\b)(?![.,]?\d)"), lambda match: year(int(match[1]))),
)
