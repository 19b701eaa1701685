from __future__ import annotations

from pathlib import Path

import pytest

from corpus.text import frontend as text
from corpus.text import text_cache
from corpus.text.frontend import TextFrontend, text_frontend
from corpus.text.text_cache import fill_text_cache
from hparams import HParams

TEXTS = [f"Mr. Smith has {n} cats." for n in range(7)]


def frontend() -> TextFrontend:
    return text_frontend(HParams())


@pytest.mark.parametrize("min_texts", [3, 100])
def test_what_was_worked_out_is_not_worked_out_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, min_texts: int
) -> None:
    monkeypatch.setattr(text_cache, "MIN_TEXTS_FOR_PROCESSES", min_texts)
    monkeypatch.setattr(text_cache, "CHUNK_SIZE", 3)
    seen: list[tuple[int, int]] = []
    first = frontend()
    fill_text_cache(first, [*TEXTS, TEXTS[0]], tmp_path, workers=2, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert [first.encode(each) for each in TEXTS] == [frontend().encode(each) for each in TEXTS]
    monkeypatch.setattr(text, "clean", lambda text: pytest.fail("worked out again"))
    later = frontend()
    fill_text_cache(later, TEXTS, tmp_path, workers=2)
    assert [later.normalize(each) for each in TEXTS] == [first.normalize(each) for each in TEXTS]


def test_other_languages_have_words_of_their_own(tmp_path: Path) -> None:
    english, russian = frontend(), text_frontend(HParams(language="ru"))
    for each in (english, russian):
        fill_text_cache(each, ["5"], tmp_path, workers=1)
    assert (english.normalize("5"), russian.normalize("5")) == ("five", "пять")
