"""English as it is spoken: numbers, dates, money, units, abbreviations and signs become words."""

from __future__ import annotations

import re
import unicodedata

from corpus.text.cleaning import Rules, apply_rules, final_dot, roman_value, sign_rules, spaced, table, tidy
from corpus.text.english.dates import DAY_FIRST_DATES, MONTH, MONTH_FIRST_DATES, TIMES, month_name
from corpus.text.english.numbers import (
    LONGEST_NUMBER_DIGITS,
    cardinal,
    digit_words,
    number_words,
    ordinal,
    plural,
    year,
    year_or_number,
)

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
_SCALE = {"k": "thousand", "m": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_SCALE_NAME = r"thousand|million|billion|trillion|[kKmMbB]|bn|tn"
_CURRENCIES = {  # one and many of the coin and of its hundredth
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_CURRENCY_CODES = {"USD": "$", "GBP": "£", "EUR": "€", "RUB": "₽", "JPY": "¥", "INR": "₹"}
_UNITS = table(
    "%=percent, ‰=per mille, ¢=cent, °C=degree Celsius, °F=degree Fahrenheit, °=degree, km/h=kilometer per hour, "
    "kph=kilometer per hour, mph=mile per hour, m/s=meter per second, km²=square kilometer, m²=square meter, "
    "m³=cubic meter, km=kilometer, m=meter, cm=centimeter, mm=millimeter, nm=nanometer, mi=mile, ft=foot, yd=yard, "
    "sq ft=square foot, kg=kilogram, g=gram, mg=milligram, lb=pound, lbs=pound, oz=ounce, l=liter, L=liter, "
    "ml=milliliter, mL=milliliter, ms=millisecond, s=second, sec=second, min=minute, h=hour, hr=hour, hrs=hour, "
    "Hz=hertz, kHz=kilohertz, MHz=megahertz, GHz=gigahertz, kB=kilobyte, KB=kilobyte, MB=megabyte, GB=gigabyte, "
    "TB=terabyte, W=watt, kW=kilowatt, kWh=kilowatt hour, V=volt, dB=decibel"
)
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_PART_NAMES = {2: ("half", "halves"), 4: ("quarter", "quarters")}


def normalize(text: str, *, day_first: bool) -> str:
    """Words and punctuation for cleaned text; `day_first` tells whether 12/05 is the 12th of May."""
    text = text.replace("\u200c", "").replace("\u200d", "")
    dates = DAY_FIRST_DATES if day_first else MONTH_FIRST_DATES
    return tidy(apply_rules((*_WEB, *dates, *_RULES), tidy(text)))


def fold_to_ascii(text: str) -> str:
    """Each letter without its accents where that makes it ASCII (é → e, æ → ae); all else as it was."""
    return "".join(map(_fold, text))


_LIGATURES = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ı": "i"}
)


def _fold(character: str) -> str:
    category = unicodedata.category(character)
    if character.isascii() or category[0] not in "LM":
        return character
    decomposed = unicodedata.normalize("NFKD", character.lower().translate(_LIGATURES))
    folded = "".join(part for part in decomposed if not unicodedata.combining(part))
    if not folded.isascii():
        return character
    return folded.capitalize() if category == "Lu" else folded


# Money, units, fractions


def _unit_words(unit: str, *, is_one: bool) -> str:
    """kilometers per hour"""
    words = _UNITS[unit]
    if is_one or words.endswith(("percent", "mille", "hertz")):
        return words
    head, of = re.fullmatch(r"(.+?)( per .+| Celsius| Fahrenheit)?", words).groups("")  # type: ignore[union-attr]
    return (head.replace("foot", "feet") if head.endswith("foot") else head + "s") + of


def _money(match: re.Match[str]) -> str:
    """$3.50, £2 million"""
    currency = _CURRENCIES[_CURRENCY_CODES.get(match["currency"], match["currency"])]
    amount, scale = match["amount"], match["scale"]
    if scale:
        return f"{number_words(amount)} {_SCALE.get(scale.lower(), scale)} {currency[1]}"
    whole, _, cents = amount.replace(",", "").partition(".")
    if len(cents) != 2 or len(whole) > LONGEST_NUMBER_DIGITS:
        return f"{number_words(amount)} {currency[0] if amount == '1' else currency[1]}"
    coins = f"{cardinal(int(whole))} {currency[0] if int(whole) == 1 else currency[1]}"
    if not int(cents):
        return coins
    small = f"{cardinal(int(cents))} {currency[2] if int(cents) == 1 else currency[3]}"
    return f"{coins} and {small}" if int(whole) else small


def _measure(match: re.Match[str]) -> str:
    """5 km"""
    dot = final_dot(match) if match["dot"] else ""
    return f"{number_words(match['amount'])} {_unit_words(match['unit'], is_one=match['amount'] == '1')}{dot}"


def _decade(match: re.Match[str]) -> str:
    """1980s, '90s"""
    return plural(year_or_number(match[1]))


def _fraction(match: re.Match[str]) -> str:
    """3/4, 2 1/2 km"""
    whole, top, bottom, unit = match.groups()
    parts, denominator = int(top), int(bottom)
    if not parts < denominator:
        return match[0]
    one, many = _PART_NAMES.get(denominator, (ordinal(denominator), plural(ordinal(denominator))))
    count = "a" if whole and parts == 1 else cardinal(parts)
    words = f"{count} {one if parts == 1 else many}"
    if whole:
        words = f"{number_words(whole)} and {words}"
    if unit:
        words += f" {_unit_words(unit, is_one=False)}" if whole else f" of a {_unit_words(unit, is_one=True)}"
    return words


def _vulgar_fraction(match: re.Match[str]) -> str:
    return " " + unicodedata.normalize("NFKD", match[0]).replace("⁄", "/")


_AMOUNTS: Rules = (
    (re.compile("[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]"), _vulgar_fraction),
    (re.compile(rf"([$£€₽¥₹])\s?({_NUMBER})-(?=\d)"), r"\2 to \1"),
    (re.compile(rf"([$£€₽¥₹]\s?{_NUMBER}) ?- ?(?=[$£€₽¥₹]\d)"), r"\1 to "),
    (re.compile(rf"(?<![\w.,-])({_NUMBER}) ?- ?(?={_NUMBER}(?![\d-]))"), r"\1 to "),
    (re.compile(r"(?<![\w)])[-−]\s?(?=[$£€₽¥₹]?\.?\d)"), " minus "),
    (
        re.compile(
            rf"(?:US)?(?P<currency>[$£€₽¥₹]|\b(?:USD|GBP|EUR)\b)\s?(?P<amount>{_NUMBER})(?:\s?(?P<scale>{_SCALE_NAME})\b)?"
        ),
        _money,
    ),
    (
        re.compile(
            rf"(?<![\w.,])(?P<amount>{_NUMBER})(?:\s?(?P<scale>{_SCALE_NAME})\b)?\s?"
            r"(?P<currency>[£€₽¥₹]|(?:USD|GBP|EUR|RUB|JPY|INR)\b)"
        ),
        _money,
    ),
    (re.compile(rf"(?<![\d./])(?:(\d+) )?(\d)/([2-9]|10)(?![\d/])(?:\s?({_UNIT})(?!\w))?"), _fraction),
    (re.compile(r"'?\b(1[1-9]\d\d|20\d\d|[2-9]0)s\b"), _decade),
    (re.compile(rf"(?P<amount>{_NUMBER})[\s-]?(?P<unit>{_UNIT})(?![\w²³'])(?P<dot>\.?)"), _measure),
)


# Roman numerals

_MONARCHS = (
    "Henry|Elizabeth|Edward|George|William|Charles|James|Richard|Louis|Philip|Napoleon|Nicholas|Peter|Catherine|"
    "Alexander|Ivan|Frederick|Ptolemy|Ramesses|Pius|Benedict|Clement|Innocent|Gregory|Leo|Paul|Francis|Mary|Ferdinand|"
    "Constantine|Darius|Xerxes|Otto|Wilhelm|Victoria|Harald|Urban|Boniface|Julius"
)
_NUMBERED = "Chapter|Part|Volume|Book|Act|Scene|Section|Phase|Type|Class|Title|Appendix|Figure|Table|Article|War|Level"
_AFTER_THE_FIRST = r"(?= (?:of|was|and|had|who|died|is|in|as)\b|[,;:?!)']|\.?$|\.\s*$)"
_MORE_THAN_ONE_LETTER = r"[IVX]{2,}\b"


def _regnal(match: re.Match[str]) -> str:
    value = roman_value(match[2])
    return f"{match[1]} the {ordinal(value)}" if value else match[0]


def _numbered(match: re.Match[str]) -> str:
    value = roman_value(match[2])
    return f"{match[1]} {cardinal(value)}" if value else match[0]


_ROMANS: Rules = (
    (re.compile(rf"\b({_MONARCHS}) ({_MORE_THAN_ONE_LETTER}|I\b{_AFTER_THE_FIRST}|[VX]\b(?!\. [A-Z]))"), _regnal),
    (re.compile(rf"\b({_NUMBERED}) ([IVXLC]+)\b(?!')"), _numbered),
    (re.compile(rf"\b((?i:{_NUMBERED})|[A-Z][a-z]+) ({_MORE_THAN_ONE_LETTER})(?!')"), _numbered),
)


# Abbreviations

_BEFORE_NAMES = table(
    "mr=Mister, mrs=Missus, ms=Miz, dr=Doctor, prof=Professor, rev=Reverend, gen=General, col=Colonel, capt=Captain, "
    "lt=Lieutenant, sgt=Sergeant, maj=Major, gov=Governor, sen=Senator, rep=Representative, pres=President, "
    "hon=Honorable, messrs=Messieurs, mt=Mount, ft=Fort, st=Saint, cmdr=Commander, adm=Admiral"
)
_DOT_OPTIONAL = "Mr|Mrs|Ms|Dr|St|Prof|Mt"
_ANYWHERE = table(
    "etc=et cetera, vs=versus, approx=approximately, dept=department, est=established, ave=avenue, blvd=boulevard, "
    "rd=road, st=street, dr=drive, jr=junior, sr=senior, co=company, ltd=limited, inc=incorporated, "
    "corp=corporation, govt=government, assn=association, bros=brothers, esq=esquire, misc=miscellaneous"
)
_BEFORE_NUMBERS = table(
    "no=number, nos=numbers, vol=volume, ch=chapter, p=page, pp=pages, fig=figure, figs=figures, sec=section, "
    "art=article, pt=part"
)


def _title(match: re.Match[str]) -> str:
    return _BEFORE_NAMES[match[1].lower()]


def _before_number(match: re.Match[str]) -> str:
    return _BEFORE_NUMBERS[match[1].lower()]


def _anywhere(match: re.Match[str]) -> str:
    return _ANYWHERE[match[1].lower()] + final_dot(match)


_ABBREVIATIONS: Rules = (
    (re.compile(r"\be\.\s?g\.", re.IGNORECASE), "for example"),
    (re.compile(r"\bi\.\s?e\.", re.IGNORECASE), "that is"),
    (re.compile(r"\bPh\.?\s?D\b\.?"), "P H D"),
    (re.compile(rf"\b({'|'.join(_BEFORE_NUMBERS)})\.\s?(?=\d)", re.IGNORECASE), lambda m: _before_number(m) + " "),
    (re.compile(rf"\b({MONTH})(?= \d{{4}}\b)"), lambda m: month_name(m[1])),
    (re.compile(r"(?<=[a-z] )(?P<road>[A-Z]\w+) (St|Dr)\.(?= [A-Z])"), lambda m: f"{m[1]} {_ANYWHERE[m[2].lower()]}."),
    (re.compile(rf"\b({'|'.join(map(str.capitalize, _BEFORE_NAMES))})\.(?= ?[A-Z])"), _title),
    (re.compile(rf"\b({_DOT_OPTIONAL})(?= [A-Z][a-z])"), _title),
    (re.compile(r"\b(dr)\.(?= [a-z])"), _title),
    (re.compile(rf"\b({'|'.join(_ANYWHERE)})\.", re.IGNORECASE), _anywhere),
    (
        re.compile(r"\b(mr|mrs|prof)\b\.?", re.IGNORECASE),
        lambda m: _title(m) + final_dot(m) * m[0].endswith("."),
    ),
)


# Letters that are named one by one

_SPELLED = (
    "USA|UK|EU|UN|FBI|CIA|AI|USB|IBM|USSR|URL|API|CEO|CFO|CTO|CPU|GPU|FAQ|DIY|UFO|IQ|EEG|ATM|UFC|MBA|NBA|UCLA|MIT|"
    "IPO|EPA|SUV|HIV|IP|UI|OS|ISBN|ICU|VIP|DNA|RNA|(?<=the )US"
)
_CONSONANTS = "[B-DF-HJ-NP-TV-XZ]{2,}"
_INTERJECTIONS = r"(?!(?:H+M+|SH+|PS+T|BR+|GR+|M+|Z+|TS+K|PF+T)\b)"


def _dotted(match: re.Match[str]) -> str:
    return spaced(match) + final_dot(match)


_LETTERS: Rules = (
    (re.compile(r"\b[A-Z]{1,3}&[A-Z]{1,3}\b"), lambda m: " and ".join(map(" ".join, m[0].split("&")))),
    (re.compile(r"(?<![\w.])(?:[A-Za-z]\.){2,}(?!\w)"), _dotted),
    (re.compile(r"(?<![\w.'])([A-HJ-Z])\.(?=\s?[A-Z])"), r"\1 "),
    (re.compile(rf"\b{_INTERJECTIONS}({_CONSONANTS}|{_SPELLED})'?s\b"), lambda m: " ".join(m[1]) + "'s"),
    (re.compile(rf"\b{_INTERJECTIONS}(?:{_CONSONANTS}|{_SPELLED})\b"), spaced),
)


# Numbers by themselves, and signs


def _ordinal(match: re.Match[str]) -> str:
    digits = match[1].replace(",", "")
    return ordinal(int(digits)) if len(digits) <= LONGEST_NUMBER_DIGITS else digit_words(digits) + "th"


def _phone(match: re.Match[str]) -> str:
    groups = re.findall(r"\d+", match[0])
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(digit_words(group) for group in groups)


_NUMBERS: Rules = (
    (re.compile(r"(\d[\d,]*)(?:st|nd|rd|th)\b", re.IGNORECASE), _ordinal),
    (re.compile(r"(\d)(?:[xX×]| [xX×] )(?=\d)"), r"\1 by "),
    (re.compile(r"(\d)[xX×](?!\w)"), r"\1 times"),
    (re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"), " "),
    (re.compile(r"(?<=\d)\.(?=\d+\.\d)|(?<=\d\.\d)\.(?=\d)"), " point "),
    (re.compile(r"(?<![\d.,])(1[1-9]\d\d|20\d\d)(?![\d]|[.,]\d)"), lambda m: year(int(m[1]))),
    (re.compile(rf"{_NUMBER}|(?<!\d)\.\d+"), lambda m: number_words(m[0])),
)
_NUMBER_SIGNS: Rules = (
    (re.compile(r"~\s?(?=\d)"), "about "),
    (re.compile(r"№\s*|#\s*(?=\d)"), " number "),
    (re.compile(r"#\s*"), " hashtag "),
    (re.compile(r"§+\s*"), " section "),
)
_SIGNS: Rules = (
    (re.compile(r"\band\s?/\s?or\b", re.IGNORECASE), "and or"),
    *sign_rules(
        {"&": "and", "+": "plus", "@": "at", "=": "equals", "×": "times", "÷": "divided by", "±": "plus or minus"}
    ),
    *sign_rules({"−": "minus", "<": "less than", ">": "greater than", "%": "percent", "°": "degrees", "/": "slash"}),
    *sign_rules({sign: names[1] for sign, names in _CURRENCIES.items()}),
    *sign_rules({"²": "squared", "³": "cubed"}),
)
_WEB: Rules = (
    (re.compile(r"\bhttps?://", re.IGNORECASE), ""),
    (re.compile(r"\bwww\.", re.IGNORECASE), "W W W dot "),
    (re.compile(r"(?<=[a-z0-9])\.(?=(?:com|org|net|edu|gov|io|ru|uk|de|html?)\b)"), " dot "),
    (re.compile(r"(?<![\w.])\+?(?:\d{1,2}[ -])?(?:\(\d{3}\) ?|\d{3}[ -])?\d{3}-\d{4}(?![\w-])"), _phone),
)
_RULES: Rules = (
    *TIMES,
    *_NUMBER_SIGNS,
    *_ABBREVIATIONS,
    *_AMOUNTS,
    *_ROMANS,
    *_NUMBERS,
    *_LETTERS,
    *_SIGNS,
)
