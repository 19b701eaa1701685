"""German numbers in words."""

from __future__ import annotations


def cardinal(number: int) -> str:
    """Return words such as: vierundzwanzig."""
    return _spell_out(number, "cardinal")


def ordinal(number: int, ending: str) -> str:
    """Return words such as: dritten; `ending` follows the stem: e, en, er."""
    return _spell_out(number, "ordinal").removesuffix("e") + ending


def year(number: int) -> str:
    """Return words such as: neunzehnhundertvierundachtzig."""
    return _spell_out(number, "year")


def digit_words(digits: str) -> str:
    return " ".join(cardinal(int(digit)) for digit in digits)


def _spell_out(number: int, form: str) -> str:
    from num2words import num2words

    return str(num2words(number, to=form, lang="de"))
