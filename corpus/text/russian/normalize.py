"""Russian normalisation: numbers, dates, money, units, abbreviations and signs become words in the right forms."""

from __future__ import annotations

import re

from corpus.text.replacement_rules import (
    DOT_IN_VERSION,
    SEPARATE_LETTERS_FROM_DIGITS,
    WRITE_OUT_FRACTION_SIGN,
    Rules,
    alternatives,
    apply_rules,
    number_sign_rules,
    roman_value,
    sign_rules,
    tidy_punctuation,
)
from corpus.text.russian.abbreviations import ABBREVIATION_RULES, LETTER_RULES, STANDALONE_ABBREVIATION_RULES
from corpus.text.russian.amounts import AMOUNT_RULES, FIRST_OF_RANGE, first_of_range, join_range, whole_value
from corpus.text.russian.dates import CALENDAR_RULES
from corpus.text.russian.numbers import (
    NUMBER,
    Case,
    Gender,
    cardinal,
    case_after_preposition,
    common_fraction,
    compound_stem,
    ends_in_one,
    number_words,
    ordinal,
    word_before,
)
from corpus.text.symbols import STRESS

_PLUS_STRESS = re.compile(r"(?:(?<=[^\W\d_])|(?<![\w)]))\+([аеёиоуыэюя])", re.IGNORECASE)


def normalize(text: str) -> str:
    """Return words and punctuation for cleaned text; `+а` becomes the vowel with a combining acute (stress)."""
    text = text.replace("\u200c", "").replace("\u200d", "")
    text = _PLUS_STRESS.sub(rf"\1{STRESS}", text)
    return tidy_punctuation(apply_rules(_RULES, tidy_punctuation(text)))


# Ordinals and compounds written with a hyphen: 5-й, 90-х, 5-летний

_ORDINAL_ENDINGS: dict[str, tuple[Case, Gender]] = {
    **dict.fromkeys(("й", "ый", "ий", "ой"), ("n", "m")),
    **dict.fromkeys(("я", "ая", "ья"), ("n", "f")),
    **dict.fromkeys(("е", "ое", "ье"), ("n", "n")),
    **dict.fromkeys(("го", "ого", "его"), ("g", "m")),
    **dict.fromkeys(("му", "ому", "ему"), ("d", "m")),
    **dict.fromkeys(("м", "ом", "ем"), ("p", "m")),
    **dict.fromkeys(("ым", "им"), ("i", "m")),
    **dict.fromkeys(("ю", "ую", "ью"), ("a", "f")),
    **dict.fromkeys(("ей",), ("g", "f")),
}
_PLURAL_ENDINGS: dict[str, Case] = {"х": "g", "ых": "g", "их": "g", "ми": "i", "ыми": "i", "ые": "n", "ие": "n"}
_CARDINAL_ENDINGS: dict[str, Case] = {"ти": "g", "ух": "g", "ёх": "g", "рёх": "g", "мя": "i", "мь": "n", "ть": "n"}
_FEMININE_OBLIQUE = re.compile(r" [а-яё]*(?:[ыие]|ой|ей|ью)\b")
_ENDING = alternatives([*_ORDINAL_ENDINGS, *_PLURAL_ENDINGS, *_CARDINAL_ENDINGS])


def _suffixed_words(match: re.Match[str]) -> str:
    """Words of 5-й, 1-го, 90-х, 10-ти."""
    number, ending = int(match[1]), match[2]
    if ending in _CARDINAL_ENDINGS:
        return cardinal(number, case=_CARDINAL_ENDINGS[ending])
    if ending in _PLURAL_ENDINGS:
        if ending == "х" and number in (2, 3, 4):
            return cardinal(number, case="g")
        return ordinal(number, case=_PLURAL_ENDINGS[ending], plural=True)
    case, gender = _ORDINAL_ENDINGS[ending]
    if ending == "е" and number >= 10 and number % 10 == 0:
        return ordinal(number, plural=True)
    if ending == "й" and _FEMININE_OBLIQUE.match(match.string, match.end()):
        return ordinal(number, case="g", gender="f")
    if ending == "м" and word_before(match.string, match.start()) not in ("в", "во", "на", "о", "об", "при"):
        case = "i"
    return ordinal(number, case=case, gender=gender)


def _compound_words(match: re.Match[str]) -> str:
    """Words of 5-летний."""
    return compound_stem(int(match[1])) + match[2]


