"""English numbers in words."""

from __future__ import annotations

import re

MAX_NUMBER_DIGITS = 15
"""Longer numbers are read digit by digit."""

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"


def cardinal(number: int) -> str:
    """Return words such as: twelve thousand three hundred forty-five."""
    from num2words import num2words

    return str(num2words(number)).replace(",", "").replace(" and ", " ")


def ordinal(number: int) -> str:
    """Return words such as: twenty-first."""
    from num2words import num2words

    return str(num2words(number, to="ordinal")).replace(",", "").replace(" and ", " ")


def year(number: int) -> str:
    """Return words such as: nineteen eighty-four."""
    from num2words import num2words

    return str(num2words(number, to="year")).replace(" and ", " ")


def number_words(digits: str) -> str:
    """Words of 1,234.5; a number with a leading zero or too many digits is read digit by digit."""
    whole, _, fraction = digits.replace(",", "").partition(".")
    if len(whole) > MAX_NUMBER_DIGITS or (len(whole) > 1 and whole[0] == "0"):
        words = digit_words(whole)
    else:
        words = cardinal(int(whole)) if whole else ""
    return f"{words} point {digit_words(fraction)}".strip() if fraction else words


def digit_words(digits: str) -> str:
    return " ".join(cardinal(int(digit)) for digit in digits)


def plural(words: str) -> str:
    return words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("x") else "s")


def year_or_number(digits: str) -> str:
    if re.fullmatch(r"1[1-9]\d\d|20\d\d", digits):
        return year(int(digits))
    return f"oh {cardinal(int(digits))}" if re.fullmatch(r"0[1-9]", digits) else number_words(digits)
