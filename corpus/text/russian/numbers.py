"""Russian numbers in words, and nouns that agree with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Case = Literal["n", "g", "d", "a", "i", "p"]
"""Nominative, genitive, dative, accusative, instrumental, prepositional."""
Gender = Literal["m", "f", "n"]

LONGEST_NUMBER_DIGITS = 15
LONGEST_FRACTION_DIGITS = 6
"""Longer ones are read digit by digit."""

NUMBER = r"(?:(?<![\d,.])\d{1,3}(?: \d{3})+(?!\d)|\d+)(?:[.,]\d+)?"
_WHOLE: dict[Case, tuple[str, str]] = {
    **{"n": ("целая", "целых"), "g": ("целой", "целых"), "d": ("целой", "целым")},
    **{"a": ("целую", "целых"), "i": ("целой", "целыми"), "p": ("целой", "целых")},
}


def cardinal(number: int, *, case: Case = "n", gender: Gender = "m") -> str:
    """двадцать одна, пяти"""
    from num2words import num2words

    words = str(num2words(number, lang="ru", case=case, gender=gender, animate=False))
    return re.sub("^одн[а-я]+ (?=тысяч)", "", words)


def ordinal(number: int, *, case: Case = "n", gender: Gender = "m", plural: bool = False) -> str:
    """пятый, тысяча девятьсот восемьдесят четвёртого"""
    from num2words import num2words

    words = num2words(number, lang="ru", to="ordinal", case=case, gender=gender, plural=plural, animate=False)
    return str(words)


def number_words(digits: str, *, case: Case = "n", gender: Gender = "m") -> str:
    """Words of 1 234,5; what starts with a superfluous zero or is too long is read digit by digit."""
    whole, _, fraction = digits.replace(" ", "").replace(".", ",").partition(",")
    if fraction:
        return _decimal(whole, fraction, case=case)
    if len(whole) > LONGEST_NUMBER_DIGITS or (len(whole) > 1 and whole[0] == "0"):
        return digit_words(whole)
    return cardinal(int(whole), case=case, gender=gender)


def digit_words(digits: str) -> str:
    """ноль ноль семь"""
    return " ".join(cardinal(int(digit)) for digit in digits)


def _decimal(whole: str, fraction: str, *, case: Case) -> str:
    """две целых пять десятых, до двух целых пяти десятых"""
    if len(whole) > LONGEST_NUMBER_DIGITS or len(fraction) > LONGEST_FRACTION_DIGITS:
        return f"{digit_words(whole)} запятая {digit_words(fraction)}"
    ones, parts = int(whole), int(fraction)
    share_case: Case = case if ends_in_one(parts) or case not in ("n", "a") else "g"
    share = ordinal(10 ** len(fraction), case=share_case, gender="f", plural=not ends_in_one(parts))
    integer = f"{cardinal(ones, case=case, gender='f')} {_WHOLE[case][0 if ends_in_one(ones) else 1]}"
    return f"{integer} {cardinal(parts, case=case, gender='f')} {share}"


def common_fraction(parts: int, denominator: int) -> str:
    """три четвёртых"""
    if ends_in_one(parts):
        return f"{cardinal(parts, gender='f')} {ordinal(denominator, gender='f')}"
    return f"{cardinal(parts, gender='f')} {ordinal(denominator, case='g', plural=True)}"


def compound_stem(number: int) -> str:
    """The number as the first part of a word: пяти(летний), сто(процентный), двадцатиодно(летний)."""
    stems = {"одного": "одно", "ста": "сто", "девяноста": "девяносто", "тысячи": "тысяче", "одной": ""}
    return "".join(stems.get(word, word) for word in cardinal(number, case="g").split())


def ends_in_one(number: int) -> bool:
    """Whether a noun stands in the singular after the number: 1, 21, 101, but not 11."""
    return number % 10 == 1 and number % 100 != 11


def _ends_in_few(number: int) -> bool:
    return number % 10 in (2, 3, 4) and number % 100 not in (12, 13, 14)


@dataclass(frozen=True)
class Noun:
    """A noun by its nominative, its genitive and its plural genitive; `adjective` is the stem of one before it."""

    one: str
    few: str
    many: str
    adjective: str = ""
    tail: str = ""

    @property
    def gender(self) -> Gender:
        return "f" if self.one.endswith(("а", "я")) else "m"

    @property
    def _is_soft(self) -> bool:
        return self.one.endswith("я") or self.few.endswith("я")

    def agreeing(self, number: int, case: Case = "n") -> str:
        """5 → километров, 21 → километр"""
        if ends_in_one(number):
            return self._with_adjective(self._singular(case), _ADJECTIVE_SINGULAR[case])
        if case in ("n", "a"):
            return self._with_adjective(self.few if _ends_in_few(number) else self.many, "их")
        return self._with_adjective(self._plural(case), _ADJECTIVE_PLURAL[case])

    def after_fraction(self) -> str:
        """2,5 километра"""
        return self._with_adjective(self.few, "ого")

    def _with_adjective(self, noun: str, ending: str) -> str:
        if not self.adjective:
            return noun + self.tail
        ending = ending if self.adjective.endswith("к") else ending.replace("и", "ы")
        return f"{self.adjective}{ending} {noun}{self.tail}"

    def _singular(self, case: Case) -> str:
        if case == "g":
            return self.few
        ending = _NOUN_SINGULAR[self.gender, self._is_soft].get(case)
        return self.one if ending is None or self.one == self.few else self.few[:-1] + ending

    def _plural(self, case: Case) -> str:
        if case == "g" or self.one == self.few:
            return self.many
        return self.few[:-1] + ("я" if self._is_soft else "а") + _NOUN_PLURAL[case]


_NOUN_SINGULAR: dict[tuple[Gender, bool], dict[Case, str]] = {  # the bool: a soft stem
    ("m", False): {"d": "у", "i": "ом", "p": "е"},
    ("m", True): {"d": "ю", "i": "ем", "p": "е"},
    ("f", False): {"d": "е", "a": "у", "i": "ой", "p": "е"},
    ("f", True): {"d": "е", "a": "ю", "i": "ей", "p": "е"},
}
_NOUN_PLURAL: dict[Case, str] = {"d": "м", "i": "ми", "p": "х"}
_ADJECTIVE_SINGULAR: dict[Case, str] = {"n": "ий", "g": "ого", "d": "ому", "a": "ий", "i": "им", "p": "ом"}
_ADJECTIVE_PLURAL: dict[Case, str] = {"g": "их", "d": "им", "i": "ими", "p": "их"}


def noun(forms: str) -> Noun:
    """From `рубль/рубля/рублей`, or from the nominative where the rest is regular; `квадратный метр`, `метр|в час`."""
    head, bar, tail = forms.partition("|")
    adjective, _, head = ("", "", head) if "/" in head else head.rpartition(" ")
    if "/" in head:
        one, few, many = head.split("/")
    elif head.endswith("а"):
        one, few, many = head, head[:-1] + ("и" if head[-2] in "гкхжчшщ" else "ы"), head[:-1]
    else:
        one, few, many = head, head + "а", head + "ов"
    return Noun(one, few, many, adjective[:-2], bar.replace("|", " ") + tail)


# Which case a number stands in

_PREPOSITIONS: dict[Case, str] = {
    "g": "до|от|с|со|из|без|для|около|после|против|кроме|у|свыше|порядка|вместо|ради|более|менее|больше|меньше|выше|"
    "ниже|старше|младше|дольше|длиннее|тяжелее|дороже",
    "d": "к|ко|благодаря",
    "a": "в|во|на|за|через|про|по|спустя|под",
    "i": "между|перед|над",
    "p": "о|об|при",
}
_CASES = {word: case for case, words in _PREPOSITIONS.items() for word in words.split("|")}
_PREPOSITION = re.compile(r"(?:^|[^\w-])([а-яё]+) $", re.IGNORECASE)
_BETWEEN = re.compile(rf"\bмежду {NUMBER}(?: [а-яё]+)? и $", re.IGNORECASE)


def word_before(text: str, end: int) -> str:
    """The word, in lower case, that one space separates from the place; empty where there is none."""
    found = _PREPOSITION.search(text, max(0, end - 40), end)
    return found[1].lower() if found else ""


def case_at(text: str, end: int) -> Case:
    """The case that the preposition right before the place asks for; nominative without one."""
    if _BETWEEN.search(text, max(0, end - 60), end):
        return "i"
    return _CASES.get(word_before(text, end), "n")
