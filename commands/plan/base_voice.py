"""Base voice: the same model, first trained on speech of espeak-ng, so that recordings have less to teach it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from commands.console import open_console
from commands.options import TrainOptions
from commands.plan.training_plan import read_plan
from commands.process.exit_codes import EXIT_FAILED
from commands.process.heartbeat import Heartbeat, PreparatoryHeartbeat
from commands.run.corpus import prepare_corpus
from commands.run.job import TrainingJob, build_recipe
from commands.run.run_folder import BASE_FOLDER, lock_folder
from commands.run.session import open_session
from corpus.demo.sentences import has_enough_words, supported_languages
from corpus.text.frontend import text_frontend
from files import hex_digest
from hparams import AUDIO_FIELDS, HParams, UserError
from monitoring.journal.summary import read_summary
from recipes import RECIPES
from recipes.facts import CorpusFacts
from training.checkpoints.checkpoint import list_checkpoints

ENOUGH_HOURS = 2.0  # of recordings: they can teach everything themselves
BASE_TIME_SHARE = 0.25  # of a time limit that the base voice may take
MIN_SECONDS, MAX_SECONDS = 60.0, 3600.0
"""A base voice of less is not worth its time; more is better spent on the recordings."""
MUCH_MORE_TIME = 1.5
"""A base voice whose time was too short for its steps is trained further if there is so many times as much now."""
TEXT_FIELDS = ("language", "text_frontend")


def with_base_voice(
    job: TrainingJob,
    facts: CorpusFacts,
    run: Path,
    heartbeat: Heartbeat,
    on_start: Callable[[], None] = lambda: None,
    *,
    texts: Sequence[str] = (),
) -> TrainingJob:
    """Return the job with a base voice to start from, where --warm_start asks for one; train it if there is none.

    `on_start` is called when its training begins. `texts`: transcripts, whose words serve where the language has no
    word list.
    """
    options = job.options
    base = plan_base_voice(job, facts, run, texts)
    if not isinstance(base, PlannedBase):
        if base:
            job.progress_console.print(f"base    none: {base}", soft_wrap=True)
        return job
    folder = base.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):  # another process may be training the same one
        if not _is_trained(job, folder):
            _train(job, folder, PreparatoryHeartbeat(heartbeat), on_start, _words_of(job, texts))
    voice = folder / "voice.safetensors"
    if not voice.is_file():
        return job
    if _is_hopeless(folder):
        job.progress_console.print(f"base    none: {_hopeless(folder)}", soft_wrap=True)
        return job
    job.progress_console.print(f"base    {folder}: a voice of espeak-ng to start from", soft_wrap=True)
    return replace(job, options=replace(options, warm_start=str(voice)))


@dataclass(frozen=True)
class PlannedBase:
    """A base voice to start from, and the most seconds that its training takes; none if it is trained already."""

    folder: Path
    seconds: float


def plan_base_voice(job: TrainingJob, facts: CorpusFacts, run: Path, texts: Sequence[str] = ()) -> PlannedBase | str:
    """Return the base voice that a run starts from, else why there is none; empty where that goes without saying."""
    options = job.options
    if options.warm_start not in ("auto", "espeak") or _goes_on(options, run):
        return ""
    if options.warm_start == "espeak" and job.rank_group.size > 1:
        raise UserError("--warm_start espeak: train it with one process first, then name its folder in base/")
    if options.warm_start == "espeak" and (missing := _missing_words(job, texts)):
        raise UserError(f"--warm_start espeak: {missing}; use --warm_start none")
    folder = options.output / BASE_FOLDER / base_name(job.hparams)
    if options.warm_start == "auto" and (reason := _reason_against(job, facts, folder, texts)) is not None:
        return reason
    return PlannedBase(folder, 0.0 if _is_trained(job, folder) else _most_seconds(job))


def base_name(hparams: HParams) -> str:
    """Name of the base voice that fits: by language, model, and all settings that its weights depend on."""
    shared = hparams.model_dump(mode="json", include=set(_shared_fields(hparams)))
    shared["text_frontend"] = text_frontend(hparams).alphabet
    return f"{hparams.language}-{hparams.model}-{hex_digest(json.dumps(shared, sort_keys=True))[:8]}"


def _shared_fields(hparams: HParams) -> list[str]:
    """Settings that a voice and its base have in common."""
    fields = (*RECIPES[hparams.model].architecture_fields, *AUDIO_FIELDS, *TEXT_FIELDS)
    return [name for name in fields if name not in ("num_speakers", "speakers")]


def _goes_on(options: TrainOptions, run: Path) -> bool:
    """Whether the run does not begin now."""
    return options.resume_path is not None or bool(list_checkpoints(run / "checkpoints"))


def _reason_against(job: TrainingJob, facts: CorpusFacts, folder: Path, texts: Sequence[str]) -> str | None:
    """Why no base voice is trained by itself, empty where that goes without saying; None if one is."""
    if job.options.data is None:
        return ""
    if facts.hours >= ENOUGH_HOURS:
        return f"{facts.hours:.1f} hours of recordings are enough"
    if reason := _missing_words(job, texts):
        return reason
    if job.rank_group.size > 1:
        return "several processes do not train one; --warm_start PATH takes a voice"
    if _is_hopeless(folder):
        return _hopeless(folder)
    if _is_trained(job, folder):
        return None
    if BASE_TIME_SHARE * job.limits.seconds_left < MIN_SECONDS or _most_steps(job, facts) < base_steps(job):
        return "the training is too short for one"
    return None


def _missing_words(job: TrainingJob, texts: Sequence[str]) -> str:
    """Why sentences for espeak-ng cannot be made; empty if they can."""
    if job.hparams.language in supported_languages() or has_enough_words(texts):
        return ""
    return f"there is no word list for {job.hparams.language}, and the transcripts have few words"


def _words_of(job: TrainingJob, texts: Sequence[str]) -> Sequence[str]:
    """Texts whose words the base voice speaks; none for a language with a word list."""
    return () if job.hparams.language in supported_languages() else texts


def _most_steps(job: TrainingJob, facts: CorpusFacts) -> float:
    """Steps that a person allows the training."""
    steps = math.inf if job.limits.max_steps is None else job.limits.max_steps
    epoch = math.ceil(facts.utterances / job.hparams.batch_size)
    return min(steps, job.hparams.epochs * epoch if "epochs" in job.given else math.inf)


def base_steps(job: TrainingJob) -> int:
    """Length of a base voice's training."""
    return RECIPES[job.hparams.model].least_steps[job.preset]


