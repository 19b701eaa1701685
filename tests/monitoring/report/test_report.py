"""Report page: everything the run's folder contains, nothing from outside, every value escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.journal.journal_state import JournalState
from monitoring.journal.tail import JournalTail
from monitoring.language import LANGUAGES
from monitoring.language.base import LanguageCode
from monitoring.language.english import ENGLISH
from monitoring.report.plots import attention_thumbnail, save_png
from monitoring.report.report import MAX_EVALUATIONS, RunReport, comparison_page, main, report_page
from tests.monitoring.journals import FOLLOW_UP, INTERVENTION, RunFolder, sick_run
from tests.monitoring.wave_file import write_pcm


class ParsedPage(HTMLParser):
    """Elements of a page with their attributes, and its text without scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._tag = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._tag = tag

    def handle_data(self, data: str) -> None:
        if self._tag not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all elements with this tag."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return sick_run(tmp_path / "run")


def page_of(run: RunFolder, language: LanguageCode = "en") -> str:
    return report_page(run.path, JournalState.load(run.path), LANGUAGES[language])


def evaluate_with_samples(run: RunFolder, step: int, score: float = 0.5, **changes: Any) -> None:
    """Write an evaluation and the sound and picture files of its samples."""
    fields = run.write_samples(step)
    for sample in fields["samples"]:
        for file in (sample["file"], sample["recorded"]):
            stem = run.path / file
            stem.parent.mkdir(parents=True, exist_ok=True)
            write_pcm(stem.with_name(f"{stem.name}.wav"), [0, 1000] * 2000, rate=22_050)
        save_png(attention_thumbnail(np.eye(4)), (run.path / sample["file"]).with_suffix(".attention.png"))
    run.evaluation(step, score, **fields, **changes)


def test_the_page_shows_a_run_from_summary_to_settings(run: RunFolder) -> None:
    page = ParsedPage(page_of(run))
    for text in (
        "Finished: the voice speaks and stops at the end of a sentence (score 0.7 at step 60); "
        "interventions: 1 (helped: 1, did not help: 0, cause not known: 0).",
        "1. step 40: lower the learning rate",
        "Found: loss spike (warning): loss 9, before 2",
        "Done: learning rate multiplier 1 → 0.5",
        "Expected by step 60: loss falls",
        "Result: helped; loss is 1.5, without the change 2 was expected",
        "graphemes",
    ):
        assert text in page.text, text


def test_each_mark_in_the_curves_links_to_its_intervention(run: RunFolder) -> None:
    page = ParsedPage(page_of(run))
    assert [attributes["href"] for attributes in page.all("a")] == ["#act-1"] * 4  # one in each chart
    assert [attributes["class"] for attributes in page.all("a")] == ["mark helped"] * 4
    assert "act-1" in [attributes["id"] for attributes in page.all("details") if "id" in attributes]


def test_phases_are_the_background_of_the_curves(run: RunFolder) -> None:
    rects = ParsedPage(page_of(run)).all("rect")
    assert len(rects) == 4 * 2
    left, right = rects[0], rects[1]
    assert float(left["x"] or 0) + float(left["width"] or 0) == pytest.approx(float(right["x"] or 0), abs=0.2)
    assert float(left["width"] or 0) == pytest.approx(float(right["width"] or 0) / 2, rel=0.01)  # 20 of 60 steps