_HYPHENATED: Rules = (
    (re.compile(rf"(?<![\d.,])(\d{{1,9}})-({_ENDING})(?!\w)"), _suffixed_words),
    (re.compile(r"(?<![\d.,-])([1-9]\d{0,2}|1000)-([а-яё]{3,})"), _compound_words),
)


# Roman numerals

_MALE = (
    "Пётр|Петр|Никола|Александр|Павел|Павл|Иван|Иоанн|Людовик|Генрих|Карл|Фридрих|Вильгельм|Георг|Эдуард|Яков|"
    "Наполеон|Филипп|Бенедикт|Пи|Васили|Фёдор|Михаил|Рамсес|Ричард|Франциск|Григори|Густав|том|раздел|класс|тип|этап|"
    "съезд|квартал"
)
_FEMALE = "Екатерин|Елизавет|Анн|Мари|Маргарит|Виктори|Изабелл|глав|част|стать|степен|групп"
_MALE_ENDINGS: dict[str, Case] = {
    **{"": "n", "й": "n", "а": "g", "я": "g", "у": "d", "ю": "d", "ом": "i", "ем": "i", "е": "p", "и": "p"}
}
_FEMALE_ENDINGS: dict[str, Case] = {
    **{"а": "n", "я": "n", "ь": "n", "ы": "g", "и": "g", "е": "d", "у": "a", "ю": "a", "ой": "i", "ей": "i", "ью": "i"}
}
_NEXT_ENDINGS: tuple[tuple[str, Case, Gender], ...] = (
    *(("ая", "n", "f"), ("ой", "g", "f"), ("ую", "a", "f"), ("ое", "n", "n"), ("ого", "g", "m"), ("ому", "d", "m")),
    *(("ым", "i", "m"), ("ом", "i", "m"), ("ия", "n", "f"), ("ь", "n", "f"), ("а", "n", "f"), ("я", "n", "f")),
    *(("и", "g", "f"), ("ы", "g", "f"), ("о", "n", "n"), ("ие", "n", "n"), ("е", "p", "m"), ("у", "a", "f")),
)


def _numeral_after_noun(match: re.Match[str]) -> str:
    """Words of Пётр I, Екатерины II, глава IV."""
    value = roman_value(match[3])
    if not value:
        return match[0]
    male = re.fullmatch(_MALE, match[1], re.IGNORECASE)
    ending = match[2] or ""
    case = (_MALE_ENDINGS if male else _FEMALE_ENDINGS).get(ending, "n")
    return f"{match[1]}{ending} {ordinal(value, case=case, gender='m' if male else 'f')}"


def _numeral_before_noun(match: re.Match[str]) -> str:
    """Words of II мировая война, III место."""
    value = roman_value(match[1])
    if not value:
        return match[0]
    word = match[2].lower()
    case, gender = next(((c, g) for ending, c, g in _NEXT_ENDINGS if word.endswith(ending)), ("n", "m"))
    return ordinal(value, case=case, gender=gender)


_ROMAN_NUMERALS: Rules = (
    (
        re.compile(rf"\b((?i:{_MALE}|{_FEMALE}))(й|а|я|у|ю|ом|ем|е|и|ь|ы|ой|ей|ью)? ([IVX]+)\b"),
        _numeral_after_noun,
    ),
    (re.compile(r"\b([IVX]{2,}|I)(?= ([а-яё]+))"), _numeral_before_noun),
    (re.compile(r"\b([IVX]{2,})\b"), lambda m: cardinal(roman_value(m[1]) or 0) if roman_value(m[1]) else m[0]),
)


# Plain numbers, and signs

_NEXT_WORD = re.compile(r" ([а-яё]+)", re.IGNORECASE)
_OBLIQUE_ENDINGS: tuple[tuple[str, Case], ...] = (
    *(("ами", "i"), ("ями", "i"), ("ах", "p"), ("ях", "p"), ("ам", "d"), ("ям", "d")),
)
_NOT_NOUNS = re.compile("или|при|три|если|там|вам|нам|сам|прям|нами|вами|ночи|пути|дети|люди")
_FEMININE_SOFT = re.compile("(?:.*ость|ночь|дверь|часть|площадь|степень|осень|кровать|тетрадь|жизнь|цель|речь|мышь)$")


