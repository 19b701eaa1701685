"""corpus/text/espeak.py: IPA, speech and the times of its phones and words."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from multiprocessing import get_context

import numpy as np
import pytest

from corpus.text import espeak
from files import REPOSITORY
from hparams import UserError

SENTENCES = {
    "en-us": "The quick brown fox jumps over churches, and all of the people call. Is fire ready?",
    "en-gb": "The quick brown fox jumps over churches, and all of the people call. Is fire ready?",
    "ru": "Съешь ещё этих мягких французских булок, да выпей чаю. Правда, хорошо?",
    "de": "Die Straße führt zum Bahnhof, aber der Zug ist schon lange fort!",
    "cs": "Příliš žluťoučký kůň úpěl ďábelské ódy.",
}


def letters(ipa: str) -> str:
    return "".join(character for character in ipa if character not in espeak.MARKS + " ")


def loudness(speech: espeak.Speech, start_seconds: float, end_seconds: float) -> float:
    start, end = round(start_seconds * speech.sampling_rate), round(end_seconds * speech.sampling_rate)
    return float(np.sqrt(np.mean(speech.audio[start:end].astype(float) ** 2)))


@pytest.mark.parametrize("text", ["é." * 101, "A." * 194, "ж" * 3_000])
def test_long_words_do_not_crash_the_library(text: str) -> None:
    assert len(espeak.phonemize(text, "fr")) > 300


def test_an_unbalanced_mark_of_phonemes_is_not_read_as_one() -> None:
    espeak.mnemonics_to_ipa("h@l'oU", "en-us")  # from then on the library reads [[ ]]
    assert espeak.phonemize("hallo [[ Welt", "de") == espeak.phonemize("hallo Welt", "de")


def test_words_become_ipa_with_stress_length_and_punctuation_marks() -> None:
    assert espeak.phonemize("Hello, world!", "en-us") == "həlˈoʊ, wˈɜːld!"


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("Yes.", "."),
        ("Yes", ""),
        ("It costs 3.5", ""),
        ("It costs 3.5 or 4,000, no; more", ",;"),
        ('He said: "go," and went.', ":,."),
        ("Why?! Because... (it is) so!", "?.!"),
        ("A, b, c. D", ",,."),
        ("Один, два. Три", ",."),
        ("...", ""),
    ],
)
def test_only_the_marks_that_end_a_clause_are_kept(text: str, marks: str) -> None:
    language = "ru" if text.startswith("О") else "en-us"
    ipa = espeak.phonemize(text, language)
    assert "".join(character for character in ipa if character in espeak.MARKS) == marks
    assert not any(word[0] in espeak.MARKS for word in ipa.split())


def test_words_are_separated_by_one_space() -> None:
    ipa = espeak.phonemize("  one\n\ntwo,\tthree ", "en-us")
    assert ipa == "wˈʌn tˈuː, θɹˈiː"


def test_labels_of_language_switches_are_removed() -> None:
    text = "Он сказал hello миру."
    assert espeak.phonemize(text, "ru").split()[2] == "həlˈəʊ"
    assert "ɭhəlˈəʊ" in "".join(phone.label for phone in espeak.synthesize(text, "ru").phones)


def test_ascii_phones_of_some_voices_are_not_mistaken_for_marks() -> None:
    assert espeak.phonemize("是", "zh") == "s\u0323ˈi\u03235"
    assert espeak.phonemize("mig", "da") == "mʔɑj"


def test_control_characters_are_not_executed_as_commands() -> None:
    assert "nˈaɪn" in espeak.phonemize("one \x0199S two", "en-us")


@pytest.mark.parametrize("language", SENTENCES)
def test_the_labels_of_the_phones_equal_the_ipa(language: str) -> None:
    speech = espeak.synthesize(SENTENCES[language], language)
    assert "".join(phone.label for phone in speech.phones) == letters(espeak.phonemize(SENTENCES[language], language))


@pytest.mark.parametrize("language", SENTENCES)
def test_phones_and_words_are_ordered_and_inside_the_audio(language: str) -> None:
    speech = espeak.synthesize(SENTENCES[language], language)
    seconds = len(speech.audio) / speech.sampling_rate
    for labels in (speech.phones, speech.words):
        assert all(0 <= label.start_seconds <= label.end_seconds <= seconds for label in labels)
        assert all(label.end_seconds <= following.start_seconds for label, following in pairwise(labels))


@pytest.mark.parametrize("language", SENTENCES)
def test_vowels_are_loud_and_audio_outside_phones_is_silent(language: str) -> None:
    speech = espeak.synthesize(SENTENCES[language], language)
    vowels = [phone for phone in speech.phones if phone.label.strip("ˈˌː") in set("aeiouɪɛɔʊæʌəɑ")]
    assert len(vowels) > 5
    assert all(loudness(speech, vowel.start_seconds, vowel.end_seconds) > 500 for vowel in vowels)
    covered = np.zeros(len(speech.audio), dtype=bool)
    for phone in speech.phones:
        start, end = round(phone.start_seconds * speech.sampling_rate), round(phone.end_seconds * speech.sampling_rate)
        covered[start:end] = True
    assert not speech.audio[~covered].any()
    assert speech.audio[covered].any()


def test_a_comma_is_a_pause_between_phones() -> None:
    speech = espeak.synthesize("One, two.", "en-us")
    first, second = speech.words
    assert (first.label, second.label) == ("One", "two")
    assert second.start_seconds - first.end_seconds > 0.1


def test_a_plosive_includes_the_closure_before_its_burst() -> None:
    speech = espeak.synthesize("A cat again.", "en-us")
    plosive = next(phone for phone in speech.phones if phone.label == "k")
    before = next(phone for phone in speech.phones if phone.end_seconds == plosive.start_seconds)
    assert loudness(speech, plosive.start_seconds, plosive.start_seconds + 0.03) == 0
    assert loudness(speech, plosive.start_seconds, plosive.end_seconds) > 100
    assert loudness(speech, before.end_seconds - 0.01, before.end_seconds) > 100


def test_an_onset_without_label_belongs_to_the_next_phone() -> None:
    speech = espeak.synthesize("Правда.", "ru")
    plosive, trill = speech.phones[:2]
    assert (plosive.label, trill.label) == ("p", "r")
    assert plosive.end_seconds == trill.start_seconds


def test_words_that_espeak_joins_are_one_word() -> None:
    speech = espeak.synthesize("Some of the people don't pay 3.5 coins", "en-us")
    assert [word.label for word in speech.words] == ["Some", "of the", "people", "don't", "pay", "3.5", "coins"]
    assert len(espeak.phonemize("Some of the people", "en-us").split()) == 3


def test_a_word_lasts_from_its_first_phone_to_its_last() -> None:
    speech = espeak.synthesize("Cats sleep.", "en-us")
    assert speech.words[0].start_seconds == speech.phones[0].start_seconds
    assert speech.words[0].end_seconds == speech.phones[3].end_seconds
    assert speech.words[1].end_seconds == speech.phones[-1].end_seconds


@pytest.mark.parametrize("text", ["", "...", " \n"])
def test_text_without_words_has_no_phones(text: str) -> None:
    speech = espeak.synthesize(text, "en-us")
    assert speech.phones == speech.words == []
    assert not speech.audio.any()
    assert espeak.phonemize(text, "en-us") == ""


def test_every_tag_of_a_voice_with_a_dictionary_is_supported_in_any_case() -> None:
    assert {"en-us", "en-gb", "en", "ru", "de", "fr", "no", "nb", "zh"} <= set(espeak.languages())
    assert not {"xx", "", "../ru", "en-us+f3", "fo"} & set(espeak.languages())
    assert espeak.require_supported("EN-US") == "en-us"


def test_every_supported_language_can_be_synthesized() -> None:
    assert len(espeak.languages()) > 100
    silent = [tag for tag in espeak.languages() if not espeak.synthesize("a e i o u", tag).phones]
    assert silent == []


@pytest.mark.parametrize(
    "function", [espeak.synthesize, espeak.phonemize, lambda _, tag: espeak.require_supported(tag)]
)
def test_an_unknown_language_is_refused_with_the_nearest_ones(function: object) -> None:
    assert callable(function)
    with pytest.raises(UserError, match=r"'en-uk': espeak-ng has no voice.* en-us"):
        function("Hello", "en-uk")


def test_a_voice_does_not_change_the_speed_of_the_next_one() -> None:
    before = len(espeak.synthesize(SENTENCES["en-us"], "en-us").audio)
    for language in ("be", "ca", "jbo", "ru"):
        espeak.synthesize("a e i o u", language)
    assert len(espeak.synthesize(SENTENCES["en-us"], "en-us").audio) == pytest.approx(before, rel=0.02)


def test_several_threads_get_the_same_results_as_one() -> None:
    jobs = list(SENTENCES.items()) * 20
    expected = [espeak.phonemize(text, language) for language, text in jobs]
    with ThreadPoolExecutor(8) as threads:
        ipa = list(threads.map(lambda job: espeak.phonemize(job[1], job[0]), jobs))
        phones = list(threads.map(lambda job: espeak.synthesize(job[1], job[0]).phones, jobs))
    assert ipa == expected
    assert ["".join(phone.label for phone in speech) for speech in phones] == [letters(ipa_) for ipa_ in expected]


def test_a_spawned_process_can_use_espeak() -> None:
    expected = espeak.phonemize("Hello, world!", "en-us")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert processes.submit(espeak.phonemize, "Hello, world!", "en-us").result(timeout=300) == expected


FORK_WHILE_SYNTHESIZING = """
import os, threading
from corpus.text import espeak
done = threading.Event()
def synthesize_repeatedly():
    while not done.is_set():
        espeak.synthesize("She sells sea shells by the sea shore.", "en-us")
