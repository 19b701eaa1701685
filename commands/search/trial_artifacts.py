"""What is seen and heard of a trial: its picture and sound in the dashboard, its pages, its run in MLflow."""

from __future__ import annotations

from pathlib import Path

from optuna import Study
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import Trial

from commands.companion.companion import run_companion, vocoding_of
from commands.process.companion_process import has_pending_output
from commands.search.trial import Bench, Outcome
from monitoring.exporters.mlflow_study import MlflowStudy
from monitoring.journal.run_state import JournalState
from monitoring.language.base import words_of
from monitoring.messaging.settings import TelegramSettings, WebhookSettings
from monitoring.report.samples import SampleFiles
from monitoring.report.summary import act_title, judged

ARTIFACTS = "artifacts"
SHOWN = (".attention.png", ".wav")


def show_in_dashboard(bench: Bench, study: Study, trial: Trial, outcome: Outcome, folder: Path) -> None:
    """Before the trial is over, since afterwards nothing can be added; only its last evaluation is drawn and heard."""
    from optuna_dashboard import save_note  # slow: it brings a web server

    state = JournalState.load(folder)
    spoken = [told for told in state.evaluations if "spoken" in told]
    for told in spoken[:-1]:
        (folder / told["spoken"]).unlink(missing_ok=True)
    samples = SampleFiles(folder, vocoding_of(folder))
    for told in spoken[-1:]:
        samples.on_record(told, state)
        samples.flush()
        for path in (folder / f"{told['samples'][0]['file']}{suffix}" for suffix in SHOWN):
            if path.is_file():
                _attach(bench, study, trial, path)
    save_note(trial, note(state, outcome, folder))


def _attach(bench: Bench, study: Study, trial: Trial, path: Path) -> None:
    store = FileSystemArtifactStore(base_path=artifact_folder(bench.folder))
    upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial, storage=study._storage)


def artifact_folder(study: Path) -> Path:
    folder = study / ARTIFACTS
    folder.mkdir(exist_ok=True)
    return folder


def note(state: JournalState, outcome: Outcome, folder: Path) -> str:
    """Markdown: how it ended, its figures, and what its supervisor found."""
    words = words_of("en")
    figures = [f"| {name} | {value:.4g} |" for name, value in sorted(outcome.signals.items()) if value is not None]
    entries = [f"- {act_title(entry, words)} ({judged(entry, words)})" for entry in state.interventions]
    return "\n".join(
        [
            f"Ended at step {state.step}: {outcome.reason}. All of it: `{folder}`",
            "",
            *(entries or ["Its supervisor had nothing to do."]),
            "",
            "| signal | at the best evaluation |",
            "|---|---|",
            *figures,
        ]
    )


def show_elsewhere(bench: Bench, folder: Path, study: MlflowStudy, *, with_mlflow: bool) -> bool:
    """On its pages and in MLflow, as far as that was not done; a study sends no messages for each trial.

    False when something is left to be shown.
    """
    silent: dict[str, object] = {"telegram": TelegramSettings(), "webhook": WebhookSettings()}
    if not with_mlflow:
        silent["mlflow"] = bench.settings.mlflow.model_copy(update={"enabled": False})
    settings = bench.settings.model_copy(update=silent)
    if not (folder / "journal.jsonl").exists() or not has_pending_output(folder, settings, study.output):
        return True
    return run_companion(folder, settings, follow=False, study=study) == 0
