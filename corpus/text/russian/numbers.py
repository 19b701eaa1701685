"""Russian numbers in words, and nouns that agree with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from corpus.text.replacement_rules import MAX_NUMBER_DIGITS, is_read_by_digit

Case = Literal["n", "g", "d", "a", "i", "p"]
"""Nominative, genitive, dative, accusative, instrumental, prepositional."""
Gender = Literal["m", "f", "n"]

MAX_FRACTION_DIGITS = 6  # longer fractions are read digit by digit
NUMBER = r"(?:(?<![\d,.])\d{1,3}(?: \d{3})+(?!\d)|\d+)(?:[.,]\d+)?"
_WHOLE: dict[Case, tuple[str, str]] = {
    **{"n": ("целая", "целых"), "g": ("целой", "целых"), "d": ("целой", "целым")},
    **{"a": ("целую", "целых"), "i": ("целой", "целыми"), "p": ("целой", "целых")},
}


def cardinal(number: int, *, case: Case = "n", gender: Gender = "m") -> str:
    """Return words such as: двадцать одна, пяти."""
    from num2words import num2words

    words = str(num2words(number, lang="ru", case=case, gender=gender, animate=False))
    return re.sub("^одн[а-я]+ (?=тысяч)", "", words)


def ordinal(number: int, *, case: Case = "n", gender: Gender = "m", plural: bool = False) -> str:
    """Return words such as: пятый, тысяча девятьсот восемьдесят четвёртого."""
    from num2words import num2words

    words = num2words(number, lang="ru", to="ordinal", case=case, gender=gender, plural=plural, animate=False)
    return str(words)


def number_words(digits: str, *, case: Case = "n", gender: Gender = "m") -> str:
    """Words of 1 234,5; a number with a leading zero or too many digits is read digit by digit."""
    whole, _, fraction = digits.replace(" ", "").replace(".", ",").partition(",")
    if fraction:
        return _decimal(whole, fraction, case=case)
    if is_read_by_digit(whole):
        return digit_words(whole)
    return cardinal(int(whole), case=case, gender=gender)


def digit_words(digits: str) -> str:
    """Return words such as: ноль ноль семь."""
    return " ".join(cardinal(int(digit)) for digit in digits)


def _decimal(whole: str, fraction: str, *, case: Case) -> str:
    """Return words such as: две целых пять десятых, двух целых пяти десятых."""
    if len(whole) > MAX_NUMBER_DIGITS or len(fraction) > MAX_FRACTION_DIGITS:
        return f"{digit_words(whole)} запятая {digit_words(fraction)}"
    whole_value, numerator = int(whole), int(fraction)
    denominator_case: Case = case if ends_in_one(numerator) or case not in ("n", "a") else "g"
    denominator = ordinal(10 ** len(fraction), case=denominator_case, gender="f", plural=not ends_in_one(numerator))
    integer = f"{cardinal(whole_value, case=case, gender='f')} {_WHOLE[case][0 if ends_in_one(whole_value) else 1]}"
    return f"{integer} {cardinal(numerator, case=case, gender='f')} {denominator}"


def common_fraction(numerator: int, denominator: int) -> str:
    """Return words such as: три четвёртых."""
    if ends_in_one(numerator):
        return f"{cardinal(numerator, gender='f')} {ordinal(denominator, gender='f')}"
    return f"{cardinal(numerator, gender='f')} {ordinal(denominator, case='g', plural=True)}"


def compound_stem(number: int) -> str:
    """Return a number as the first part of a word: пяти(летний), сто(процентный), двадцатиодно(летний)."""
    stems = {"одного": "одно", "ста": "сто", "девяноста": "девяносто", "тысячи": "тысяче", "одной": ""}
    return "".join(stems.get(word, word) for word in cardinal(number, case="g").split())


def ends_in_one(number: int) -> bool:
    """Whether a noun is singular after the number: 1, 21, 101, but not 11."""
    return number % 10 == 1 and number % 100 != 11


def _ends_in_few(number: int) -> bool:
    return number % 10 in (2, 3, 4) and number % 100 not in (12, 13, 14)


@dataclass(frozen=True)
class Noun:
    """A noun as it is after 1 (`one`), 2 (`few`) and 5 (`many`), with the stem of its adjective and words after it."""

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

    def agree_with(self, number: int, case: Case = "n") -> str:
        """Return the form after a whole number: 5 → километров, 21 → километр."""
        if ends_in_one(number):
            return self._with_adjective(self._singular(case), _ADJECTIVE_SINGULAR[case])
        if case in ("n", "a"):
            return self._with_adjective(self.few if _ends_in_few(number) else self.many, "их")
        return self._with_adjective(self._plural(case), _ADJECTIVE_PLURAL[case])

    def after_fraction(self) -> str:
        """Return the form after a decimal fraction: 2,5 → километра."""
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


_NOUN_SINGULAR: dict[tuple[Gender, bool], dict[Case, str]] = {  # keys: gender, whether the stem is soft
    ("m", False): {"d": "у", "i": "ом", "p": "е"},
    ("m", True): {"d": "ю", "i": "ем", "p": "е"},
    ("f", False): {"d": "е", "a": "у", "i": "ой", "p": "е"},
    ("f", True): {"d": "е", "a": "ю", "i": "ей", "p": "е"},
}
_NOUN_PLURAL: dict[Case, str] = {"d": "м", "i": "ми", "p": "х"}
_ADJECTIVE_SINGULAR: dict[Case, str] = {"n": "ий", "g": "ого", "d": "ому", "a": "ий", "i": "им", "p": "ом"}
_ADJECTIVE_PLURAL: dict[Case, str] = {"g": "их", "d": "им", "i": "ими", "p": "их"}


def parse_noun(forms: str) -> Noun:
    """Parse `рубль/рубля/рублей`, or only the first form of a regular noun; also `квадратный метр`, `метр|в час`."""
    phrase, bar, tail = forms.partition("|")
    adjective, _, word = ("", "", phrase) if "/" in phrase else phrase.rpartition(" ")
    if "/" in word:
        one, few, many = word.split("/")
    elif word.endswith("а"):
        one, few, many = word, word[:-1] + ("и" if word[-2] in "гкхжчшщ" else "ы"), word[:-1]
    else:
        one, few, many = word, word + "а", word + "ов"
    return Noun(one, few, many, adjective[:-2], bar.replace("|", " ") + tail)


# Case of a number after a preposition

_PREPOSITIONS: dict[Case, str] = {
    "g": "до|от|с|со|из|без|для|около|после|против|кроме|у|свыше|порядка|вместо|ради|более|менее|больше|меньше|выше|"
    "ниже|старше|младше|дольше|длиннее|тяжелее|дороже",
    "d": "к|ко|благодаря",
    "a": "в|во|на|за|через|про|по|спустя|под",
    "i": "между|перед|над",
    "p": "о|об|при",
}
_CASE_BY_PREPOSITION = {word: case for case, words in _PREPOSITIONS.items() for word in words.split("|")}
_WORD_AND_SPACE = re.compile(r"(?:^|[^\w-])([а-яё]+) $", re.IGNORECASE)
_BETWEEN = re.compile(rf"\bмежду {NUMBER}(?: [а-яё]+)? и $", re.IGNORECASE)


def word_before(text: str, end: int) -> str:
    """Return the word before position `end`, in lower case, if one space separates them; else an empty string."""
    match = _WORD_AND_SPACE.search(text, max(0, end - 40), end)
    return match[1].lower() if match else ""


def case_after_preposition(text: str, end: int) -> Case:
    """Return the case that the preposition right before position `end` requires; nominative without one."""
    if _BETWEEN.search(text, max(0, end - 60), end):
        return "i"
    return _CASE_BY_PREPOSITION.get(word_before(text, end), "n")
