"""German sums of money, measures, ranges and fractions in words."""

from __future__ import annotations

import re

from corpus.text.german.numbers import cardinal, digit_words
from corpus.text.replacement_rules import WRITE_OUT_FRACTION_SIGN, Rules, alternatives, parse_table

_CURRENCIES = parse_table("€=Euro, eur=Euro, $=Dollar, usd=Dollar, £=Pfund, chf=Franken, ¥=Yen")
_CURRENCY = alternatives(_CURRENCIES)
_NUMBER = r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?:,\d+)?|(?<![\d.,])\d+(?:,\d+)?"
_UNITS = parse_table(
    "%=Prozent, ‰=Promille, °C=Grad Celsius, °F=Grad Fahrenheit, °=Grad, km/h=Kilometer pro Stunde, "
    "m/s=Meter pro Sekunde, km²=Quadratkilometer, m²=Quadratmeter, qm=Quadratmeter, m³=Kubikmeter, km=Kilometer, "
    "m=Meter, cm=Zentimeter, mm=Millimeter, kg=Kilogramm, g=Gramm, mg=Milligramm, l=Liter, ml=Milliliter, h=Stunden, "
    "min=Minuten, s=Sekunden, ms=Millisekunden, Hz=Hertz, kHz=Kilohertz, MHz=Megahertz, GHz=Gigahertz, kB=Kilobyte, "
    "MB=Megabyte, GB=Gigabyte, TB=Terabyte, W=Watt, kW=Kilowatt, kWh=Kilowattstunden, V=Volt, dB=Dezibel, ha=Hektar"
)
_PARTS = parse_table("3=Drittel, 4=Viertel, 5=Fünftel, 6=Sechstel, 7=Siebtel, 8=Achtel, 9=Neuntel, 10=Zehntel")


def _money_words(match: re.Match[str]) -> str:
    """Words of 12,50 €, € 3, 2 Mio. €."""
    amount, currency = match["amount"], _CURRENCIES[match["currency"].lower()]
    whole, _, cents = amount.partition(",")
    if len(cents) != 2:
        return f"{_count(amount)} {currency}"
    return f"{_count(whole)} {currency} {int(cents)}" if int(cents) else f"{_count(whole)} {currency}"


def _unit_words(match: re.Match[str]) -> str:
    words = _UNITS[match["unit"]]
    if match["amount"] == "1" and words.endswith(("den", "ten")):
        words = words.removesuffix("n")
    return f"{_count(match['amount'], 'e' if words.endswith('e') else '')} {words}"


def _count(amount: str, ending: str = "") -> str:
    return f"ein{ending}" if amount == "1" else amount


def _fraction_words(match: re.Match[str]) -> str:
    """Words of 1/2, 3/4, 5/12."""
    upper, lower = match.groups()
    if lower == "2":
        return "ein halb" if upper == "1" else f"{upper} halbe"
    return f"{_count(upper)} {_PARTS[lower]}" if lower in _PARTS else f"{upper} durch {lower}"


def _phone_words(match: re.Match[str]) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(digit_words(group) for group in re.findall(r"\d+", match[0]))


AMOUNT_RULES: Rules = (
    (re.compile(r"(?<![\w.,])(?:\+\d{1,3}|0\d{2,5})(?:[ /-]?\(0\))?(?:[ /-]\d{2,}){1,5}(?![\w])"), _phone_words),
    (re.compile(r"(?<!\d)(\d{1,3}) ?½"), lambda match: f"{cardinal(int(match[1])).removesuffix('s')}einhalb"),
    WRITE_OUT_FRACTION_SIGN,
    (re.compile(r"(?<![\d/.,])(\d{1,2})/(\d{1,2})(?![\d/])"), _fraction_words),
    (re.compile(r"(?<![\d,.-])(\d{1,4}(?:,\d+)?) ?- ?(?=\d{1,4}(?:,\d+)?(?![\d-]))"), r"\1 bis "),
    (re.compile(r"(?<=\d):(?=\d)"), " zu "),
    (re.compile(r"(?<=\d) ?[xX×] ?(?=\d)"), " mal "),
    (re.compile(r"(?<=\d),-(?!\d)"), ""),
    (re.compile(rf"(?P<amount>{_NUMBER})\s?(?P<currency>{_CURRENCY})(?!\w)", re.I), _money_words),
    (re.compile(rf"(?P<currency>{_CURRENCY})\s?(?P<amount>{_NUMBER})(?!\w)", re.I), _money_words),
    (re.compile(rf"(?P<amount>{_NUMBER})\s?(?P<unit>{alternatives(_UNITS)})(?!\w)"), _unit_words),
)
