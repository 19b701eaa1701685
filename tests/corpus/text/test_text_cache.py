from __future__ import annotations

from pathlib import Path

import pytest

from corpus.text import text_cache
from corpus.text.frontend import TextFrontend, text_frontend
from corpus.text.text_cache import fill_text_cache
from hparams import HParams

TEXTS = [f"Mr. Smith has {n} cats." for n in range(7)]


def frontend() -> TextFrontend:
    return text_frontend(HParams())


@pytest.mark.parametrize("min_texts", [3, 100])
def test_cached_texts_are_not_normalised_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, min_texts: int) -> None:
    monkeypatch.setattr(text_cache, "MIN_TEXTS_FOR_PROCESSES", min_texts)
    monkeypatch.setattr(text_cache, "CHUNK_SIZE", 3)
    reports: list[tuple[int, int]] = []
    first = frontend()
    fill_text_cache(
        first, [*TEXTS, TEXTS[0]], tmp_path, workers=2, progress=lambda done, total: reports.append((done, total))
    )
    assert reports == [(3, 7), (6, 7), (7, 7)]
    assert [first.encode(text) for text in TEXTS] == [frontend().encode(text) for text in TEXTS]
    monkeypatch.setattr("corpus.text.frontend.clean", lambda text: pytest.fail("normalised again"))
    later = frontend()
    fill_text_cache(later, TEXTS, tmp_path, workers=2)
    assert [later.normalize(text) for text in TEXTS] == [first.normalize(text) for text in TEXTS]


def test_each_language_has_its_own_cache(tmp_path: Path) -> None:
    english, russian = frontend(), text_frontend(HParams(language="ru"))
    fill_text_cache(english, ["5"], tmp_path, workers=1)
    fill_text_cache(russian, ["5"], tmp_path, workers=1)
    assert (english.normalize("5"), russian.normalize("5")) == ("five", "пять")
