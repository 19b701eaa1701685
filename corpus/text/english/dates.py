"""English dates and times of day in words."""

from __future__ import annotations

import re

from corpus.text.cleaning import Rules, final_dot, table
from corpus.text.english.numbers import cardinal, ordinal, year_or_number

_MONTH_NAMES = "January|February|March|April|May|June|July|August|September|October|November|December"
_MONTHS = _MONTH_NAMES.split("|")
MONTH = _MONTH_NAMES + r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?"
_DAYS = table(
    "Mon=Monday, Tue=Tuesday, Tues=Tuesday, Wed=Wednesday, Thu=Thursday, Thurs=Thursday, Fri=Friday, Sat=Saturday, "
    "Sun=Sunday"
)


def _numeric_date(*, day: str, month: str, year_digits: str, otherwise: str) -> str:
    """December fifth, twenty twenty-one; `otherwise` where there is no such day."""
    day_number, month_number = int(day), int(month)
    if month_number > 12 and day_number <= 12:
        day_number, month_number = month_number, day_number
    if not (1 <= month_number <= 12 and 1 <= day_number <= 31):
        return otherwise
    return f"{_MONTHS[month_number - 1]} {ordinal(day_number)}, {year_or_number(year_digits)}"


def _month_first(match: re.Match[str]) -> str:
    return _numeric_date(month=match[1], day=match[2], year_digits=match[3], otherwise=match[0])


def _day_first(match: re.Match[str]) -> str:
    return _numeric_date(day=match[1], month=match[2], year_digits=match[3], otherwise=match[0])


def _iso_date(match: re.Match[str]) -> str:
    date = _numeric_date(year_digits=match[1], month=match[2], day=match[3], otherwise=match[0])
    return date + " " if match[0].endswith("T") else date


def month_name(name: str) -> str:
    return next(month for month in _MONTHS if month.startswith(name.rstrip(".")[:3]))


def _month_and_day(match: re.Match[str]) -> str:
    """May 5-7, 1984"""
    month, day, last_day, year_digits = match.groups()
    if int(day) > 31:
        return match[0]
    words = f"{month_name(month)} {ordinal(int(day))}"
    words += f" to {ordinal(int(last_day))}" if last_day else ""
    return words + (f", {year_or_number(year_digits)}" if year_digits else "")


def _day_and_month(match: re.Match[str]) -> str:
    """5 May 1984, the 5th of May"""
    the, day, of, month, year_digits = match.groups()
    if not 1 <= int(day) <= 31:
        return match[0]
    article = the or ("" if of else "the ")
    words = f"{article}{ordinal(int(day))} of {month_name(month)}"
    return words + (f" {year_or_number(year_digits)}" if year_digits else "")


_SLASHED_DATE = re.compile(r"(?<![\d/.])(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?![\d/])")
_NAMED_DATES: Rules = (
    (re.compile(rf"\b({'|'.join(_DAYS)})\.?(?=,? (?:\d|{MONTH}))"), lambda m: _DAYS[m[1]]),
    (re.compile(r"(?<![\d-])(\d{4})-(\d{2})-(\d{2})(?:T(?=\d)|(?![\d-]))"), _iso_date),
    (re.compile(r"(?<![\d.])(\d{1,2})\.(\d{1,2})\.(\d{4})(?![\d])"), _day_first),
    (
        re.compile(rf"\b({MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?(?:-(\d{{1,2}}))?(?:,? (\d{{4}}))?(?![\w:-]|[.,/]\d)"),
        _month_and_day,
    ),
    (
        re.compile(rf"(?<![\d$£€.,:/-])\b([Tt]he )?(\d{{1,2}})(?:st|nd|rd|th)? (of )?({MONTH})(?:,? (\d{{4}}))?(?!\w)"),
        _day_and_month,
    ),
)
MONTH_FIRST_DATES: Rules = ((_SLASHED_DATE, _month_first), *_NAMED_DATES)
DAY_FIRST_DATES: Rules = ((_SLASHED_DATE, _day_first), *_NAMED_DATES)


def _half_of_day(match: re.Match[str], name: str) -> str:
    """p m, with the full stop that ends a sentence."""
    letters = f" {name[0]} m"
    return letters + (final_dot(match) if name.endswith(".") else "")


def _clock(match: re.Match[str]) -> str:
    """10:30, 10:05:20, 3:00 p.m."""
    hour, minute, second, half = match.groups()
    words = cardinal(int(hour))
    if int(minute):
        words += " " + year_or_number(minute)
    elif not half:
        words += " o'clock" if 1 <= int(hour) <= 12 else " hundred"
    if second:
        words += f" and {cardinal(int(second))} second{'' if int(second) == 1 else 's'}"
    return words + (_half_of_day(match, half) if half else "")


def _bare_hour(match: re.Match[str]) -> str:
    return cardinal(int(match[1])) + _half_of_day(match, match[2])


_HALF = r"[aApP](?:\.\s?[mM]\.|[mM]\b)"
TIMES: Rules = (
    (re.compile(rf"({_HALF})\s?-\s?(?=\d)"), r"\1 to "),
    (re.compile(rf"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])(?:\s?({_HALF}))?"), _clock),
    (re.compile(rf"(?<![\d:.,])(1[0-2]|[1-9])\s?({_HALF})"), _bare_hour),
    (re.compile(r"(?<=\d):(?=\d)"), " to "),
)