def _most_seconds(job: TrainingJob) -> float:
    return min(MAX_SECONDS, BASE_TIME_SHARE * job.limits.seconds_left)


def _is_trained(job: TrainingJob, folder: Path) -> bool:
    """Whether there is a base voice whose training is over, and was not far shorter than there is time for now."""
    is_over = read_summary(folder).get("status") in ("finished", "stopped")
    if not is_over or not (folder / "voice.safetensors").is_file():
        return False
    plan = read_plan(folder)
    if plan is None or plan.max_minutes is None or plan.steps >= base_steps(job):
        return True
    return _most_seconds(job) < MUCH_MORE_TIME * 60 * plan.max_minutes


def _is_hopeless(folder: Path) -> bool:
    return read_summary(folder).get("status") == "stopped"


def _hopeless(folder: Path) -> str:
    return f"the training of {folder} was stopped, since no remedy was left; remove it to train another"


def _train(
    job: TrainingJob,
    folder: Path,
    heartbeat: PreparatoryHeartbeat,
    on_start: Callable[[], None],
    texts: Sequence[str],
) -> None:
    """Train the base voice, or go on with one whose training was interrupted."""
    job.progress_console.print("base    a voice of espeak-ng is trained first; --warm_start none does without")
    base = _base_job(job, folder)
    corpus = prepare_corpus(base.options, base.hparams, job.progress_console, texts)
    with lock_folder(folder), open_session(base, corpus, folder=folder, heartbeat=heartbeat) as session:
        if session is not None:
            on_start()
            if session.fit() == EXIT_FAILED:
                raise UserError(f"{folder}: the base voice could not be trained, the disk is full; free some space")
    heartbeat.over()


def _base_job(job: TrainingJob, folder: Path) -> TrainingJob:
    minutes, max_steps = _most_seconds(job) / 60, base_steps(job)
    options = replace(
        job.options,
        data=None,
        data_format="auto",
        output=folder.parent,
        run_name=folder.name,
        preset=job.preset,
        resume="auto",
        warm_start="none",
        eval_sentences=None,
        companion="off",
        max_steps=max_steps,
        max_minutes=minutes,
        epochs=None,
    )
    shared = {name: getattr(job.hparams, name) for name in _shared_fields(job.hparams)}
    hparams = build_recipe(options, job.settings).model_copy(update={"num_speakers": 0, "speakers": (), **shared})
    deadline = job.limits.time_after(60 * minutes)
    return replace(
        job,
        options=options,
        hparams=hparams,
        console=open_console(quiet=True),
        limits=replace(job.limits, max_steps=max_steps, deadline=deadline),
        given=job.given - {"epochs"},
    )
