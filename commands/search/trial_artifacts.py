"""Pictures, sound and pages of a trial: in Optuna's dashboard, in the trial's folder, in MLflow."""

from __future__ import annotations

from pathlib import Path

from optuna import Study
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import Trial

from commands.companion.companion import run_companion, vocoding_of
from commands.process.companion_process import has_pending_output
from commands.search.study_context import StudyContext
from commands.search.trial import TrialOutcome
from monitoring.exporters.mlflow_study import MlflowStudy
from monitoring.journal.journal_state import JournalState
from monitoring.language import LANGUAGES
from monitoring.messaging.settings import TelegramSettings, WebhookSettings
from monitoring.report.decision_text import intervention_title, verdict_text
from monitoring.report.samples import SampleFiles

ARTIFACT_FOLDER = "artifacts"
ATTACHED_SUFFIXES = (".attention.png", ".wav")


def show_in_dashboard(context: StudyContext, study: Study, trial: Trial, outcome: TrialOutcome, folder: Path) -> None:
    """Attach picture, sound and note of the last evaluation; Optuna allows that only while the trial runs."""
    from optuna_dashboard import save_note  # slow to import: it brings a web server

    state = JournalState.load(folder)
    evaluations = [evaluation for evaluation in state.evaluations if "spoken" in evaluation]
    for evaluation in evaluations[:-1]:
        (folder / evaluation["spoken"]).unlink(missing_ok=True)
    samples = SampleFiles(folder, vocoding_of(folder))
    for evaluation in evaluations[-1:]:
        samples.on_record(evaluation, state)
        samples.flush()
        for path in (folder / f"{evaluation['samples'][0]['file']}{suffix}" for suffix in ATTACHED_SUFFIXES):
            if path.is_file():
                _attach(context, study, trial, path)
    save_note(trial, dashboard_note(state, outcome, folder))


def _attach(context: StudyContext, study: Study, trial: Trial, path: Path) -> None:
    store = FileSystemArtifactStore(base_path=artifact_folder(context.folder))
    upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial, storage=study._storage)


def artifact_folder(study: Path) -> Path:
    folder = study / ARTIFACT_FOLDER
    folder.mkdir(exist_ok=True)
    return folder


def dashboard_note(state: JournalState, outcome: TrialOutcome, folder: Path) -> str:
    """Markdown with the reason of the end, the supervisor's interventions, and the signals of the best evaluation."""
    words = LANGUAGES["en"]
    rows = [f"| {name} | {value:.4g} |" for name, value in sorted(outcome.signals.items()) if value is not None]
    interventions = [
        f"- {intervention_title(entry, words)} ({verdict_text(entry, words)})" for entry in state.interventions
    ]
    return "\n".join(
        [
            f"Ended at step {state.step}: {outcome.reason}. The run's folder: `{folder}`",
            "",
            *(interventions or ["Its supervisor made no intervention."]),
            "",
            "| signal | at the best evaluation |",
            "|---|---|",
            *rows,
        ]
    )


def show_elsewhere(context: StudyContext, folder: Path, study: MlflowStudy, *, with_mlflow: bool) -> bool:
    """Write the trial's pages and send it to MLflow, as far as that was not done; send no messages.

    Returns False when something could not be shown.
    """
    changes: dict[str, object] = {"telegram": TelegramSettings(), "webhook": WebhookSettings()}
    if not with_mlflow:
        changes["mlflow"] = context.settings.mlflow.model_copy(update={"enabled": False})
    settings = context.settings.model_copy(update=changes)
    if not (folder / "journal.jsonl").exists() or not has_pending_output(folder, settings, study.output):
        return True
    return run_companion(folder, settings, follow=False, study=study) == 0
