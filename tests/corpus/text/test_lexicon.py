from __future__ import annotations

from pathlib import Path

import pytest

from corpus.text.frontend import text_frontend
from corpus.text.lexicon import Lexicon, merge, read_lexicon
from hparams import UserError, build_hparams


def test_entries_are_read_and_comments_skipped(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# names\nKiev\tKyiv\n\ncolonel\t[[k'3:n@l]]\n", encoding="utf-8")
    assert read_lexicon(path) == ("Kiev\tKyiv", "colonel\t[[k'3:n@l]]")


@pytest.mark.parametrize("line", ["word", "word\t", "\tsaid", "two words", "word\t[[rEz"])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "words.txt").write_text(f"good\tgoed\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2: expected word<TAB>"):
        read_lexicon(tmp_path / "words.txt")


def test_whole_words_are_replaced_whatever_their_capitals() -> None:
    lexicon = Lexicon(("cat\tkat", "New York\tnoo york"))
    assert lexicon.apply("Cat, category and new york") == "kat, category and noo york"
    assert Lexicon().apply("cat") == "cat"
    assert Lexicon(("Straße\tx", "a.b\ty")).apply("Straße a.b aXb") == "x y aXb"
    assert Lexicon(("istanbul\tx",)).apply("İstanbul istanbul") == "İstanbul x"
    assert Lexicon(("café\tx",)).apply("cafe\u0301 ca\u00adfé") == "x x"
    assert Lexicon(("重庆\t崇庆",)).apply("我去重庆玩") == "我去崇庆玩"
    assert Lexicon(("der\t[[d@]]",)).apply("[[der]] der") == "[[der]] [[d@]]"


def test_the_last_entry_of_a_word_counts() -> None:
    assert merge(("a\tb", "c\td"), ("A\tx",)) == ("A\tx", "c\td")


def test_respellings_and_phonemes_reach_the_symbols() -> None:
    plain = text_frontend(build_hparams({"text_frontend": "phonemes"}))
    hparams = build_hparams(
        {"text_frontend": "phonemes", "lexicon": ("gif\tjif", "foo\t[[h@l'oU]]", "bar\t[[həlˈoʊ]]")}
    )
    frontend = text_frontend(hparams)
    assert frontend.normalize("a gif") == plain.normalize("a jif")
    hello = plain.normalize("hello")
    assert frontend.normalize("foo, bar.") == f"{hello}, {hello}."
    assert text_frontend(build_hparams({"lexicon": ("gif\tjif",)})).normalize("A gif") == "a jif"
