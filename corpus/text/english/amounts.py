"""English sums of money, measures, ranges and fractions in words."""

from __future__ import annotations

import re

from corpus.text.english.numbers import NUMBER, cardinal, number_words, ordinal, plural, year_or_number
from corpus.text.replacement_rules import (
    MAX_NUMBER_DIGITS,
    WRITE_OUT_FRACTION_SIGN,
    Rules,
    alternatives,
    final_dot,
    parse_table,
)

_SCALES = {"k": "thousand", "m": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_SCALE_NAME = r"thousand|million|billion|trillion|[kKmMbB]|bn|tn"
CURRENCIES = {  # singular and plural of the unit and of its hundredth
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_CURRENCY_CODES = {"USD": "$", "GBP": "£", "EUR": "€", "RUB": "₽", "JPY": "¥", "INR": "₹"}
_UNITS = parse_table(
    "%=percent, ‰=per mille, ¢=cent, °C=degree Celsius, °F=degree Fahrenheit, °=degree, km/h=kilometer per hour, "
    "kph=kilometer per hour, mph=mile per hour, m/s=meter per second, km²=square kilometer, m²=square meter, "
    "m³=cubic meter, km=kilometer, m=meter, cm=centimeter, mm=millimeter, nm=nanometer, mi=mile, ft=foot, yd=yard, "
    "sq ft=square foot, kg=kilogram, g=gram, mg=milligram, lb=pound, lbs=pound, oz=ounce, l=liter, L=liter, "
    "ml=milliliter, mL=milliliter, ms=millisecond, s=second, sec=second, min=minute, h=hour, hr=hour, hrs=hour, "
    "Hz=hertz, kHz=kilohertz, MHz=megahertz, GHz=gigahertz, kB=kilobyte, KB=kilobyte, MB=megabyte, GB=gigabyte, "
    "TB=terabyte, W=watt, kW=kilowatt, kWh=kilowatt hour, V=volt, dB=decibel"
)
_UNIT = alternatives(_UNITS)
_PART_NAMES = {2: ("half", "halves"), 4: ("quarter", "quarters")}


def _unit_words(unit: str, *, is_one: bool) -> str:
    """Name of a unit in the singular or plural: kilometers per hour."""
    words = _UNITS[unit]
    if is_one or words.endswith(("percent", "mille", "hertz")):
        return words
    noun, suffix = re.fullmatch(r"(.+?)( per .+| Celsius| Fahrenheit)?", words).groups("")  # type: ignore[union-attr]
    return (noun.replace("foot", "feet") if noun.endswith("foot") else noun + "s") + suffix


def _money_words(match: re.Match[str]) -> str:
    """Words of $3.50, £2 million."""
    currency = CURRENCIES[_CURRENCY_CODES.get(match["currency"], match["currency"])]
    amount, scale = match["amount"], match["scale"]
    if scale:
        return f"{number_words(amount)} {_SCALES.get(scale.lower(), scale)} {currency[1]}"
    whole, _, cents = amount.replace(",", "").partition(".")
    if len(cents) != 2 or len(whole) > MAX_NUMBER_DIGITS:
        return f"{number_words(amount)} {currency[0] if amount == '1' else currency[1]}"
    whole_words = f"{cardinal(int(whole))} {currency[0] if int(whole) == 1 else currency[1]}"
    if not int(cents):
        return whole_words
    cents_words = f"{cardinal(int(cents))} {currency[2] if int(cents) == 1 else currency[3]}"
    return f"{whole_words} and {cents_words}" if int(whole) else cents_words


def _measure_words(match: re.Match[str]) -> str:
    """Words of 5 km."""
    dot = final_dot(match) if match["dot"] else ""
    return f"{number_words(match['amount'])} {_unit_words(match['unit'], is_one=match['amount'] == '1')}{dot}"


def _decade_words(match: re.Match[str]) -> str:
    """Words of 1980s, '90s."""
    return plural(year_or_number(match[1]))


def _fraction_words(match: re.Match[str]) -> str:
    """Words of 3/4, 2 1/2 km."""
    whole, numerator_digits, denominator_digits, unit = match.groups()
    numerator, denominator = int(numerator_digits), int(denominator_digits)
    if numerator >= denominator:
        return match[0]
    singular_name, plural_name = _PART_NAMES.get(denominator, (ordinal(denominator), plural(ordinal(denominator))))
    count = "a" if whole and numerator == 1 else cardinal(numerator)
    words = f"{count} {singular_name if numerator == 1 else plural_name}"
    if whole:
        words = f"{number_words(whole)} and {words}"
    if unit:
        words += f" {_unit_words(unit, is_one=False)}" if whole else f" of a {_unit_words(unit, is_one=True)}"
    return words


AMOUNT_RULES: Rules = (
    WRITE_OUT_FRACTION_SIGN,
    (re.compile(rf"([$£€₽¥₹])\s?({NUMBER})-(?=\d)"), r"\2 to \1"),
    (re.compile(rf"([$£€₽¥₹]\s?{NUMBER}) ?- ?(?=[$£€₽¥₹]\d)"), r"\1 to "),
    (re.compile(rf"(?<![\w.,-])({NUMBER}) ?- ?(?={NUMBER}(?![\d-]))"), r"\1 to "),
    (re.compile(r"(?<![\w)])[-−]\s?(?=[$£€₽¥₹]?\.?\d)"), " minus "),
    (
        re.compile(
            rf"(?:US)?(?P<currency>[$£€₽¥₹]|\b(?:USD|GBP|EUR)\b)\s?(?P<amount>{NUMBER})(?:\s?(?P<scale>{_SCALE_NAME})\b)?"
        ),
        _money_words,
    ),
    (
        re.compile(
            rf"(?<![\w.,])(?P<amount>{NUMBER})(?:\s?(?P<scale>{_SCALE_NAME})\b)?\s?"
            r"(?P<currency>[£€₽¥₹]|(?:USD|GBP|EUR|RUB|JPY|INR)\b)"
        ),
        _money_words,
    ),
    (re.compile(rf"(?<![\d./])(?:(\d+) )?(\d)/([2-9]|10)(?![\d/])(?:\s?({_UNIT})(?!\w))?"), _fraction_words),
    (re.compile(r"'?\b(1[1-9]\d\d|20\d\d|[2-9]0)s\b"), _decade_words),
    (re.compile(rf"(?P<amount>{NUMBER})[\s-]?(?P<unit>{_UNIT})(?![\w²³'])(?P<dot>\.?)"), _measure_words),
)
