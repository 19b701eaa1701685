"""Report of a run: one HTML page, made from the run's folder alone; several runs are compared on one page.

`python -m monitoring.report logs/<run>` writes the report; `--compare RUN RUN…` writes the comparison.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from files import write_atomically
from hparams import UserError
from monitoring.journal.interventions import InterventionEntry
from monitoring.journal.journal import Record
from monitoring.journal.journal_state import SESSION_STARTS, JournalState
from monitoring.journal.sample_writer import WORST
from monitoring.language import LANGUAGES
from monitoring.language.base import Language, LanguageCode, format_number
from monitoring.report.curves_picture import CHARTS, phase_colour
from monitoring.report.decision_text import intervention_lines, intervention_title, verdict_text
from monitoring.report.html import SampleMedia, load_sample, render_page
from monitoring.report.summary import recommendations, run_facts, status_text, summary_sentence
from monitoring.report.svg_curves import draw_background, draw_chart

SHOWN_KINDS = (*SESSION_STARTS, "evaluation", "intervention", "follow_up", "rolled_back", "finished")
MAX_EVALUATIONS = 8  # samples of one sentence
MAX_WORST_UTTERANCES = 5
COMPARED = ("composite_tts_score", "free_diagonality", "mel_distance", "val_mel_loss", "val_nll_loss")


class RunReport:
    """Journal subscriber that keeps report.html up to date."""

    def __init__(self, run: Path, language: LanguageCode) -> None:
        self._run, self._language = run, LANGUAGES[language]
        self._state: JournalState | None = None

    def on_record(self, record: Record, state: JournalState) -> None:
        if record["kind"] in SHOWN_KINDS:
            self._state = state

    def flush(self) -> None:
        if self._state is not None:
            write_report(self._run, self._state, self._language)
            self._state = None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The report needs nothing but the journal."""

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class InterventionDetails:
    number: int
    title: str
    badge: str  # CSS class of the verdict
    verdict: str
    lines: Sequence[str]


@dataclass(frozen=True)
class SpokenText:
    """A text with its samples, and for one of the worst utterances a title."""

    text: str
    media: Sequence[SampleMedia]
    title: str = ""


def write_report(run: Path, state: JournalState, language: Language) -> Path:
    path = run / "report.html"
    write_atomically(path, report_page(run, state, language).encode("utf-8", "backslashreplace"))
    return path


def report_page(run: Path, state: JournalState, language: Language) -> str:
    settings = {} if state.start is None else state.start["hparams"]
    return render_page(
        "run.html",
        language,
        title=f"{language.text('report')}: {state.name}",
        state=state,
        status="running" if state.end is None else state.end["status"],
        summary=summary_sentence(state, language),
        advice=recommendations(state, language),
        sentences=_sentences(run, state, language),
        phases={language.name(phase): phase_colour(phase) for _, phase in state.phases},
        charts=_charts(state, language),
        interventions=[_details(entry, language) for entry in state.interventions],
        worst=_worst_utterances(run, state, language),
        facts=[(language.text(name), value) for name, value in run_facts(state).items()],
        settings=[(name, json.dumps(value, ensure_ascii=False)) for name, value in settings.items()],
    )


def comparison_page(states: Sequence[JournalState], language: Language) -> str:
    """Table, summaries and curves of several runs; runs of the same name are numbered."""
    names = [state.name for state in states]
    labels = [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, 1)]
    by_label = dict(zip(labels, states, strict=True))
    columns = ("run", "status", "best_score", "steps", "duration")
    return render_page(
        "comparison.html",
        language,
        title=language.text("compare"),
        rows=[[language.text(name) for name in columns], *_comparison_rows(by_label, language)],
        summaries=[f"{label}: {summary_sentence(state, language)}" for label, state in by_label.items()],
        charts=_comparison_charts(by_label, language),
    )


def load_state(run: Path) -> JournalState:
    if not (run / "journal.jsonl").is_file():
        raise UserError(f"{run}: there is no run; expected a folder with a journal.jsonl, like logs/<run>")
    try:
        return JournalState.load(run.resolve())
    except ValueError as error:
        raise UserError(str(error)) from error


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m monitoring.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, like logs/<run>")
    parser.add_argument("--compare", action="store_true", help="compare the runs on one page")
    parser.add_argument("--out", type=Path, default=Path("comparison.html"), help="file that --compare writes")
    parser.add_argument("--language", choices=("en", "ru"), default="en")
    options = parser.parse_args(arguments)
    language = LANGUAGES[options.language]
    try:
        states = {run: load_state(run) for run in options.runs}
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if options.compare:
        write_atomically(options.out, comparison_page(list(states.values()), language).encode("utf-8", "replace"))
        sys.stdout.write(f"{options.out}\n")
        return 0
    for run, state in states.items():
        sys.stdout.write(f"{write_report(run, state, language)}\n")
    return 0