thread = threading.Thread(target=synthesize_repeatedly)
thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if espeak.phonemize("Hello, world!", "en-us") == "həlˈoʊ, wˈɜːld!" else 3)
    assert os.waitpid(child, 0)[1] == 0
done.set()
thread.join()
"""


def test_a_process_forked_while_another_thread_synthesizes_does_not_deadlock() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", FORK_WHILE_SYNTHESIZING], timeout=300, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr


def test_long_phonemizing_does_not_cut_labels_of_the_next_speech() -> None:
    """In a process of its own: which labels the library loses depends on everything that it has read before."""
    program = """
from wordfreq import top_n_list
from corpus.text import espeak
lists = {"ar": "ar", "bg": "bg", "cmn": "zh", "cs": "cs", "da": "da", "de": "de", "el": "el", "en-us": "en", "es": "es",
    "fa": "fa", "fi": "fi", "fr-fr": "fr", "hi": "hi", "hu": "hu", "it": "it", "ja": "ja", "ko": "ko", "lt": "lt",
    "nl": "nl", "pl": "pl", "pt-br": "pt", "ru": "ru", "sv": "sv", "ta": "ta", "tr": "tr", "uk": "uk", "vi": "vi"}
for language, words in lists.items():
    espeak.phonemize(" ".join(top_n_list(words, 200)) + ".", language)
print("".join(phone.label for phone in espeak.synthesize("The quick brown fox.", "en-us").phones))
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip().startswith("ðəkwˈɪk")
