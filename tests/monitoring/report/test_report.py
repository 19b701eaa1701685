"""The report as a page: all that the folder tells, nothing from anywhere else, nothing unescaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.journal.run_state import JournalState
from monitoring.journal.tail import JournalTail
from monitoring.language.base import words_of
from monitoring.report.plots import attention_thumbnail, save_png
from monitoring.report.report import MOST_EVALUATIONS, Report, comparison_page, main, report_page
from tests.monitoring.journals import FOLLOW_UP, INTERVENTION, RunFolder, sick_run
from tests.monitoring.wave_file import write_pcm

ENGLISH = words_of("en")


class Elements(HTMLParser):
    """Every element with its attributes, and all text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return sick_run(tmp_path / "run")


def page_of(run: RunFolder, language: Any = "en") -> str:
    return report_page(run.path, JournalState.load(run.path), words_of(language))


def heard_at(run: RunFolder, step: int, score: float = 0.5, **changes: Any) -> None:
    """An evaluation with its sound and pictures made."""
    told = run.spoken(step)
    for sample in told["samples"]:
        for file in (sample["file"], sample["recorded"]):
            stem = run.path / file
            stem.parent.mkdir(parents=True, exist_ok=True)
            write_pcm(stem.with_name(f"{stem.name}.wav"), [0, 1000] * 2000, rate=22_050)
        save_png(attention_thumbnail(np.eye(4)), stem_of(run, sample).with_suffix(".attention.png"))
    run.evaluation(step, score, **told, **changes)


def stem_of(run: RunFolder, sample: Any) -> Path:
    return Path(run.path / sample["file"])


def test_a_run_is_told_from_verdict_to_settings(run: RunFolder) -> None:
    elements = Elements(page_of(run))
    for said in (
        "Finished: the voice speaks and ends its sentences (score 0.7 at step 60); interventions: 1, of which helped",
        "1. step 40: lower the learning rate",
        "Found: the loss has leapt up (warning): loss 9, before 2",
        "Done: learning-rate multiplier 1 → 0.5",
        "Expected: loss goes down by step 60",
        "Came: it helped: loss is 1.5, without it 2 was to be expected",
        "graphemes",
    ):
        assert said in elements.text, said


def test_each_mark_in_the_curves_leads_to_its_story(run: RunFolder) -> None:
    elements = Elements(page_of(run))
    links = [attributes["href"] for attributes in elements.all("a")]
    assert links == ["#act-1"] * 4  # one in each chart
    assert "act-1" in [attributes["id"] for attributes in elements.all("details") if "id" in attributes]
    assert [attributes["class"] for attributes in elements.all("a")] == ["mark helped"] * 4


def test_phases_are_the_background(run: RunFolder) -> None:
    rects = [attributes for attributes in Elements(page_of(run)).all("rect")]
    assert len(rects) == 4 * 2
    left, right = rects[0], rects[1]
    assert float(left["x"] or 0) + float(left["width"] or 0) == pytest.approx(float(right["x"] or 0), abs=0.2)
    assert float(left["width"] or 0) == pytest.approx(float(right["width"] or 0) / 2, rel=0.01)  # 20 of 60 steps