def _agreement(match: re.Match[str]) -> tuple[Case, Gender]:
    """Guess case and gender of a number from the preposition before it and the ending of the word after it."""
    case = case_after_preposition(match.string, match.start())
    following = _NEXT_WORD.match(match.string, match.end())
    word = following[1].lower() if following else ""
    value = whole_value(match["amount"])
    if value is None or len(word) < 3 or _NOT_NOUNS.fullmatch(word):
        return case, "m"
    for ending, oblique in _OBLIQUE_ENDINGS:
        if word.endswith(ending):
            return oblique, "m"
    if ends_in_one(value):
        return _agreement_in_singular(word, case)
    feminine = word.endswith(("ы", "и", "ые", "ие")) and case in ("n", "a")
    return case, "f" if feminine else "m"


def _agreement_in_singular(word: str, case: Case) -> tuple[Case, Gender]:
    """Guess the same before a singular noun (1, 21, …): одна книга, одну книгу, одной книги, одно окно, один стол."""
    if word.endswith(("у", "ю")) and case in ("n", "a"):
        return "a", "f"
    if word.endswith(("ы", "и")):
        return ("g" if case == "n" else case), "f"
    if word.endswith("е") and case == "a":
        return "p", "m"
    if word.endswith(("а", "я")) and case == "n" or _FEMININE_SOFT.match(word):
        return case, "f"
    return case, "n" if word.endswith(("о", "е")) and case in ("n", "a") else "m"


def _plain_number_words(match: re.Match[str]) -> str:
    case, gender = _agreement(match)
    return join_range(first_of_range(match, case, gender), number_words(match["amount"], case=case, gender=gender))


def _fraction_words(match: re.Match[str]) -> str:
    """Words of 3/4, 2 1/2."""
    whole, numerator, denominator = match.groups()
    if int(numerator) >= int(denominator):
        return match[0]
    words = common_fraction(int(numerator), int(denominator))
    if not whole:
        return words
    return f"{cardinal(int(whole), gender='f')} {'целая' if ends_in_one(int(whole)) else 'целых'} и {words}"


def _phone_words(match: re.Match[str]) -> str:
    """Words of +7 916 123-45-67."""
    country = "плюс семь" if match[1] == "+7" else "восемь"
    return " ".join([country, *map(number_words, match.groups()[1:])])


_NUMBERS: Rules = (
    WRITE_OUT_FRACTION_SIGN,
    (re.compile(r"(?<![\d./])(?<!дом )(?:(\d{1,9}) )?(\d)/([2-9]|10)(?![\d/])"), _fraction_words),
    (DOT_IN_VERSION, " точка "),
    (re.compile(r"(?<=\d)[xх×](?=\d)|(?<=\d) [xх×] (?=\d)", re.IGNORECASE), " на "),
    (re.compile(r"(?<=\d):(?=\d)"), " - "),
    (re.compile(r"(?<=\d)\s?/\s?(?=\d)"), " дробь "),
    SEPARATE_LETTERS_FROM_DIGITS,
    (re.compile(rf"{FIRST_OF_RANGE}(?P<amount>{NUMBER})"), _plain_number_words),
)
_SIGNS: Rules = (
    (re.compile(r"\bи\s?/\s?или\b", re.IGNORECASE), "и или"),
    *sign_rules({"&": "и", "+": "плюс", "@": "собака", "=": "равно", "×": "умножить на", "÷": "разделить на"}),
    *sign_rules({"±": "плюс минус", "−": "минус", "<": "меньше", ">": "больше", "/": "слэш", "%": "процентов"}),
    *sign_rules({"°": "градусов", "$": "долларов", "€": "евро", "£": "фунтов", "₽": "рублей"}),
    *sign_rules({"²": "в квадрате", "³": "в кубе"}),
)
_RULES: Rules = (
    (
        re.compile(r"(?<![\d+])(\+7|8)[ -]?\(?(\d{3})\)?[ -]?(\d{3})[ -]?(\d{2})[ -]?(\d{2})(?![\d-])"),
        _phone_words,
    ),
    *number_sign_rules(about="примерно", number="номер", hashtag="хештег", section="параграф"),
    (re.compile(r"°\s?С"), "°C"),
    (re.compile(r"(?<=\d)\s?(кв|куб)\.\s?(?=к?м\b)"), r" \1. "),
    (re.compile(r"(?<=\d)\s?(к?м)([23])\b"), lambda m: f" {m[1]}{'²' if m[2] == '2' else '³'}"),
    *CALENDAR_RULES,
    *ABBREVIATION_RULES,
    *AMOUNT_RULES,
    *_HYPHENATED,
    *_ROMAN_NUMERALS,
    *STANDALONE_ABBREVIATION_RULES,
    *LETTER_RULES,
    *_NUMBERS,
    *_SIGNS,
)
