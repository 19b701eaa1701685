"""English normalisation, by a table of examples and by properties."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.text.cleaning import clean
from corpus.text.english.normalize import fold_to_ascii, normalize

EXAMPLES = [
    # numbers
    ("I have 21 cats.", "I have twenty-one cats."),
    ("1,234,567 people", "one million two hundred thirty-four thousand five hundred sixty-seven people"),
    ("pi is 3.14", "pi is three point one four"),
    (".5 and 0.5", "point five and zero point five"),
    ("-5 or −7", "minus five or minus seven"),
    ("agent 007", "agent zero zero seven"),
    ("version 1.2.3", "version one point two point three"),
    ("12345", "twelve thousand three hundred forty-five"),
    (
        "1000000000000000000",
        "one zero zero zero zero zero zero zero zero zero zero zero zero zero zero zero zero zero zero",
    ),
    ("Batman vs. Superman, approx. Five", "Batman versus Superman, approximately Five"),
    ("10-20 pages", "ten to twenty pages"),
    ("10 – 20 pages", "ten to twenty pages"),
    ("5 − 3", "five minus three"),
    ("1st, 2nd, 3rd, 21st", "first, second, third, twenty-first"),
    ("1/2 of it, 3/4 of it", "one half of it, three quarters of it"),
    ("2½ hours", "two and a half hours"),
    ("9/11", "nine slash eleven"),
    ("1 1/2 km", "one and a half kilometers"),
    ("4x4 and 3x", "four by four and three times"),
    ("MP3, 3D, COVID-19", "M P three, three D, COVID-nineteen"),
    ("a 3-year-old", "a three-year-old"),
    ("call 555-1234", "call five five five, one two three four"),
    ("3:1", "three to one"),
    # years
    ("In 1984 it", "In nineteen eighty-four it"),
    (
        "2007, 1905, 1900, 2000, 2021",
        "two thousand seven, nineteen oh-five, nineteen hundred, two thousand, twenty twenty-one",
    ),
    ("the 1900s", "the nineteen hundreds"),
    ("the 1980s, the 90s, the '90s", "the nineteen eighties, the nineties, the nineties"),
    ("1914–1918", "nineteen fourteen to nineteen eighteen"),
    # dates and times
    ("on 12/05/2021", "on December fifth, twenty twenty-one"),
    ("on 25/12/2021", "on December twenty-fifth, twenty twenty-one"),
    ("on 2021-05-12", "on May twelfth, twenty twenty-one"),
    ("on 05.12.2021", "on December fifth, twenty twenty-one"),
    ("May 5, 1984", "May fifth, nineteen eighty-four"),
    ("the 5th of May", "the fifth of May"),
    ("5th of May", "fifth of May"),
    ("5 May 1984", "the fifth of May nineteen eighty-four"),
    ("Jan. 31", "January thirty-first"),
    ("Sat. 5 May", "Saturday the fifth of May"),
    ("May 5-7", "May fifth to seventh"),
    ("May 45", "May forty-five"),
    ("12/31/2021, 1/1/2021", "December thirty-first, twenty twenty-one, January first, twenty twenty-one"),
    ("on 45/45/2021", "on forty-five slash forty-five slash twenty twenty-one"),
    ("at 10:30", "at ten thirty"),
    ("at 10:05", "at ten oh five"),
    ("at 10:00", "at ten o'clock"),
    ("at 15:00", "at fifteen hundred"),
    ("3:00 p.m. Then", "three p m. Then"),
    ("at 5pm on", "at five p m on"),
    ("10am-5pm", "ten a m to five p m"),
    ("10:30:01", "ten thirty and one second"),
    # money
    ("$3.50", "three dollars and fifty cents"),
    ("£2 and €5", "two pounds and five euros"),
    ("$1 and $1.01", "one dollar and one dollar and one cent"),
    ("$0.50, £0.01", "fifty cents, one penny"),
    ("$2.5 million", "two point five million dollars"),
    ("$5k, £3bn", "five thousand dollars, three billion pounds"),
    ("-$5", "minus five dollars"),
    ("$10-20, $5-$10", "ten to twenty dollars, five dollars to ten dollars"),
    ("100₽, 5 USD", "one hundred rubles, five dollars"),
    # percent, degrees, units
    ("50% or 2.5%", "fifty percent or two point five percent"),
    ("20°C, 70 °F, 5°", "twenty degrees Celsius, seventy degrees Fahrenheit, five degrees"),
    ("5 km, 1 km, 2.5kg", "five kilometers, one kilometer, two point five kilograms"),
    ("5 ft. He", "five feet. He"),
    ("60 mph, 100 km/h", "sixty miles per hour, one hundred kilometers per hour"),
    ("20 m², 5 ms", "twenty square meters, five milliseconds"),
    # abbreviations
    ("Mr. Smith, Mrs. Jones, Dr. Who", "Mister Smith, Missus Jones, Doctor Who"),
    ("St. Petersburg", "Saint Petersburg"),
    ("Main St. is", "Main street is"),
    ("on Wall St. He", "on Wall street. He"),
    ("e.g. this, i.e. that", "for example this, that is that"),
    ("apples, etc. are", "apples, et cetera are"),
    ("apples, etc.", "apples, et cetera."),
    ("No. 5, p. 12, vol. 3", "number five, page twelve, volume three"),
    ("I said no.", "I said no."),
    # letters
    ("J. R. R. Tolkien", "J R R Tolkien"),
    ("the U.S. Army", "the U S Army"),
    ("the BBC, HTML, the FBI", "the B B C, H T M L, the F B I"),
    ("NASA said HMM", "NASA said HMM"),
    ("DVDs", "D V D's"),
    ("tell us about the US", "tell us about the U S"),
    # signs
    ("AT&T, R&D, salt & pepper", "A T and T, R and D, salt and pepper"),
    ("2+2=4, 5²", "two plus two equals four, five squared"),
    ("~5", "about five"),
    ("a@b.com", "a at b dot com"),
    ("https://www.a.com", "W W W dot a dot com"),
    ("#5, #tag, № 5, § 5", "number five, hashtag tag, number five, section five"),
    ("and/or", "and or"),
    # Roman numerals
    ("Henry VIII", "Henry the eighth"),
    ("Elizabeth I was", "Elizabeth the first was"),
    ("Mary I think", "Mary I think"),
    ("World War II", "World War two"),
    ("Chapter IV, Rocky III", "Chapter four, Rocky three"),
    ("Henry Clay, Henry IIX", "Henry Clay, Henry IIX"),
    ("Charles V. Smith", "Charles V Smith"),
    # punctuation
    ("“Hello” — she said… [sic]", "Hello - she said... (sic)"),
    ("Stop!!! Really?? () Well.....", "Stop! Really? Well..."),
    ("a\u200bb\u00a0c\ufeff", "ab c"),
]


@pytest.mark.parametrize(("text", "expected"), EXAMPLES, ids=[text for text, _ in EXAMPLES])
def test_text_is_normalised_as_in_the_table(text: str, expected: str) -> None:
    assert normalize(clean(text), day_first=False) == expected


def test_outside_the_us_the_day_comes_first() -> None:
    assert normalize("12/05/2021", day_first=True) == "May twelfth, twenty twenty-one"


@pytest.mark.parametrize(
    ("text", "folded"),
    [("café", "cafe"), ("Ångström", "Angstrom"), ("Æsop, œuvre", "Aesop, oeuvre"), ("жук 5 €", "жук 5 €")],
)
def test_folding_removes_accents_of_latin_letters_only(text: str, folded: str) -> None:
    assert fold_to_ascii(text) == folded


_PIECES = re.findall(
    r"\S+",
    "Mr. Dr St. etc. e.g. $5 £2.50 50% 20°C 5 km 3 kg 5ft 1984 1,000 3.14 1/2 12/05/2021 10:30 p.m. May 5, 90s Henry "
    "VIII I - — & + / @ # №5 BBC FBI U.S. 4x4 1st ½ (yes) [no] No. . , ! ? : ; ms A. to us He café -5 10-20 don't",
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=8).map(" ".join))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalize(clean(text), day_first=False).lower()
    assert normalize(clean(once), day_first=False).lower() == once


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=4)), max_size=8).map("".join))
def test_any_text_can_be_normalised_and_no_digit_is_left(text: str) -> None:
    normalized = normalize(clean(text), day_first=False)
    assert not set("0123456789") & set(normalized)
    assert normalized == " ".join(normalized.split())
