from __future__ import annotations

from pathlib import Path

import pytest

from corpus.batches import Example
from corpus.text.statistics import measure_texts
from corpus.utterances import Utterance


def examples(*texts: str) -> list[Example]:
    return [
        Example(Utterance(str(i), Path(f"{i}.wav"), text), tuple(range(len(text))), n_frames=10 * len(text))
        for i, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("texts", "ending", "scripts"),
    [
        (("One.", "Two.", "Three"), ".", ("LATIN",)),
        (("One", "Two"), "", ("LATIN",)),
        (("كيف حالك؟", "من هذا؟"), "؟", ("ARABIC",)),
        (("これは本です。", "はい。"), "。", ("CJK", "HIRAGANA", "KATAKANA")),  # katakana will come
        (("我喜欢音乐。",), "。", ("CJK",)),
    ],
)
def test_usual_ending_and_scripts(texts: tuple[str, ...], ending: str, scripts: tuple[str, ...]) -> None:
    statistics = measure_texts(examples(*texts), frame_seconds=0.01)
    assert (statistics.ending, statistics.scripts) == (ending, scripts)
    assert statistics.seconds_per_symbol == pytest.approx(0.1)
