"""Report of a search: one HTML page in English."""

from __future__ import annotations

from pathlib import Path

from files import write_atomically
from monitoring.journal.journal_state import JournalState
from monitoring.language import LANGUAGES
from monitoring.language.base import format_number
from monitoring.report.html import SampleMedia, load_sample, png_uri, render_page
from monitoring.report.study_summary import StudySummary, TrialSummary

MAX_SAMPLES = 4  # of the best trials


def write_study_report(folder: Path, study: StudySummary) -> Path:
    path = folder / "report.html"
    write_atomically(path, study_page(folder, study).encode("utf-8", "backslashreplace"))
    return path


def study_page(folder: Path, study: StudySummary) -> str:
    pictures = {name: folder / f"{name}.png" for name in ("importance", "history")}
    return render_page(
        "study.html",
        LANGUAGES["en"],
        title=f"Search: {study.name}",
        study=study,
        summary=study_sentence(study),
        pictures={name: png_uri(path) for name, path in pictures.items() if path.is_file()},
        media=_samples(study),
        settings=_settings(study),
        trials=[(_trial_title(trial), _trial_settings(trial)) for trial in study.trials],
    )


def study_sentence(study: StudySummary) -> str:
    """Best trial, compared with the unchanged recipe, in a sentence or two."""
    ended_early = sum(trial.ending == "ended early" for trial in study.trials)
    best, unchanged = study.best, study.unchanged_recipe
    text = (
        f"Best of {len(study.trials)} trials ({ended_early} ended early): "
        f"trial {best.number} with a score of {format_number(best.score)}"
    )
    if unchanged is None or unchanged.score is None:
        return f"{text}."
    if unchanged is best:
        return f"{text}. That is the unchanged recipe: nothing better was found."
    return f"{text}; the unchanged recipe reached {format_number(unchanged.score)}."


def _samples(study: StudySummary) -> list[SampleMedia]:
    """One sentence, spoken by the best trials and by the unchanged recipe."""
    complete = [trial for trial in study.trials if trial.ending == "complete" and trial.score is not None]
    chosen = sorted(complete, key=lambda trial: -(trial.score or 0.0))[:MAX_SAMPLES]
    if (unchanged := study.unchanged_recipe) is not None and unchanged not in chosen:
        chosen.append(unchanged)
    return [sample for trial in chosen if (sample := _trial_sample(trial)) is not None]


def _trial_sample(trial: TrialSummary) -> SampleMedia | None:
    if not (trial.folder / "journal.jsonl").is_file():  # the trial ran on another machine
        return None
    evaluations = reversed(JournalState.load(trial.folder).evaluations)
    samples = next((evaluation["samples"] for evaluation in evaluations if evaluation.get("samples")), None)
    if samples is None:
        return None
    return load_sample(trial.folder / samples[0]["file"], f"trial {trial.number}: {format_number(trial.score)}")


def _settings(study: StudySummary) -> list[list[str]]:
    unchanged = {} if study.unchanged_recipe is None else study.unchanged_recipe.params
    rows = [["setting", "best", "unchanged recipe"]]
    rows += [[name, _value_text(value), _value_text(unchanged.get(name))] for name, value in study.best.params.items()]
    return rows


def _trial_title(trial: TrialSummary) -> str:
    return f"trial {trial.number}: {format_number(trial.score)}, {trial.ending}, {trial.seconds:.0f} s"


def _trial_settings(trial: TrialSummary) -> str:
    return ", ".join(f"{name} {_value_text(value)}" for name, value in trial.params.items())


def _value_text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
