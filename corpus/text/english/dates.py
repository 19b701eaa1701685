"""English dates and times of day in words."""

from __future__ import annotations

import re

from corpus.text.english.numbers import cardinal, ordinal, year_or_number
from corpus.text.replacement_rules import CLOCK_TIME, Rules, final_dot, parse_table

_MONTH_NAMES = "January|February|March|April|May|June|July|August|September|October|November|December"
_MONTHS = _MONTH_NAMES.split("|")
MONTH = _MONTH_NAMES + r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?"
_DAYS = parse_table(
    "Mon=Monday, Tue=Tuesday, Tues=Tuesday, Wed=Wednesday, Thu=Thursday, Thurs=Thursday, Fri=Friday, Sat=Saturday, "
    "Sun=Sunday"
)


def _numeric_date_words(match: re.Match[str]) -> str:
    """Words of 12/05/2021, 05.12.2021, 2021-12-05T: December fifth, twenty twenty-one."""
    words, day, month = match[0], int(match["day"]), int(match["month"])
    if month > 12 and day <= 12:
        day, month = month, day
    if 1 <= month <= 12 and 1 <= day <= 31:
        words = f"{_MONTHS[month - 1]} {ordinal(day)}, {year_or_number(match['year'])}"
    return words + " " if match[0].endswith("T") else words


def month_name(name: str) -> str:
    """Return the full name of a month that may be abbreviated."""
    return next(month for month in _MONTHS if month.startswith(name.rstrip(".")[:3]))


def _month_and_day_words(match: re.Match[str]) -> str:
    """Words of May 5-7, 1984."""
    month, day, last_day, year_digits = match.groups()
    if int(day) > 31:
        return match[0]
    words = f"{month_name(month)} {ordinal(int(day))}"
    words += f" to {ordinal(int(last_day))}" if last_day else ""
    return words + (f", {year_or_number(year_digits)}" if year_digits else "")


def _day_and_month_words(match: re.Match[str]) -> str:
    """Words of 5 May 1984, the 5th of May."""
    the, day, of, month, year_digits = match.groups()
    if not 1 <= int(day) <= 31:
        return match[0]
    article = the or ("" if of else "the ")
    words = f"{article}{ordinal(int(day))} of {month_name(month)}"
    return words + (f" {year_or_number(year_digits)}" if year_digits else "")


def _slashed_date(first: str, second: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\d/.])(?P<{first}>\d{{1,2}})/(?P<{second}>\d{{1,2}})/(?P<year>\d{{4}}|\d{{2}})(?![\d/])")


_NAMED_DATES: Rules = (
    (re.compile(rf"\b({'|'.join(_DAYS)})\.?(?=,? (?:\d|{MONTH}))"), lambda m: _DAYS[m[1]]),
    (
        re.compile(r"(?<![\d-])(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?:T(?=\d)|(?![\d-]))"),
        _numeric_date_words,
    ),
    (re.compile(r"(?<![\d.])(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})(?![\d])"), _numeric_date_words),
    (
        re.compile(rf"\b({MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?(?:-(\d{{1,2}}))?(?:,? (\d{{4}}))?(?![\w:-]|[.,/]\d)"),
        _month_and_day_words,
    ),
    (
        re.compile(rf"(?<![\d$£€.,:/-])\b([Tt]he )?(\d{{1,2}})(?:st|nd|rd|th)? (of )?({MONTH})(?:,? (\d{{4}}))?(?!\w)"),
        _day_and_month_words,
    ),
)
MONTH_FIRST_DATES: Rules = ((_slashed_date("month", "day"), _numeric_date_words), *_NAMED_DATES)
DAY_FIRST_DATES: Rules = ((_slashed_date("day", "month"), _numeric_date_words), *_NAMED_DATES)


def _am_or_pm(match: re.Match[str], abbreviation: str) -> str:
    """Return " a m" or " p m", with a full stop if the abbreviation ends the sentence."""
    letters = f" {abbreviation[0]} m"
    return letters + (final_dot(match) if abbreviation.endswith(".") else "")


def _time_words(match: re.Match[str]) -> str:
    """Words of 10:30, 10:05:20, 3:00 p.m."""
    hour, minute, second, am_or_pm = match.groups()
    words = cardinal(int(hour))
    if int(minute):
        words += " " + year_or_number(minute)
    elif not am_or_pm:
        words += " o'clock" if 1 <= int(hour) <= 12 else " hundred"
    if second:
        words += f" and {cardinal(int(second))} second{'' if int(second) == 1 else 's'}"
    return words + (_am_or_pm(match, am_or_pm) if am_or_pm else "")


def _hour_words(match: re.Match[str]) -> str:
    """Words of 5pm."""
    return cardinal(int(match[1])) + _am_or_pm(match, match[2])


_AM_OR_PM = r"[aApP](?:\.\s?[mM]\.|[mM]\b)"
TIMES: Rules = (
    (re.compile(rf"({_AM_OR_PM})\s?-\s?(?=\d)"), r"\1 to "),
    (re.compile(rf"{CLOCK_TIME}(?:\s?({_AM_OR_PM}))?"), _time_words),
    (re.compile(rf"(?<![\d:.,])(1[0-2]|[1-9])\s?({_AM_OR_PM})"), _hour_words),
    (re.compile(r"(?<=\d):(?=\d)"), " to "),
)
