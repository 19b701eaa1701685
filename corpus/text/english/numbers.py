"""English numbers in words."""

from __future__ import annotations

import re

from corpus.text.replacement_rules import is_read_by_digit

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"


def cardinal(number: int) -> str:
    """Return words such as: twelve thousand three hundred forty-five."""
    return _spell_out(number, "cardinal")


def ordinal(number: int) -> str:
    """Return words such as: twenty-first."""
    return _spell_out(number, "ordinal")


def year(number: int) -> str:
    """Return words such as: nineteen eighty-four."""
    return _spell_out(number, "year")


def _spell_out(number: int, form: str) -> str:
    from num2words import num2words

    return str(num2words(number, to=form)).replace(",", "").replace(" and ", " ")


def number_words(digits: str) -> str:
    """Words of 1,234.5; a number with a leading zero or too many digits is read digit by digit."""
    whole, _, fraction = digits.replace(",", "").partition(".")
    words = digit_words(whole) if not whole or is_read_by_digit(whole) else cardinal(int(whole))
    return f"{words} point {digit_words(fraction)}".strip() if fraction else words


def digit_words(digits: str) -> str:
    return " ".join(cardinal(int(digit)) for digit in digits)


def plural(words: str) -> str:
    return words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("x") else "s")


def year_or_number(digits: str) -> str:
    if re.fullmatch(r"1[1-9]\d\d|20\d\d", digits):
        return year(int(digits))
    return f"oh {cardinal(int(digits))}" if re.fullmatch(r"0[1-9]", digits) else number_words(digits)
