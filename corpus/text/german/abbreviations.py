"""German abbreviations in words."""

from __future__ import annotations

import re

from corpus.text.replacement_rules import Rules, alternatives, look_up, parse_table, separate_letters

_SEVERAL_PARTS = parse_table(
    "z b=zum Beispiel, d h=das heißt, u a=unter anderem, o ä=oder ähnliches, u ä=und ähnliches, z t=zum Teil, "
    "i d r=in der Regel, s o=siehe oben, s u=siehe unten, v a=vor allem, v chr=vor Christus, n chr=nach Christus, "
    "m e=meines Erachtens, u u=unter Umständen, z zt=zur Zeit, h c=honoris causa, i a=im Allgemeinen"
)
_WORDS = parse_table(
    "bzw=beziehungsweise, usw=und so weiter, etc=et cetera, ca=circa, evtl=eventuell, ggf=gegebenenfalls, "
    "vgl=vergleiche, inkl=inklusive, exkl=exklusive, zzgl=zuzüglich, mio=Millionen, mrd=Milliarden, max=maximal, "
    "min=mindestens, mind=mindestens, sog=sogenannte, tägl=täglich, bes=besonders, allg=allgemein, ehem=ehemals, "
    "verh=verheiratet, geb=geboren, gest=gestorben, od=oder, std=Stunden, sek=Sekunden, jh=Jahrhundert, abt=Abteilung, "
    "str=Straße, dr=Doktor, prof=Professor, tel=Telefon, dipl=Diplom, ing=Ingenieur"
)
_AFTER_NUMBERS = parse_table("std=Stunde, sek=Sekunde, min=Minute, mio=Million, mrd=Milliarde")
_BEFORE_NUMBERS = parse_table("nr=Nummer, s=Seite, abs=Absatz, art=Artikel, bd=Band, kap=Kapitel, abb=Abbildung")
_BEFORE_NAMES = parse_table("Hr=Herr, Fr=Frau, St=Sankt")
_MAY_END_SENTENCES = ("usw", "etc", "jh", "o ä", "u ä", "h c", "v chr", "n chr")
_TEXT_END = re.compile(r"[)'\"]*\s*$")
_NEXT_SENTENCE = re.compile(r"[)'\"]*\s+[(\"']*[A-ZÄÖÜ]")
_ACRONYMS = "USA|US|ARD|EU|AG|IG|AOK|ADAC|AEG|ICE|IC|KI|OP|UV|UKW|EDV"


def final_dot(match: re.Match[str], abbreviation: str = "") -> str:
    """A full stop if the dot of the abbreviation also ends the sentence; a capital letter may be that of a noun."""
    ends = _TEXT_END.match(match.string, match.end()) is not None
    if abbreviation in _MAY_END_SENTENCES:
        ends = ends or _NEXT_SENTENCE.match(match.string, match.end()) is not None
    return "." if ends else ""


def _parts_words(match: re.Match[str]) -> str:
    key = " ".join(re.findall(r"\w+", match[0].lower()))
    return _SEVERAL_PARTS[key] + final_dot(match, key)


def _words(match: re.Match[str]) -> str:
    key = match[1].lower()
    return _WORDS[key] + final_dot(match, key)


def _counted_words(match: re.Match[str]) -> str:
    """Words of 1 Std., 5 Min., 2,5 Mio."""
    amount, word = match[1], _AFTER_NUMBERS[match[2].lower()]
    plural = word + ("n" if word.endswith("e") else "en")
    return (f"eine {word}" if amount == "1" else f"{amount} {plural}") + final_dot(match)


def _dotted(phrase: str) -> str:
    return r"\.\s?".join(map(re.escape, phrase.split())) + r"\."


ABBREVIATION_RULES: Rules = (
    (
        re.compile(rf"\b(?:{'|'.join(_dotted(p) for p in sorted(_SEVERAL_PARTS, key=len, reverse=True))})", re.I),
        _parts_words,
    ),
    (re.compile(rf"(?<![\d.,])(\d+(?:[.,]\d+)*)\s?({alternatives(_AFTER_NUMBERS)})\.", re.I), _counted_words),
    (re.compile(rf"\b({alternatives(_BEFORE_NUMBERS)})\.\s?(?=\d)", re.I), look_up(_BEFORE_NUMBERS, end=" ")),
    (
        re.compile(rf"\b({alternatives(_BEFORE_NAMES)})\.(?= ?[A-ZÄÖÜ])"),
        lambda match: _BEFORE_NAMES[match[1]],
    ),
    (re.compile(r"(?<=[a-zäöü])str\.", re.I), lambda match: "straße" + final_dot(match)),
    (re.compile(rf"\b({alternatives(_WORDS)})\.", re.I), _words),
)
LETTER_RULES: Rules = (
    (re.compile(r"(?<![\w.])([A-ZÄÖÜ])\.(?=\s?[A-ZÄÖÜ])"), r"\1 "),  # initials
    (re.compile(rf"\b(?:{_ACRONYMS})\b"), separate_letters),
)
