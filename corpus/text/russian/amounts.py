"""Russian sums of money and measures in words that agree."""

from __future__ import annotations

import re

from corpus.text.replacement_rules import MAX_NUMBER_DIGITS, Rules, alternatives, final_dot, parse_table
from corpus.text.russian.numbers import NUMBER, Case, Gender, case_after_preposition, number_words, parse_noun

_CURRENCIES = {
    "руб": ("рубль/рубля/рублей", "копейка/копейки/копеек"),
    "$": ("доллар", "цент"),
    "€": ("евро/евро/евро", "цент"),
    "£": ("фунт", "пенс"),
}
_CURRENCY_SIGNS = parse_table("₽=руб, р=руб, руб=руб, $=$, долл=$, USD=$, €=€, EUR=€, £=£")
_UNITS = parse_table(
    "%=процент, ‰=промилле/промилле/промилле, °=градус, °C=градус|Цельсия, км=километр, м=метр, дм=дециметр, "
    "см=сантиметр, мм=миллиметр, км/ч=километр|в час, м/с=метр|в секунду, км²=квадратный километр, "
    "кв. км=квадратный километр, м²=квадратный метр, кв. м=квадратный метр, м³=кубический метр, "
    "куб. м=кубический метр, га=гектар, кг=килограмм, г=грамм, гр=грамм, мг=миллиграмм, т=тонна, ц=центнер, "
    "л=литр, мл=миллилитр, ч=час, мин=минута, сек=секунда, мс=миллисекунда, Вт=ватт/ватта/ватт, "
    "кВт=киловатт/киловатта/киловатт, Гц=герц/герца/герц, кГц=килогерц/килогерца/килогерц, "
    "МГц=мегагерц/мегагерца/мегагерц, ГГц=гигагерц/гигагерца/гигагерц, Кб=килобайт, КБ=килобайт, Мб=мегабайт, "
    "МБ=мегабайт, Гб=гигабайт, ГБ=гигабайт, Тб=терабайт, ТБ=терабайт, шт=штука, чел=человек/человека/человек, "
    "экз=экземпляр, коп=копейка/копейки/копеек, дн=день/дня/дней, нед=неделя/недели/недель, "
    "мес=месяц/месяца/месяцев, л.с=лошадиная сила/лошадиные силы/лошадиных сил, "
    "л. с=лошадиная сила/лошадиные силы/лошадиных сил"
)
_SCALES = {"тыс": "тысяча/тысячи/тысяч", "млн": "миллион", "млрд": "миллиард", "трлн": "триллион"}
_ABBREVIATED = alternatives([*_UNITS, *_CURRENCY_SIGNS])
_SCALE = "|".join(_SCALES)


def whole_value(digits: str) -> int | None:
    """Return the value of a whole number with few enough digits to be read as one; else `None`."""
    digits = digits.replace(" ", "")
    return int(digits) if digits.isdigit() and len(digits) <= MAX_NUMBER_DIGITS else None


def _quantity_words(digits: str, forms: str, case: Case) -> str:
    """Return words such as: пять километров, две целых пять десятых километра."""
    noun, value = parse_noun(forms), whole_value(digits)
    words = number_words(digits, case=case, gender=noun.gender)
    if value is None:
        return f"{words} {noun.after_fraction() if ',' in digits or '.' in digits else noun.many}"
    return f"{words} {noun.agree_with(value, case)}"


def _forms(unit: str) -> str:
    return _CURRENCIES[_CURRENCY_SIGNS[unit]][0] if unit in _CURRENCY_SIGNS else _UNITS[unit]


def join_range(first: str | None, last: str) -> str:
    """Return words such as: пять-десять, сто пятьдесят - двести."""
    if not first:
        return last
    return f"{first}-{last}" if " " not in first and last.count(" ") <= 1 else f"{first} - {last}"


def first_of_range(match: re.Match[str], case: Case, gender: Gender) -> str | None:
    """Return the words of the first number of a range; `None` if the match is no range."""
    return number_words(match["first"], case=case, gender=gender) if match["first"] else None


def _scaled_words(match: re.Match[str]) -> str:
    """Words of 5 млн руб."""
    case = case_after_preposition(match.string, match.start())
    forms = _SCALES[match["scale"]]
    words = join_range(
        first_of_range(match, case, parse_noun(forms).gender), _quantity_words(match["amount"], forms, case)
    )
    if match["unit"]:
        words += " " + parse_noun(_forms(match["unit"])).many
    return words + (final_dot(match) if match[0].endswith(".") else "")


def _measure_words(match: re.Match[str]) -> str:
    """Words of 5 км, 10-20 кг, 3,50 руб."""
    case = case_after_preposition(match.string, match.start())
    unit, amount = match["unit"], match["amount"]
    whole, _, hundredths = amount.replace(".", ",").partition(",")
    if unit in _CURRENCY_SIGNS and len(hundredths) == 2 and whole_value(whole) is not None and not match["first"]:
        currency, hundredth = _CURRENCIES[_CURRENCY_SIGNS[unit]]
        words = _quantity_words(whole, currency, case)
        words += f" {_quantity_words(str(int(hundredths)), hundredth, case)}" if int(hundredths) else ""
    else:
        forms = _forms(unit)
        words = join_range(first_of_range(match, case, parse_noun(forms).gender), _quantity_words(amount, forms, case))
    return words + (final_dot(match) if match[0].endswith(".") else "")


FIRST_OF_RANGE = rf"(?:(?P<first>(?<![\w.,-]){NUMBER}) ?- ?)?"
AMOUNT_RULES: Rules = (
    (re.compile(rf"([$€£₽])({NUMBER}(?:\s?(?:{_SCALE})\b\.?)?)"), r"\2 \1"),
    (re.compile(r"(?<![\w)])[-−]\s?(?=\d)"), " минус "),
    (
        re.compile(
            rf"{FIRST_OF_RANGE}(?P<amount>{NUMBER})\s?(?P<scale>{_SCALE})\b\.?(?:\s?(?P<unit>{_ABBREVIATED})(?![\w²³/]))?\.?"
        ),
        _scaled_words,
    ),
    (
        re.compile(rf"{FIRST_OF_RANGE}(?P<amount>{NUMBER})\s?(?P<unit>{_ABBREVIATED})(?![\w²³/-]|\.\s?[едп]\.)\.?"),
        _measure_words,
    ),
)
