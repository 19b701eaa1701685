"""The report of a run: one page that needs nothing but itself, made of the run's folder alone.

`python -m monitoring.report logs/<run>` makes it; `--compare RUN RUN…` puts runs side by side in one page.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from files import write_atomically
from hparams import UserError
from monitoring.journal.interventions import InterventionEntry
from monitoring.journal.journal import Record
from monitoring.journal.run_state import SESSION_STARTS, JournalState
from monitoring.language.base import Language, Words, number, words_of
from monitoring.report.curves import CHARTS
from monitoring.report.html import figure, items, page, table
from monitoring.report.summary import act_story, act_title, facts, judged, recommendations, verdict
from monitoring.report.svg import chart, marks, phase_key, phases

NEWS = (*SESSION_STARTS, "evaluation", "intervention", "follow_up", "rolled_back", "finished")
MOST_EVALUATIONS = 8  # shown and heard of a sentence
MOST_WORST = 5
COMPARED = ("composite_tts_score", "free_diagonality", "mel_distance", "val_mel_loss", "val_nll_loss")


class Report:
    """Keeps report.html up to date: at every evaluation, whenever something was done, and at the end."""

    def __init__(self, run: Path, language: Language) -> None:
        self._run, self._words = run, words_of(language)
        self._state: JournalState | None = None

    def on_record(self, record: Record, state: JournalState) -> None:
        if record["kind"] in NEWS:
            self._state = state

    def flush(self) -> None:
        if self._state is not None:
            write_report(self._run, self._state, self._words)
            self._state = None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The journal says it all."""

    def close(self) -> None:
        """Nothing is open."""


def write_report(run: Path, state: JournalState, words: Words) -> Path:
    path = run / "report.html"
    write_atomically(path, report_page(run, state, words).encode("utf-8", "backslashreplace"))
    return path


def report_page(run: Path, state: JournalState, words: Words) -> str:
    status = "running" if state.end is None else state.end["status"]
    advice = recommendations(state, words)
    body = [
        f"<h1>{escape(state.name)}</h1>",
        f'<p class="verdict {escape(status)}">{escape(verdict(state, words))}</p>',
        _heading(words, "recommendations", bool(advice)),
        items(advice),
        _through_time(run, state, words),
        _curves(state, words),
        _heading(words, "interventions"),
        *(_story(entry, words) for entry in state.interventions),
        "" if state.interventions else f'<p class="soft">{escape(words.say("no_interventions"))}</p>',
        _worst(run, state, words),
        _facts(state, words),
    ]
    return page(f"{words.say('report')}: {state.name}", body, words)


def comparison_page(states: Sequence[JournalState], words: Words) -> str:
    """Verdicts and curves of several runs; those of one name are told apart by their place."""
    names = [state.name for state in states]
    labels = [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, 1)]
    labelled = list(zip(labels, states, strict=True))
    head = [words.say("run"), words.say("status"), words.say("best_score"), words.say("steps"), words.say("duration")]
    rows = [
        [
            label,
            words.say("running" if state.end is None else state.end["status"]),
            number(None if state.best_evaluation is None else state.best_evaluation["signals"]["composite_tts_score"]),
            f"{state.step:,}",
            words.duration(state.evaluations[-1]["training_seconds"]) if state.evaluations else "–",
        ]
        for label, state in labelled
    ]
    last = max(state.step for state in states)
    charts = [
        chart(
            words.name(name),
            {label: state.series[name].points() for label, state in labelled if name in state.series},
            last,
            is_logarithmic=name.endswith("loss"),
        )
        for name in COMPARED
        if any(name in state.series for state in states)
    ]
    verdicts = [f"{label}: {verdict(state, words)}" for label, state in labelled]
    body = [f"<h1>{escape(words.say('compare'))}</h1>", table([head, *rows]), items(verdicts), *charts]
    return page(words.say("compare"), body, words)


def _heading(words: Words, text: str, is_shown: bool = True) -> str:
    return f'<h2 id="{text}">{escape(words.say(text))}</h2>' if is_shown else ""


def _curves(state: JournalState, words: Words) -> str:
    inside = phases(state, words) + marks(state, words)
    drawn = [
        chart(
            words.say(title),
            {words.name(name): state.series[name].points() for name in names if name in state.series},
            state.step,
            is_logarithmic=is_logarithmic,
            inside=inside,
        )
        for title, (names, is_logarithmic) in CHARTS.items()
    ]
    hint = f'<p class="hint">{escape(words.say("curves_hint"))} {phase_key(state, words)}</p>'
    return f"{_heading(words, 'curves')}{hint}{''.join(drawn)}"


