"""Russian dates, years, centuries and times of day in words."""

from __future__ import annotations

import re

from corpus.text.replacement_rules import CLOCK_TIME, Rules, final_dot, roman_value
from corpus.text.russian.numbers import Case, Gender, cardinal, ordinal, word_before

_MONTH = "января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря"
_MONTHS = _MONTH.split("|")
_DATE_CASES: dict[str, Case] = {"к": "d", "ко": "d", "на": "a", "по": "a", "под": "a", "за": "a", "перед": "i"}
_YEARS_CASES: dict[str, Case] = {
    **{"в": "p", "во": "p", "о": "p", "об": "p", "при": "p", "к": "d", "ко": "d", "между": "i", "перед": "i"},
    **{"на": "a", "за": "a", "по": "a", "под": "a", "через": "a", "про": "a"},
}
_YEAR: dict[Case, str] = {"n": "год", "g": "года", "d": "году", "a": "год", "i": "годом", "p": "году"}
_YEARS: dict[Case, str] = {"n": "годы", "g": "годов", "d": "годам", "a": "годы", "i": "годами", "p": "годах"}
_CENTURY: dict[Case, str] = {"n": "век", "g": "века", "d": "веку", "a": "век", "i": "веком", "p": "веке"}
_CENTURIES: dict[Case, str] = {"n": "века", "g": "веков", "d": "векам", "a": "века", "i": "веками", "p": "веках"}
_MIN_YEAR, _MAX_YEAR = 1000, 2100
"""A number in this range before `г` is a year, not grams."""


def _case_of_years(match: re.Match[str]) -> Case:
    """Return the case by the preposition; genitive after another word (осенью 1984 г.), nominative without one."""
    before = word_before(match.string, match.start())
    return _YEARS_CASES.get(before, "g" if before else "n")


# Days


def _day_words(day: str, case: Case) -> str:
    return ordinal(int(day), case=case, gender="n")


def _day_case(match: re.Match[str]) -> Case:
    return _DATE_CASES.get(word_before(match.string, match.start()), "g")


def _year_of_date(digits: str, mark: str | None) -> str:
    """Return words such as: тысяча девятьсот восемьдесят четвёртого года."""
    return f" {ordinal(int(digits), case='g')}" + (" года" if mark else "")


def _dot_after(match: re.Match[str], mark: str | None) -> str:
    return final_dot(match) if mark and mark.endswith(".") else ""


def _numeric_date_words(match: re.Match[str]) -> str:
    """Words of 05.12.2021 г."""
    day, month, digits, mark = match["day"], match["month"], match["year"], match["mark"]
    if not (1 <= int(day) <= 31 and 1 <= int(month) <= 12 and int(digits)):
        return match[0]
    words = f"{_day_words(day, _day_case(match))} {_MONTHS[int(month) - 1]}{_year_of_date(digits, 'года')}"
    return words + _dot_after(match, mark)


def _named_date_words(match: re.Match[str]) -> str:
    """Words of 5 мая 1984 г., 5-7 мая, 5 и 6 мая."""
    first, connector, day, month, digits, mark = match.groups()
    if not 1 <= int(day) <= 31 or (first and not 1 <= int(first) <= 31):
        return match[0]
    case = _day_case(match)
    words = _day_words(day, case)
    if first:
        is_range = "-" in connector
        from_to = f"с {_day_words(first, 'g')} по {_day_words(day, 'a')}"
        words = from_to if is_range else f"{_day_words(first, case)}{connector}{words}"
    year = _year_of_date(digits, mark) if digits and int(digits) else ""
    return f"{words} {month}{year}{_dot_after(match, mark)}"


_YEAR_MARK = r"\s?(?:г\.|г\b(?!\.)|года\b)"
_YEAR_AFTER_MONTH = rf"(?: (\d{{3,4}})\b(?:({_YEAR_MARK})|(?![\d.,]\d)))?"
_CONNECTOR = "( ?- ?| и | или )"
_DATES: Rules = (
    (
        re.compile(
            rf"(?<![\d.])(?P<day>\d{{1,2}})([./])(?P<month>\d{{1,2}})\2(?P<year>\d{{4}})(?!\d)(?P<mark>{_YEAR_MARK})?"
        ),
        _numeric_date_words,
    ),
    (
        re.compile(rf"(?<![\d-])(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<day>\d{{2}})(?![\d-])(?P<mark>{_YEAR_MARK})?"),
        _numeric_date_words,
    ),
    (
        re.compile(rf"\b(с|со|от) (\d{{1,2}}) (?=(?:по|до|на) \d{{1,2}} (?:{_MONTH})\b)", re.IGNORECASE),
        lambda m: f"{m[1]} {_day_words(m[2], 'g')} ",
    ),
    (
        re.compile(rf"(?<![\d.,:])(?:(\d{{1,2}}){_CONNECTOR})?(?<!\d)(\d{{1,2}}) ({_MONTH})\b{_YEAR_AFTER_MONTH}"),
        _named_date_words,
    ),
)


# Years


