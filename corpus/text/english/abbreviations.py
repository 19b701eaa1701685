"""English abbreviations, initials and acronyms in words."""

from __future__ import annotations

import re

from corpus.text.english.dates import MONTH, month_name
from corpus.text.replacement_rules import Rules, final_dot, look_up, parse_table, separate_letters

_TITLES = parse_table(
    "mr=Mister, mrs=Missus, ms=Miz, dr=Doctor, prof=Professor, rev=Reverend, gen=General, col=Colonel, capt=Captain, "
    "lt=Lieutenant, sgt=Sergeant, maj=Major, gov=Governor, sen=Senator, rep=Representative, pres=President, "
    "hon=Honorable, messrs=Messieurs, mt=Mount, ft=Fort, st=Saint, cmdr=Commander, adm=Admiral"
)
_TITLES_WITHOUT_DOT = "Mr|Mrs|Ms|Dr|St|Prof|Mt"
_ABBREVIATIONS = parse_table(
    "etc=et cetera, vs=versus, approx=approximately, dept=department, est=established, ave=avenue, blvd=boulevard, "
    "rd=road, st=street, dr=drive, jr=junior, sr=senior, co=company, ltd=limited, inc=incorporated, "
    "corp=corporation, govt=government, assn=association, bros=brothers, esq=esquire, misc=miscellaneous"
)
_WITHIN_SENTENCES = ("vs", "approx", "est", "govt")  # a capital letter after them begins a name
_NUMBER_LABELS = parse_table(
    "no=number, nos=numbers, vol=volume, ch=chapter, p=page, pp=pages, fig=figure, figs=figures, sec=section, "
    "art=article, pt=part"
)
_expand_title = look_up(_TITLES)


def _expand_street(match: re.Match[str]) -> str:
    """Words of Wall St. before the next sentence."""
    return f"{match[1]} {_ABBREVIATIONS[match[2].lower()]}."


def _expand(match: re.Match[str]) -> str:
    abbreviation = match[1].lower()
    goes_on = abbreviation in _WITHIN_SENTENCES and match.string[match.end() :].strip()
    return _ABBREVIATIONS[abbreviation] + ("" if goes_on else final_dot(match))


ABBREVIATION_RULES: Rules = (
    (re.compile(r"\be\.\s?g\.", re.IGNORECASE), "for example"),
    (re.compile(r"\bi\.\s?e\.", re.IGNORECASE), "that is"),
    (re.compile(r"\bPh\.?\s?D\b\.?"), "P H D"),
    (re.compile(rf"\b({'|'.join(_NUMBER_LABELS)})\.\s?(?=\d)", re.IGNORECASE), look_up(_NUMBER_LABELS, end=" ")),
    (re.compile(rf"\b({MONTH})(?= \d{{4}}\b)"), lambda m: month_name(m[1])),
    (re.compile(r"(?<=[a-z] )([A-Z]\w+) (St|Dr)\.(?= [A-Z])"), _expand_street),
    (re.compile(rf"\b({'|'.join(map(str.capitalize, _TITLES))})\.(?= ?[A-Z])"), _expand_title),
    (re.compile(rf"\b({_TITLES_WITHOUT_DOT})(?= [A-Z][a-z])"), _expand_title),
    (re.compile(r"\b(dr)\.(?= [a-z])"), _expand_title),
    (re.compile(rf"\b({'|'.join(_ABBREVIATIONS)})\.", re.IGNORECASE), _expand),
    (
        re.compile(r"\b(mr|mrs|prof)\b\.?", re.IGNORECASE),
        lambda m: _TITLES[m[1].lower()] + final_dot(m) * m[0].endswith("."),
    ),
)


# Initials and acronyms, read letter by letter

_ACRONYMS = (
    "USA|UK|EU|UN|FBI|CIA|AI|USB|IBM|USSR|URL|API|CEO|CFO|CTO|CPU|GPU|FAQ|DIY|UFO|IQ|EEG|ATM|UFC|MBA|NBA|UCLA|MIT|"
    "IPO|EPA|SUV|HIV|IP|UI|OS|ISBN|ICU|VIP|DNA|RNA|(?<=the )US"
)
_CONSONANTS = "[B-DF-HJ-NP-TV-XZ]{2,}"
_INTERJECTIONS = r"(?!(?:H+M+|SH+|PS+T|BR+|GR+|M+|Z+|TS+K|PF+T)\b)"


def _spell_dotted(match: re.Match[str]) -> str:
    return separate_letters(match) + final_dot(match)


LETTER_RULES: Rules = (
    (re.compile(r"\b[A-Z]{1,3}&[A-Z]{1,3}\b"), lambda m: " and ".join(map(" ".join, m[0].split("&")))),
    (re.compile(r"(?<![\w.])(?:[A-Za-z]\.){2,}(?!\w)"), _spell_dotted),
    (re.compile(r"(?<![\w.'])([A-HJ-Z])\.(?=\s?[A-Z])"), r"\1 "),
    (re.compile(rf"\b{_INTERJECTIONS}({_CONSONANTS}|{_ACRONYMS})'?s\b"), lambda m: " ".join(m[1]) + "'s"),
    (re.compile(rf"\b{_INTERJECTIONS}(?:{_CONSONANTS}|{_ACRONYMS})\b"), separate_letters),
)
