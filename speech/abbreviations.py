"""Abbreviations after whose dot a sentence goes on."""

from __future__ import annotations

import re

WORDS = {
    "en": "mr mrs ms dr prof st vol fig vs etc approx dept est gen col capt lt sgt rev gov sen jr sr inc ltd co corp "
    "mt rep hon adm maj messrs pres",
    "de": "dr prof hr fr nr str st bzw ca usw vgl evtl ggf inkl exkl zzgl mio mrd geb gest abs art bd jh tel abt allg "
    "bes ehem etc max min od sog tägl verh med phil rer nat jur kap abb",
    "ru": "г гг ул пл пер им тыс руб коп см ср др пр проф акад доц св гр стр рис табл гл ст т п д кв корп обл р оз о "
    "тел долл млн млрд",
    "es": "sr sra srta dr dra d da ud uds etc pág av prof",
    "fr": "dr mme mlle mgr etc av env p",
    "it": "sig sigg dott prof ing avv ecc pag",
    "nl": "dr prof mevr dhr drs ir mr enz bijv nr blz",
    "pl": "ul dr prof inż im św al pl mgr tel np godz",
    "pt": "sr sra dr dra prof av etc pág",
    "sv": "kl dr prof st bl ca nr s",
    "da": "kl dr prof nr ca bl",
    "nb": "kl dr prof nr ca bl",
    "cs": "ul dr prof ing tzv str č např",
    "tr": "dr prof sn av doç cad sok no",
}
WORDS_BEFORE_NUMBERS = {
    "en": "no nos p pp ch sec art pt jan feb mar apr jun jul aug sep sept oct nov dec",
}
LAST_WORD = re.compile(r"([^\W_]+)\.[\"'»”’)\]]*$")
DOTTED = re.compile(r"(?<!\w)(?:\w\.\s?){2,}$")
ORDINAL_LANGUAGES = ("de", "cs", "da", "et", "fi", "hr", "hu", "is", "lv", "nb", "no", "pl", "sk", "sl", "sr")
"""Languages that write a dot after an ordinal number."""
ORDINAL = re.compile(r"(?<![\w.,])\d{1,3}\.$")


def is_abbreviation(text: str, language: str, after: str = "") -> bool:
    """Tell whether the dot at the end of `text` belongs to an abbreviation, an initial or an ordinal number.

    `after`: the text behind it.
    """
    base = language.split("-")[0]
    last = LAST_WORD.search(text)
    if last is None:
        return False
    word = last[1]
    if len(word) == 1 and word.isalpha() and (base, word) not in (("en", "I"), ("ru", "я")):
        return True
    if base == "de" and word.casefold().endswith("str"):  # Hauptstr.
        return True
    if after[:1].isdigit() and word.casefold() in WORDS_BEFORE_NUMBERS.get(base, "").split():
        return True
    if DOTTED.search(text) or word.casefold() in WORDS.get(base, "").split():
        return True
    return base in ORDINAL_LANGUAGES and ORDINAL.search(text) is not None
