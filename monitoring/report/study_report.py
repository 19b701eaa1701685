"""The report of a search: one page that needs nothing but itself."""

from __future__ import annotations

from html import escape
from pathlib import Path

from files import write_atomically
from monitoring.journal.run_state import JournalState
from monitoring.language.base import number, words_of
from monitoring.report.html import as_data, figure, items, page, table
from monitoring.report.study_state import StudyStory, TrialStory

MOST_HEARD = 4


def write_study_report(folder: Path, study: StudyStory) -> Path:
    path = folder / "report.html"
    write_atomically(path, study_page(folder, study).encode("utf-8", "backslashreplace"))
    return path


def study_page(folder: Path, study: StudyStory) -> str:
    body = [
        f"<h1>{escape(study.name)}</h1>",
        f'<p class="verdict">{escape(verdict(study))}</p>',
        f"<p>Train with these settings: <code>{escape(study.train_command)}</code></p>",
        '<h2 id="importance">What mattered</h2>',
        items(study.conclusions),
        *(_picture(folder / name, alt) for name, alt in (("importance.png", "importance"), ("history.png", "history"))),
        '<h2 id="heard">What it sounds like</h2>',
        _heard(study),
        '<h2 id="best">The best settings</h2>',
        _settings(study),
        '<h2 id="trials">All trials</h2>',
        _trials(study),
    ]
    return page(f"Search: {study.name}", body, words_of("en"))


def verdict(study: StudyStory) -> str:
    ended = sum(trial.ending == "ended early" for trial in study.trials)
    best, own = study.best, next((trial for trial in study.trials if trial.number == 0), None)
    told = f"Of {len(study.trials)} trials ({ended} ended early) number {best.number} is the best: {number(best.score)}"
    if own is None or own.score is None:
        return f"{told}."
    if own is best:
        return f"{told}. That is the recipe as it was: nothing better was found."
    return f"{told}; the recipe as it was came to {number(own.score)}."


def _picture(path: Path, alt: str) -> str:
    if not path.is_file():
        return ""
    shown = as_data(path.read_bytes(), "image/png")
    return f'<img class="chart" alt="{alt}" src="{shown}">'


def _heard(study: StudyStory) -> str:
    """The best ones and the recipe as it was, the same sentence each."""
    complete = [trial for trial in study.trials if trial.ending == "complete" and trial.score is not None]
    chosen = sorted(complete, key=lambda trial: -(trial.score or 0.0))[:MOST_HEARD]
    chosen += [trial for trial in study.trials if trial.number == 0 and trial not in chosen]
    return f'<div class="row">{"".join(_sample(trial) for trial in chosen)}</div>'


def _sample(trial: TrialStory) -> str:
    if not (trial.folder / "journal.jsonl").is_file():  # it ran on another machine
        return ""
    told = next((told for told in reversed(JournalState.load(trial.folder).evaluations) if told.get("samples")), None)
    if told is None:
        return ""
    return figure(trial.folder / told["samples"][0]["file"], f"trial {trial.number}: {number(trial.score)}")


def _settings(study: StudyStory) -> str:
    own = next((trial.params for trial in study.trials if trial.number == 0), {})
    rows = [["setting", "best", "as it was"]]
    rows += [[name, _value(value), _value(own.get(name))] for name, value in study.best.params.items()]
    return table(rows)


def _trials(study: StudyStory) -> str:
    told = []
    for trial in study.trials:
        head = f"trial {trial.number}: {number(trial.score)}, {trial.ending}, {trial.seconds:.0f} s"
        settings = ", ".join(f"{name} {_value(value)}" for name, value in trial.params.items())
        told.append(f"<details><summary>{escape(head)}</summary><div><p>{escape(settings)}</p></div></details>")
    return "".join(told)


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