def test_sentences_are_heard_through_training(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.start()
    for step in range(10, 10 * 20, 10):
        heard_at(run, step)
    elements = Elements(page_of(run))
    captions = re.findall(r"<figcaption>(step \d+)</figcaption>", page_of(run))
    assert len(captions) == MOST_EVALUATIONS and {"step 10", "step 190"} <= set(captions)
    sounds = [attributes["src"] or "" for attributes in elements.all("audio")]
    assert len(sounds) == MOST_EVALUATIONS + 1 + 2  # the recording; the worst, spoken and recorded
    assert all(sound.startswith("data:audio/mpeg;base64,") for sound in sounds)
    assert all((attributes["src"] or "").startswith("data:image/png") for attributes in elements.all("img"))


def test_nothing_is_fetched_from_anywhere(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.start()
    heard_at(run, 10)
    for _, attributes in Elements(page_of(run)).found:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    assert "default-src 'none'" in page_of(run)
    assert "url(" not in page_of(run) and "@import" not in page_of(run)


def test_the_worst_utterances_come_first_and_say_what_is_wrong(run: RunFolder) -> None:
    signals = {"free_diagonality": 0.9, "mel_distance": 0.5, "length_ratio": 1.0, "text": "A text."}
    utterances = [
        {"id": "good", "score": 0.9, "gate": "gate_accuracy", "stopped": True, **signals},
        {"id": "endless", "score": 0.0, "gate": "gate_overrun", "stopped": False, **signals},
        {"id": "hasty", "score": 0.1, "gate": "gate_premature", "stopped": True, **signals},
        {"id": "unknown", "score": None, "gate": None, "stopped": True, **signals},
    ]
    run.evaluation(61, utterances=utterances)
    summaries = re.findall(r"<summary>(\w+: score .*?)</summary>", page_of(run))
    assert [line.split(":")[0] for line in summaries] == ["endless", "hasty", "good"]
    assert "does not end by itself, ends too late" in summaries[0]
    assert "ends too early" in summaries[1]


@pytest.mark.parametrize("language", ["en", "ru"])
def test_a_run_that_has_hardly_begun_has_a_report(tmp_path: Path, language: str) -> None:
    run = RunFolder(tmp_path / "run")
    assert "<h1>run</h1>" in page_of(run, language)
    run.start()
    assert ("Still training" in page_of(run, language)) == (language == "en")


def test_the_russian_page_speaks_russian(run: RunFolder) -> None:
    text = Elements(page_of(run, "ru")).text
    assert "Закончено: голос говорит и заканчивает фразы (оценка 0.7 на шаге 60)" in text
    assert "Найдено: ошибка подскочила (предупреждение): ошибка 9, раньше 2" in text


EVIL = st.text(min_size=1, max_size=40) | st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</details></body>", "&lt;b&gt;", "\ud800", "'}"]
)


@settings(max_examples=30)
@given(evil=EVIL)
def test_whatever_the_data_says_stays_text(tmp_path_factory: pytest.TempPathFactory, evil: str) -> None:
    run = sick_run(tmp_path_factory.mktemp("runs") / "run")
    harmless = len(Elements(page_of(run)).found)
    run.journal.write("intervention", 60, **INTERVENTION | {"utterances": [evil], "remedy": evil})
    run.journal.write("follow_up", 60, **FOLLOW_UP | {"remedy": evil, "evidence": {evil: evil}})
    run.journal.write("quarantined", 60, utterances=[evil], reason=evil)
    sample = {"id": evil, "sentence": evil, "file": "samples/x", "recorded": None}
    utterance = {"id": evil, "text": evil, "score": 0.5, "gate": evil, "stopped": False}
    utterance |= {"free_diagonality": 0.5, "mel_distance": None, "length_ratio": None}
    run.evaluation(60, samples=[sample], utterances=[utterance])
    run.finish(60, "failed", evil)
    state = JournalState.load(run.path)
    state.name = evil
    elements = Elements(report_page(run.path, state, ENGLISH).encode("utf-8", "backslashreplace").decode())
    assert len(elements.all("script")) == 1
    assert not [attributes for _, attributes in elements.found if "onerror" in attributes]
    assert len(elements.found) < harmless + 60


def test_it_is_kept_up_to_date(run: RunFolder) -> None:
    (run.path / "companion").mkdir()

    def follow() -> str:
        tail = JournalTail("report", run.path, lambda: Report(run.path, "en"), warn=pytest.fail)
        tail.finish_requested.set()
        tail.run()
        return (run.path / "report.html").read_text(encoding="utf-8")

    assert "score 0.7 at step 60" in follow()
    run.start("resumed", 60)
    run.evaluation(80, 0.9)
    assert "Still training" in follow() and "score 0.9 at step 80" in follow()
    assert not list(run.path.glob("*.tmp"))


def test_runs_stand_side_by_side(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "<b>other")
    other.start()
    other.steps(1, 20)
    page = comparison_page([JournalState.load(run.path), JournalState.load(other.path)], ENGLISH)
    elements = Elements(page)
    assert "run: Finished" in elements.text and "<b>other: Still training" in elements.text
    assert len(elements.all("svg")) == 3 and not elements.all("b")


def test_runs_of_one_name_are_told_apart(run: RunFolder, tmp_path: Path) -> None:
    twin = sick_run(tmp_path / "elsewhere" / "run")
    elements = Elements(comparison_page([JournalState.load(run.path), JournalState.load(twin.path)], ENGLISH))
    assert "run (1): Finished" in elements.text and "run (2): Finished" in elements.text
    assert len(elements.all("polyline")) == 2 * len(
        Elements(comparison_page([JournalState.load(run.path)], ENGLISH)).all("polyline")
    )


def test_a_damaged_journal_is_one_line(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with (run.path / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write("garbage\n")
    assert main([str(run.path)]) == 2
    assert "remove the line" in capsys.readouterr().err


def test_the_command_line_makes_both(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run.path)]) == 0
    assert (run.path / "report.html").is_file()
    assert main(["--compare", str(run.path), str(run.path), "--out", str(tmp_path / "both.html")]) == 0
    assert "side by side" in (tmp_path / "both.html").read_text(encoding="utf-8")
    assert main([str(tmp_path / "absent")]) == 2
    assert "there is no run" in capsys.readouterr().err
