"""Russian abbreviations, initials and acronyms in words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from corpus.text.replacement_rules import Replacement, Rule, Rules, final_dot, look_up, parse_table
from corpus.text.russian.numbers import Case, case_after_preposition, word_before

_PHRASES = parse_table(
    "в т. ч.=в том числе, т. д.=так далее, т. п.=тому подобное, т. е.=то есть, т. к.=так как, т. н.=так называемый, "
    "т. о.=таким образом, и др.=и другие, и пр.=и прочее, до н. э.=до нашей эры, н. э.=нашей эры, "
    "и. о.=исполняющий обязанности"
)
_STANDALONE = parse_table(
    "см.=смотри, ср.=сравни, напр.=например, тыс.=тысяч, млн=миллионов, млрд=миллиардов, руб.=рублей, коп.=копеек, "
    "г-н=господин, г-жа=госпожа, б-р=бульвар, р-н=район, пр-т=проспект, о-в=остров, км/ч=километров в час"
)
_TITLES = parse_table(
    "им=имени, тов=товарищ, проф=профессор, акад=академик, доц=доцент, св=святой, гр=гражданин, ген=генерал, "
    "пос=посёлок, дер=деревня, оз=озеро, о=остров"
)
_PLACES = parse_table(
    "ул=улица улицы улице улицу улицей улице, пл=площадь площади площади площадь площадью площади, "
    "пер=переулок переулка переулку переулок переулком переулке, просп=проспект проспекта проспекту проспект "
    "проспектом проспекте, наб=набережная набережной набережной набережную набережной набережной, "
    "г=город города городу город городом городе, обл=область области области область областью области, "
    "р=река реки реке реку рекой реке"
)
_NUMBER_LABELS = parse_table(
    "д=дом дома дому дом домом доме, кв=квартира квартиры квартире квартиру квартирой квартире, "
    "корп=корпус корпуса корпусу корпус корпусом корпусе, стр=страница страницы странице страницу страницей "
    "странице, с=страница страницы странице страницу страницей странице, рис=рисунок рисунка рисунку рисунок "
    "рисунком рисунке, табл=таблица таблицы таблице таблицу таблицей таблице, гл=глава главы главе главу главой "
    "главе, п=пункт пункта пункту пункт пунктом пункте, ст=статья статьи статье статью статьёй статье, "
    "т=том тома тому том томом томе, ч=часть части части часть частью части, оф=офис офиса офису офис офисом офисе"
)
_PLACE_CASES: dict[str, Case] = {"в": "p", "во": "p", "на": "p", "по": "d", "за": "i", "под": "i", "через": "a"}


def _decline(table: Mapping[str, str]) -> Replacement:
    """Return a replacement of an abbreviation by the form for the preposition before it: на ул. → на улице."""

    def replace(match: re.Match[str]) -> str:
        case = _PLACE_CASES.get(word_before(match.string, match.start()))
        case = case or case_after_preposition(match.string, match.start())
        return table[match[1].lower()].split()["ngdaip".index(case)] + " "

    return replace


def _fixed_rule(short: str, long: str) -> Rule:
    """Return a rule for an abbreviation; only its first letter may be a capital, since Н. Э. Бауман has initials."""
    rest = re.escape(short[1:]).replace("\\ ", r"\s?")
    pattern = re.compile(rf"(?<!\w)(?i:{short[0]}){rest}(?!\w)")
    return pattern, lambda match: long + (final_dot(match) if short.endswith(".") else "")


ABBREVIATION_RULES: Rules = (
    *(_fixed_rule(short, long) for short, long in _PHRASES.items()),
    (re.compile(rf"(?<!\w)(?<!\d )((?i:{'|'.join(_PLACES)}))\.\s?(?=[А-ЯЁ][а-яё])"), _decline(_PLACES)),
    (re.compile(rf"(?<!\w)({'|'.join(_TITLES)})\.\s?(?=[А-ЯЁ])"), look_up(_TITLES, end=" ")),
    (
        re.compile(rf"(?<![\w.])(?<!\d )({'|'.join(_NUMBER_LABELS)})\.\s?(?=\d)", re.IGNORECASE),
        _decline(_NUMBER_LABELS),
    ),
)


STANDALONE_ABBREVIATION_RULES: Rules = tuple(_fixed_rule(short, long) for short, long in _STANDALONE.items())
"""Applied after the rules of amounts, which read 5 руб. as a whole."""


# Initials and acronyms, read letter by letter

_LETTER_NAMES = parse_table(
    "а=а, б=бэ, в=вэ, г=гэ, д=дэ, е=е, ё=ё, ж=жэ, з=зэ, и=и, й=и краткое, к=ка, л=эль, м=эм, н=эн, о=о, п=пэ, р=эр, "
    "с=эс, т=тэ, у=у, ф=эф, х=ха, ц=цэ, ч=чэ, ш=ша, щ=ща, ъ=твёрдый знак, ы=ы, ь=мягкий знак, э=э, ю=ю, я=я"
)
_ACRONYMS = "МГУ|ООН|ЦРУ|АЭС|ЭВМ|ЕС|ОАЭ|ЕГЭ|ОАО|ООО|АО|ИП|УК|ГУВД|СПбГУ"
_INTERJECTIONS = r"(?!(?:Х+М+|К+Х+М+|М+|Г+М+|Б+Р+|Т+С+|Ш+|П+Ф+|Ф+)\b)"


def _spell(match: re.Match[str]) -> str:
    letters = re.findall("[а-яё]", match[0].lower())
    return " ".join(_LETTER_NAMES[letter] for letter in letters)


def _spell_initials(match: re.Match[str]) -> str:
    return _spell(match) + (final_dot(match) or " ")


LETTER_RULES: Rules = (
    (re.compile(r"(?<![\w.])(?:[А-ЯЁ]\.\s?){2,}(?=[А-ЯЁ][а-яё])"), lambda m: _spell(m) + " "),
    (re.compile(r"(?<![\w.])[А-ЯЁ]\.\s?[А-ЯЁ]\.(?!\w)"), _spell_initials),
    (re.compile(r"(?<![\w.])[А-ЯЁ]\.\s?(?=[А-ЯЁ][а-яё])"), lambda m: _spell(m) + " "),
    (re.compile(r"\bСША\b"), "сэ шэ а"),
    (re.compile(rf"\b{_INTERJECTIONS}(?:[БВГДЖЗКЛМНПРСТФХЦЧШЩ]{{2,}}|{_ACRONYMS})\b"), _spell),
)
