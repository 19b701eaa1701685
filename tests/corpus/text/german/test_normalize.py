"""German normalisation, by a table of examples and by properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.text.cleaning import clean
from corpus.text.german.normalize import normalize

EXAMPLES = [
    # dates, times and ordinals
    ("am 24.12.2023", "am vierundzwanzigsten Dezember zweitausenddreiundzwanzig"),
    ("Der 3. Oktober 1990.", "Der dritte Oktober neunzehnhundertneunzig."),
    ("2023-12-24", "vierundzwanzigster Dezember zweitausenddreiundzwanzig"),
    ("vom 1.5. bis zum 5. Okt.", "vom ersten Mai bis zum fünften Oktober"),
    ("Am 45.13.2020 nicht.", "Am 45.13.2020 nicht."),
    ("um 8:30 Uhr, um 8.05 Uhr, 20:15", "um 8 Uhr 30, um 8 Uhr 5, 20 Uhr 15"),
    ("von 8.00 bis 9.30 Uhr", "von 8 Uhr bis 9 Uhr 30"),
    ("im 20. Jahrhundert, in der 3. Klasse", "im zwanzigsten Jahrhundert, in der dritten Klasse"),
    ("1. FC Köln", "erster FC Köln"),
    ("Es sind 3. Wir gehen.", "Es sind 3. Wir gehen."),
    ("Karl V. und Katharina II.", "Karl der Fünfte und Katharina die Zweite."),
    ("Das war 1984, in den 1990ern.", "Das war neunzehnhundertvierundachtzig, in den neunzehnhundertneunzigern."),
    ("1914–1918", "neunzehnhundertvierzehn bis neunzehnhundertachtzehn"),
    # amounts
    ("12,50 €, 1 €, 2 Mio. €", "12 Euro 50, ein Euro, 2 Millionen Euro"),
    ("3 Std. und 5 min", "3 Stunden und 5 Minuten"),
    ("1 Std. Pause, dann 10 Min.", "eine Stunde Pause, dann 10 Minuten."),
    ("1 Mio. Euro, 2,5 Mio. Euro", "eine Million Euro, 2,5 Millionen Euro"),
    ("min. 3 Tage", "mindestens 3 Tage"),
    ("Zimmer 12, min. 3 Tage", "Zimmer 12, mindestens 3 Tage"),
    ("1 h, 5 h", "eine Stunde, 5 Stunden"),
    ("50 m², 10 km/h, 20 °C, 3,5 %", "50 Quadratmeter, 10 Kilometer pro Stunde, 20 Grad Celsius, 3,5 Prozent"),
    ("1/2, 3/4, 5/12", "ein halb, 3 Viertel, 5 durch 12"),
    ("2½ Stunden", "zweieinhalb Stunden"),
    ("15-20 Leute, 3:2", "15 bis 20 Leute, 3 zu 2"),
    ("Tel. 030/1234", "Telefon null drei null, eins zwei drei vier"),
    ("1.000.000 und 0,5 und -5", "1.000.000 und 0,5 und -5"),
    # abbreviations
    ("Dr. Meier und Prof. Schmidt", "Doktor Meier und Professor Schmidt"),
    ("z. B. heute, d.h. morgen", "zum Beispiel heute, das heißt morgen"),
    ("Äpfel usw. Und dann?", "Äpfel und so weiter. Und dann?"),
    ("100 v. Chr.", "100 vor Christus."),
    ("Nr. 5, S. 12, § 3", "Nummer 5, Seite 12, Paragraf 3"),
    ("Hauptstr. 5 in St. Pauli", "Hauptstraße 5 in Sankt Pauli"),
    ("H. Meier in den USA", "H Meier in den U S A"),
    ("A & B und/oder C", "A und B und oder C"),
]


@pytest.mark.parametrize(("text", "expected"), EXAMPLES)
def test_examples(text: str, expected: str) -> None:
    assert normalize(clean(text)) == expected


@given(st.text(alphabet="äöüß abcDEF.,:;-/()0123456789€%°½§#&+XIV", max_size=40))
def test_any_text_is_normalised_without_signs_of_currencies(text: str) -> None:
    assert "€" not in normalize(clean(text))