def _is_year(digits: str, match: re.Match[str]) -> bool:
    early = len(digits) == 3 and word_before(match.string, match.start()) == "в"
    return early or _MIN_YEAR <= int(digits) <= _MAX_YEAR


def _ordinals(first: int | None, connector: str, last: int, *, case: Case, gender: Gender = "m") -> str:
    """Return words such as: девятнадцатый - двадцатый."""
    words = ordinal(last, case=case, gender=gender)
    if first is None:
        return words
    return f"{ordinal(first, case=case, gender=gender)}{' - ' if '-' in connector else connector}{words}"


def _abbreviated_year_words(match: re.Match[str]) -> str:
    """Words of 1984 г., 1941-1945 гг."""
    first, connector, digits, mark = match.groups()
    if not _is_year(digits, match):
        return match[0]
    case = _case_of_years(match)
    words = _ordinals(int(first) if first else None, connector, int(digits), case=case)
    noun = (_YEARS if first or "гг" in mark or mark.count("г") == 2 else _YEAR)[case]
    return f"{words} {noun}{_dot_after(match, mark)}"


_CASE_BY_YEAR_WORD: dict[str, Case] = {
    **{"год": "n", "года": "g", "годом": "i", "годы": "n", "годов": "g", "годам": "d", "годами": "i", "годах": "p"}
}


def _unabbreviated_year_words(match: re.Match[str]) -> str:
    """Words of 1984 года, к 1984 году."""
    first, connector, digits, word = match.groups()
    if not _is_year(digits, match):
        return match[0]
    case = _CASE_BY_YEAR_WORD.get(word) or ("d" if _case_of_years(match) == "d" else "p")
    return f"{_ordinals(int(first) if first else None, connector, int(digits), case=case)} {word}"


_YEAR_PAIR = rf"(?<![\d.,])(?:(\d{{3,4}}){_CONNECTOR})?(\d{{3,4}})"
_YEAR_RULES: Rules = (
    (
        re.compile(r"\b(с|со|от) (\d{4}) (?=(?:по|до) \d{4}\s?г)", re.IGNORECASE),
        lambda m: f"{m[1]} {ordinal(int(m[2]), case='g')} ",
    ),
    (re.compile(rf"{_YEAR_PAIR}\s?(гг\.?|г\.\s?г\.|г\.)(?!\w)"), _abbreviated_year_words),
    (re.compile(rf"{_YEAR_PAIR}\s?(г)(?![\w.])"), _abbreviated_year_words),
    (re.compile(rf"{_YEAR_PAIR} (год(?:а|у|ом|ы|ов|ам|ами|ах)?)\b"), _unabbreviated_year_words),
)


# Centuries

_CASE_BY_ENDING: dict[str, Case] = {
    **{"": "n", "а": "g", "у": "d", "ом": "i", "е": "p", "ов": "g", "ам": "d", "ами": "i", "ах": "p"},
    **{"ие": "n", "ия": "g", "ию": "d", "ием": "i", "ии": "p", "ий": "g"},
}


def _century_words(match: re.Match[str]) -> str:
    """Words of XX век, XIX в., XIX-XX вв."""
    first, connector, numeral, noun, ending = match.groups()
    value, first_value = _roman(numeral), _roman(first) if first else None
    if not value or (first and not first_value):
        return match[0]
    abbreviated = noun in ("в.", "вв.")
    case = _case_of_years(match) if abbreviated else _CASE_BY_ENDING[ending]
    if first and noun + ending == "века":
        case = "n"
    gender: Gender = "n" if noun == "столет" else "m"
    words = _ordinals(first_value, connector, value, case=case, gender=gender)
    if not abbreviated:
        return f"{words} {noun}{ending}"
    return f"{words} {(_CENTURIES if noun == 'вв.' else _CENTURY)[case]}{final_dot(match)}"


def _roman(numeral: str) -> int | None:
    """Return the value of a Roman numeral that may be typed with the Cyrillic Х and І."""
    return roman_value(numeral.replace("Х", "X").replace("І", "I"))


_ROMAN = "[IVXХІ]+"


# Times of day


def _time_words(match: re.Match[str]) -> str:
    """Words of 10:30."""
    hour, minute, second = match.groups()
    words = [cardinal(int(hour))]
    for part in filter(None, (minute, second)):
        if part[0] == "0":
            words.append("ноль")
        words.append(cardinal(int(part), gender="f"))
    return " ".join(words)


_CENTURY_WORD = r"вв?\.|век|столет"
_CENTURY_ENDING = r"(?<=век)(?:а|у|ом|е|ов|ам|ами|ах)?|(?<=столет)(?:ие|ия|ию|ием|ии|ий)|(?<=\.)"
CALENDAR_RULES: Rules = (
    *_DATES,
    *_YEAR_RULES,
    (
        re.compile(rf"\b(?:({_ROMAN}){_CONNECTOR})?({_ROMAN}) ?({_CENTURY_WORD})({_CENTURY_ENDING})(?!\w)"),
        _century_words,
    ),
    (re.compile(CLOCK_TIME), _time_words),
)