def _story(entry: InterventionEntry, words: Words) -> str:
    badge = f'<span class="badge {entry.verdict or "open"}">{escape(judged(entry, words))}</span>'
    lines = "".join(f"<p>{escape(line)}</p>" for line in act_story(entry, words))
    title = escape(f"{entry.number}. {act_title(entry, words)}")
    return f'<details id="act-{entry.number}"><summary>{title} {badge}</summary><div>{lines}</div></details>'


def _through_time(run: Path, state: JournalState, words: Words) -> str:
    """A row for each sample: its recording, then how it was spoken at some evaluations."""
    shown = _spread([told for told in state.evaluations if told.get("samples")])
    if not shown:
        return ""
    rows = []
    for sample in _regular(shown[-1]):
        figures = []
        if sample["recorded"] is not None:
            figures.append(figure(run / sample["recorded"], words.say("recorded"), picture=False))
        for told in reversed(shown):
            same = next((other for other in _regular(told) if other["id"] == sample["id"]), None)
            if same is not None:
                figures.append(figure(run / same["file"], words.say("step", step=told["step"])))
        rows.append(f'<p>{escape(sample["sentence"])}</p><div class="row">{"".join(figures)}</div>')
    hint = f'<p class="hint">{escape(words.say("through_time_hint"))}</p>'
    return f"{_heading(words, 'through_time')}{hint}{''.join(rows)}"


def _regular(evaluation: Record) -> list[Record]:
    return [sample for sample in evaluation.get("samples", ()) if not sample["file"].startswith("samples/worst/")]


def _spread(evaluations: Sequence[Record]) -> list[Record]:
    """The first, the last, and some between them."""
    if len(evaluations) <= MOST_EVALUATIONS:
        return list(evaluations)
    places = {round(i * (len(evaluations) - 1) / (MOST_EVALUATIONS - 1)) for i in range(MOST_EVALUATIONS)}
    return [evaluations[i] for i in sorted(places)]


def _worst(run: Path, state: JournalState, words: Words) -> str:
    if not state.evaluations or not state.evaluations[-1].get("utterances"):
        return ""
    latest = state.evaluations[-1]
    samples = {told["id"]: told for told in latest.get("samples", ()) if told not in _regular(latest)}
    scored = [told for told in latest["utterances"] if told["score"] is not None]
    blocks = []
    for told in sorted(scored, key=lambda told: float(told["score"]))[:MOST_WORST]:
        figures = ""
        if sample := samples.get(told["id"]):
            figures = figure(run / sample["file"], words.say("spoken"))
            figures += figure(run / sample["recorded"], words.say("recorded"), picture=False)
        what = f"{told['id']}: {words.name('composite_tts_score')} {number(told['score'])}{_fault(told, words)}"
        blocks.append(
            f"<details><summary>{escape(what)}</summary><div><p>{escape(told['text'])}</p>"
            f'<div class="row">{figures}</div></div></details>'
        )
    return f"{_heading(words, 'worst')}{''.join(blocks)}"


def _fault(utterance: Record, words: Words) -> str:
    faults = []
    if not utterance["stopped"]:
        faults.append(words.say("never_ends"))
    if utterance["gate"] in ("gate_premature", "gate_overrun"):
        faults.append(words.say("ends_early" if utterance["gate"] == "gate_premature" else "ends_late"))
    measured = {name: utterance[name] for name in ("free_diagonality", "mel_distance")}
    return ", ".join(["", words.values(measured), *faults])


def _facts(state: JournalState, words: Words) -> str:
    if state.start is None:
        return ""
    rows = [[words.say(name), str(value)] for name, value in facts(state).items()]
    settings = [[name, json.dumps(value, ensure_ascii=False)] for name, value in state.start["hparams"].items()]
    return (
        f"{_heading(words, 'facts')}{table(rows)}"
        f"<details><summary>{escape(words.say('settings'))}</summary>{table(settings)}</details>"
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m monitoring.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, like logs/<run>")
    parser.add_argument("--compare", action="store_true", help="all of them in one page")
    parser.add_argument("--out", type=Path, default=Path("comparison.html"), help="of --compare")
    parser.add_argument("--language", choices=("en", "ru"), default="en")
    options = parser.parse_args(arguments)
    words = words_of(options.language)
    try:
        states = {run: story_of(run) for run in options.runs}
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if options.compare:
        write_atomically(options.out, comparison_page(list(states.values()), words).encode("utf-8", "replace"))
        sys.stdout.write(f"{options.out}\n")
        return 0
    for run, state in states.items():
        sys.stdout.write(f"{write_report(run, state, words)}\n")
    return 0


def story_of(run: Path) -> JournalState:
    if not (run / "journal.jsonl").is_file():
        raise UserError(f"{run}: there is no run; expected a folder with a journal.jsonl, like logs/<run>")
    try:
        return JournalState.load(run.resolve())
    except ValueError as error:
        raise UserError(str(error)) from error