def test_a_sentence_can_be_heard_through_training(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.start()
    for step in range(10, 10 * 20, 10):
        evaluate_with_samples(run, step)
    page = ParsedPage(page_of(run))
    captions = re.findall(r"<figcaption>(step \d+)</figcaption>", page_of(run))
    assert len(captions) == MAX_EVALUATIONS and {"step 10", "step 190"} <= set(captions)
    sounds = [attributes["src"] or "" for attributes in page.all("audio")]
    assert len(sounds) == MAX_EVALUATIONS + 1 + 2  # the recording; the worst utterance, decoded and recorded
    assert all(sound.startswith("data:audio/mpeg;base64,") for sound in sounds)
    assert all((attributes["src"] or "").startswith("data:image/png") for attributes in page.all("img"))


def test_the_page_makes_no_external_requests(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.start()
    evaluate_with_samples(run, 10)
    for _, attributes in ParsedPage(page_of(run)).elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    assert "default-src 'none'" in page_of(run)
    assert "url(" not in page_of(run) and "@import" not in page_of(run)


def test_the_worst_utterances_are_sorted_and_their_faults_named(run: RunFolder) -> None:
    signals = {"free_diagonality": 0.9, "mel_distance": 0.5, "length_ratio": 1.0, "text": "A text."}
    utterances = [
        {"id": "good", "score": 0.9, "gate": "gate_accuracy", "stopped": True, **signals},
        {"id": "endless", "score": 0.0, "gate": "gate_overrun", "stopped": False, **signals},
        {"id": "hasty", "score": 0.1, "gate": "gate_premature", "stopped": True, **signals},
        {"id": "unknown", "score": None, "gate": None, "stopped": True, **signals},
    ]
    run.evaluation(61, utterances=utterances)
    titles = re.findall(r"<summary>(\w+: score .*?)</summary>", page_of(run))
    assert [title.split(":")[0] for title in titles] == ["endless", "hasty", "good"]
    assert "does not stop by itself, stops too late" in titles[0]
    assert "stops too early" in titles[1]


@pytest.mark.parametrize("language", ["en", "ru"])
def test_a_run_without_evaluations_has_a_report(tmp_path: Path, language: LanguageCode) -> None:
    run = RunFolder(tmp_path / "run")
    assert "<h1>run</h1>" in page_of(run, language)
    run.start()
    assert ("Still training" in page_of(run, language)) == (language == "en")


def test_the_page_in_russian(run: RunFolder) -> None:
    text = ParsedPage(page_of(run, "ru")).text
    assert "Закончено: голос говорит и останавливается в конце фразы (оценка 0.7 на шаге 60)" in text
    assert "Обнаружено: скачок потерь (предупреждение): потери 9, раньше 2" in text


HOSTILE = "<script>alert(1)</script>\"'>{{ 7 * 7 }}{% endblock %}"


def write_hostile_records(run: RunFolder, text: str) -> JournalState:
    """Put `text` wherever data comes from outside: ids, sentences, paths, settings, names of the journal, run name."""
    run.journal.phase = text
    run.start(
        "resumed",
        60,
        hparams={text: text, "model": text, "language": text},
        choices={"device": text, "precision": text},
        **{"data": text, "train_utterances": text, "held_out_utterances": text},
    )
    run.journal.write("intervention", 60, **INTERVENTION | {"utterances": [text], "remedy": text, "ailment": text})
    follow_up = {"remedy": text, "ailment": text, "evidence": {text: text}}
    run.journal.write("follow_up", 60, **FOLLOW_UP | follow_up)
    run.journal.write("intervention", 60, by="person", knob=text, **{"from": 1.0, "to": text})
    expected = {**INTERVENTION["expected"], "signal": text}
    run.journal.write("intervention", 60, **INTERVENTION | {"knob": text, "expected": expected})
    run.journal.write("quarantined", 60, utterances=[text], reason=text)
    sample = {"id": text, "sentence": text, "file": "samples/x", "recorded": None}
    utterance = {"id": text, "text": text, "score": 0.5, "gate": text, "stopped": False}
    utterance |= {"free_diagonality": 0.5, "mel_distance": None, "length_ratio": None}
    run.evaluation(60, samples=[sample], utterances=[utterance])
    run.finish(60, "failed", text)
    state = JournalState.load(run.path)
    state.name = text
    return state


def test_a_hostile_id_arrives_escaped_wherever_it_is_shown(run: RunFolder) -> None:
    pages = [
        report_page(run.path, write_hostile_records(run, HOSTILE), ENGLISH),
        comparison_page([write_hostile_records(run, HOSTILE)], ENGLISH),
    ]
    for page, least in zip(pages, (25, 4), strict=True):
        assert "<script>alert" not in page
        assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= least
        parsed = ParsedPage(page)
        assert len(parsed.all("script")) == 1
        assert HOSTILE in parsed.text, "the template language in it is not interpreted either"


TEXTS = st.text(min_size=1, max_size=40) | st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</details></body>", "&lt;b&gt;", "\ud800", "'}"]
)


@settings(max_examples=30)
@given(text=TEXTS)
def test_no_text_adds_an_element_to_the_page(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    def elements(text: str) -> list[str]:
        run = sick_run(tmp_path_factory.mktemp("runs") / "run")
        page = report_page(run.path, write_hostile_records(run, text), ENGLISH)
        parsed = ParsedPage(page.encode("utf-8", "backslashreplace").decode())
        assert not [attributes for _, attributes in parsed.elements if "onerror" in attributes]
        return [tag for tag, _ in parsed.elements]

    assert elements(text) == elements("harmless")


def test_the_report_follows_the_journal(run: RunFolder) -> None:
    (run.path / "companion").mkdir()

    def follow() -> str:
        tail = JournalTail("report", run.path, lambda: RunReport(run.path, "en"), warn=pytest.fail)
        tail.finish_requested.set()
        tail.run()
        return (run.path / "report.html").read_text(encoding="utf-8")

    assert "score 0.7 at step 60" in follow()
    run.start("resumed", 60)
    run.evaluation(80, 0.9)
    assert "Still training" in follow() and "score 0.9 at step 80" in follow()
    assert not list(run.path.glob("*.tmp"))


def test_runs_are_compared_on_one_page(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "<b>other")
    other.start()
    other.steps(1, 20)
    page = ParsedPage(comparison_page([JournalState.load(run.path), JournalState.load(other.path)], ENGLISH))
    assert "run: Finished" in page.text and "<b>other: Still training" in page.text
    assert len(page.all("svg")) == 3 and not page.all("b")


def test_runs_of_the_same_name_are_numbered(run: RunFolder, tmp_path: Path) -> None:
    states = [JournalState.load(path) for path in (run.path, sick_run(tmp_path / "elsewhere" / "run").path)]
    page, page_of_one = (ParsedPage(comparison_page(compared, ENGLISH)) for compared in (states, states[:1]))
    assert "run (1): Finished" in page.text and "run (2): Finished" in page.text
    assert len(page.all("polyline")) == 2 * len(page_of_one.all("polyline"))


def test_a_damaged_journal_is_reported_in_one_line(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with (run.path / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write("garbage\n")
    assert main([str(run.path)]) == 2
    assert "remove the line" in capsys.readouterr().err


def test_the_command_line_writes_reports_and_comparisons(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run.path)]) == 0
    assert (run.path / "report.html").is_file()
    assert main(["--compare", str(run.path), str(run.path), "--out", str(tmp_path / "both.html")]) == 0
    assert "Comparison of runs" in (tmp_path / "both.html").read_text(encoding="utf-8")
    assert main([str(tmp_path / "absent")]) == 2
    assert "there is no run" in capsys.readouterr().err