def _details(entry: InterventionEntry, language: Language) -> InterventionDetails:
    title = f"{entry.number}. {intervention_title(entry, language)}"
    lines = intervention_lines(entry, language)
    return InterventionDetails(entry.number, title, entry.verdict or "open", verdict_text(entry, language), lines)


def _charts(state: JournalState, language: Language) -> list[Markup]:
    background = draw_background(state, language)
    return [
        draw_chart(
            language.text(chart.title),
            chart.curves(state, language),
            state.step,
            is_logarithmic=chart.is_logarithmic,
            background=background,
        )
        for chart in CHARTS
    ]


def _sentences(run: Path, state: JournalState, language: Language) -> list[SpokenText]:
    """Sample sentences of the latest evaluation: the recording, then the voice, the latest evaluation first."""
    shown = _spread([evaluation for evaluation in state.evaluations if evaluation.get("samples")])
    sentences = []
    for sample in _regular_samples(shown[-1]) if shown else []:
        media = []
        if sample["recorded"] is not None:
            media.append(load_sample(run / sample["recorded"], language.text("recorded"), picture=False))
        for evaluation in reversed(shown):
            caption = language.text("step", step=evaluation["step"])
            same = [other for other in _regular_samples(evaluation) if other["id"] == sample["id"]]
            media += [load_sample(run / other["file"], caption) for other in same[:1]]
        sentences.append(SpokenText(sample["sentence"], media))
    return sentences


def _regular_samples(evaluation: Record) -> list[Record]:
    return [sample for sample in evaluation.get("samples", ()) if not sample["file"].startswith(WORST)]


def _spread(evaluations: Sequence[Record]) -> list[Record]:
    """Select the first, the last and evenly spaced evaluations between them."""
    if len(evaluations) <= MAX_EVALUATIONS:
        return list(evaluations)
    chosen = {round(i * (len(evaluations) - 1) / (MAX_EVALUATIONS - 1)) for i in range(MAX_EVALUATIONS)}
    return [evaluations[i] for i in sorted(chosen)]


def _worst_utterances(run: Path, state: JournalState, language: Language) -> list[SpokenText]:
    """Utterances with the lowest scores at the latest evaluation."""
    if not state.evaluations:
        return []
    latest = state.evaluations[-1]
    samples = {sample["id"]: sample for sample in latest.get("samples", ()) if sample["file"].startswith(WORST)}
    scored = [utterance for utterance in latest.get("utterances", ()) if utterance["score"] is not None]
    worst = []
    for utterance in sorted(scored, key=lambda utterance: float(utterance["score"]))[:MAX_WORST_UTTERANCES]:
        media = []
        if (sample := samples.get(utterance["id"])) is not None:
            media.append(load_sample(run / sample["file"], language.text("synthesized")))
            media.append(load_sample(run / sample["recorded"], language.text("recorded"), picture=False))
        title = f"{utterance['id']}: {_utterance_quality(utterance, language)}"
        worst.append(SpokenText(utterance["text"], media, title))
    return worst


def _utterance_quality(utterance: Record, language: Language) -> str:
    signals = {"composite_tts_score": utterance["score"]}
    signals |= {name: utterance[name] for name in ("free_diagonality", "mel_distance")}
    faults = {
        "never_stops": not utterance["stopped"],
        "stops_early": utterance["gate"] == "gate_premature",
        "stops_late": utterance["gate"] == "gate_overrun",
    }
    present = [language.text(fault) for fault, is_present in faults.items() if is_present]
    return ", ".join([language.format_values(signals), *present])


def _comparison_rows(states: Mapping[str, JournalState], language: Language) -> list[list[str]]:
    rows = []
    for label, state in states.items():
        best, evaluations = state.best_evaluation, state.evaluations
        score = None if best is None else best["signals"]["composite_tts_score"]
        duration = language.format_duration(evaluations[-1]["training_seconds"]) if evaluations else "–"
        rows.append([label, status_text(state, language), format_number(score), f"{state.step:,}", duration])
    return rows


def _comparison_charts(states: Mapping[str, JournalState], language: Language) -> list[Markup]:
    last_step = max(state.step for state in states.values())
    charts = []
    for signal in COMPARED:
        curves = {label: state.series[signal].points() for label, state in states.items() if signal in state.series}
        if curves:
            is_logarithmic = signal.endswith("loss")
            charts.append(draw_chart(language.name(signal), curves, last_step, is_logarithmic=is_logarithmic))
    return charts
