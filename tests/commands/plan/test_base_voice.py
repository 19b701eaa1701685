from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from commands.options import TrainOptions
from commands.plan.base_voice import (
    ENOUGH_HOURS,
    PlannedBase,
    _base_job,
    base_name,
    plan_base_voice,
    with_base_voice,
)
from commands.plan.training_plan import TrainingPlan, write_plan
from commands.process.heartbeat import Heartbeat
from commands.run.job import TrainingJob, plan_job
from commands.run.run_folder import BASE_FOLDER
from commands.run.start_point import is_base_voice
from corpus.demo.demo_corpus import make_demo_corpus
from hparams import HParams, UserError, build_hparams
from monitoring.journal.summary import write_summary
from recipes import RECIPES
from recipes.facts import CorpusFacts
from tests.support.program import Program, journal, tiny
from tests.support.tiny import GLOW
from training.run_state import RunLimits

WORDS = ["".join(letters) for letters in product("abcdefghijk", repeat=2)]
FACTS = CorpusFacts(utterances=100, hours=0.5, mean_frames=400.0, longest_frames=900, frames_per_symbol=6.0)


def job_with(tmp_path: Path, **options: Any) -> TrainingJob:
    given: dict[str, Any] = {"data": "somewhere", "preset": "tiny", "quiet": True} | options
    return plan_job(TrainOptions(output=tmp_path, **given))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders of base voices that would have been trained; each gets a file in place of its voice."""
    folders: list[Path] = []

    def train(job: TrainingJob, folder: Path, *_: object) -> None:
        folder.mkdir(parents=True)
        (folder / "voice.safetensors").touch()
        folders.append(folder)

    monkeypatch.setattr("commands.plan.base_voice._train", train)
    return folders


@pytest.mark.parametrize("wish", ["auto", "espeak"])
def test_few_recordings_start_from_a_base_voice(tmp_path: Path, trained: list[Path], wish: str) -> None:
    job = job_with(tmp_path, warm_start=wish)
    result = with_base_voice(job, FACTS, tmp_path / "run", Heartbeat(None))
    assert trained == [tmp_path / BASE_FOLDER / base_name(job.hparams)]
    assert result.options.warm_start_path == trained[0] / "voice.safetensors"


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"warm_start": "none"}, FACTS),
        ({"warm_start": "x.pt"}, FACTS),
        ({"data": None}, FACTS),
        ({"resume": "some/run"}, FACTS),
        ({"max_minutes": 3}, FACTS),
        ({"max_steps": 300}, FACTS),
        ({"language": "eo"}, FACTS),
        ({"epochs": 1}, FACTS),
        ({}, replace(FACTS, hours=ENOUGH_HOURS)),
    ],
)
def test_other_runs_start_without_one(
    tmp_path: Path, trained: list[Path], options: dict[str, Any], facts: CorpusFacts
) -> None:
    job = job_with(tmp_path, **options)
    assert with_base_voice(job, facts, tmp_path / "run", Heartbeat(None)) is job and trained == []


def test_a_language_without_a_word_list_takes_the_words_of_its_transcripts(tmp_path: Path, trained: list[Path]) -> None:
    job = job_with(tmp_path, language="eo")
    assert plan_base_voice(job, FACTS, tmp_path / "run", WORDS[:50]) == (
        "there is no word list for eo, and the transcripts have few words"
    )
    assert isinstance(plan_base_voice(job, FACTS, tmp_path / "run", WORDS), PlannedBase)
    with pytest.raises(UserError, match="--warm_start espeak: there is no word list for eo"):
        plan_base_voice(job_with(tmp_path, language="eo", warm_start="espeak"), FACTS, tmp_path / "run")


@pytest.mark.parametrize(
    ("steps", "minutes", "limits", "is_enough"),
    [
        (360, 0.2, {}, True),  # all of the steps
        (100, 5.0, {"max_minutes": 20}, True),  # as much time as there is now
        (100, 5.0, {"max_minutes": 600}, False),
        (100, None, {}, True),
    ],
)
def test_a_base_voice_is_trained_further_if_there_is_much_more_time(
    tmp_path: Path, steps: int, minutes: float | None, limits: dict[str, Any], is_enough: bool
) -> None:
    job = job_with(tmp_path, **limits)
    folder = tmp_path / BASE_FOLDER / base_name(job.hparams)
    folder.mkdir(parents=True)
    (folder / "voice.safetensors").touch()
    write_summary(folder, {"status": "finished"})
    write_plan(folder, TrainingPlan(steps=steps, schedule_steps=steps, steps_per_epoch=10, max_minutes=minutes))
    base = plan_base_voice(job, FACTS, tmp_path / "run")
    assert isinstance(base, PlannedBase) and (base.seconds == 0) is is_enough


def test_a_base_voice_that_did_not_learn_is_not_used(tmp_path: Path, trained: list[Path]) -> None:
    job = job_with(tmp_path)
    folder = tmp_path / BASE_FOLDER / base_name(job.hparams)
    folder.mkdir(parents=True)
    (folder / "voice.safetensors").touch()
    write_summary(folder, {"status": "stopped"})
    assert "no remedy was left; remove it" in str(plan_base_voice(job, FACTS, tmp_path / "run"))
    for wish in ("auto", "espeak"):
        wished = job_with(tmp_path, warm_start=wish)
        assert with_base_voice(wished, FACTS, tmp_path / "run", Heartbeat(None)).options.warm_start == wish
    assert trained == []


def test_a_run_that_goes_on_needs_none(tmp_path: Path, trained: list[Path]) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / f"step-00000005-{'0' * 16}.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    job = job_with(tmp_path)
    assert with_base_voice(job, FACTS, tmp_path / "run", Heartbeat(None)) is job and trained == []


def test_the_reason_against_one_is_printed(
    tmp_path: Path, trained: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with_base_voice(job_with(tmp_path, quiet=False, max_minutes=3), FACTS, tmp_path / "run", Heartbeat(None))
    assert "base none: the training is too short for one" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"learning_rate": 0.5, "batch_size": 3}, True),
        ({"attention_dim": 7}, False),
        ({"language": "de"}, False),
        ({"text_frontend": "phonemes"}, False),
        ({"text_frontend": "graphemes"}, True),  # the default for English
        ({"mel_floor": 1e-3}, False),
    ],
)
def test_one_base_voice_serves_all_recipes_with_the_same_weights(changes: dict[str, Any], is_same: bool) -> None:
    assert (base_name(build_hparams(changes)) == base_name(HParams())) is is_same


def test_speakers_do_not_change_the_base_voice() -> None:
    one, three = build_hparams({"model": "glow_tts"}), build_hparams({"model": "glow_tts", "num_speakers": 3})
    assert base_name(one) == base_name(three)


def test_a_base_voice_is_trained_once_and_gives_its_weights(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.run.corpus.make_demo_corpus", partial(make_demo_corpus, size=24))
    monkeypatch.setitem(RECIPES["tacotron2"].least_steps, "full", 6)
    options = ["--data", data, "--warm_start", "espeak", "--max_steps", 1, *tiny()]
    first = program(*options, "--run_name", "first")
    assert first.code == 0 and "a voice of espeak-ng is trained first" in first.flat
    (base,) = (program.output / BASE_FOLDER).glob("en-us-*")
    assert [r["step"] for r in journal(base) if r["kind"] == "evaluation"][-1] == 6
    assert journal(program.output / "first")[0]["source"] == str(base / "voice.safetensors")
    monkeypatch.setitem(RECIPES["tacotron2"].least_steps, "full", 60)  # more than it was trained for
    monkeypatch.delattr("commands.plan.base_voice.prepare_corpus")  # nor is its corpus read again
    second = program(*options, "--run_name", "second")
    assert second.code == 0 and "is trained first" not in second.flat
    weights, origin = load_file(base / "voice.safetensors"), load_file(program.output / "second" / "origin.safetensors")
    assert weights.keys() == origin.keys() and all(bool((weights[name] == origin[name]).all()) for name in weights)
    spoken = program("--mode", "synthesize", "--text", "Good.", "--out", program.output / "x.wav")
    assert f"voice {program.output / 'second'}" in spoken.flat  # a base voice is no run


def test_glow_tts_takes_the_text_side_of_its_base_voice_and_no_flow(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.run.corpus.make_demo_corpus", partial(make_demo_corpus, size=24))
    monkeypatch.setitem(RECIPES["glow_tts"].least_steps, "full", 2)
    glow = {name: value for name, value in GLOW.items() if name != "model"}
    options = ["--data", data, "--model", "glow_tts", "--warm_start", "espeak", "--max_steps", 1]
    assert program(*options, *tiny(**glow), "--run_name", "voice").code == 0
    (base,) = (program.output / BASE_FOLDER).glob("en-us-*")
    weights, origin = load_file(base / "voice.safetensors"), load_file(program.output / "voice" / "origin.safetensors")
    assert origin.keys() == {name for name in weights if not name.startswith(("decoder.", "encoder.proj_m."))}
    assert {"encoder.emb.weight", "encoder.duration_predictor.proj.weight"} < origin.keys()


def test_a_base_voice_is_known_by_its_folder_and_a_voice_of_recordings_is_none(tmp_path: Path) -> None:
    hparams = build_hparams({"model": "glow_tts"})
    folder = tmp_path / BASE_FOLDER / base_name(hparams)
    assert is_base_voice(folder / "voice.safetensors", hparams)
    assert is_base_voice(folder / "checkpoints" / "step-00000001.pt", hparams)
    assert not is_base_voice(tmp_path / BASE_FOLDER / "anna" / "voice.safetensors", hparams)  # --output base
    assert not is_base_voice(tmp_path / folder.name / "voice.safetensors", hparams)
    assert not is_base_voice(folder / "voice.safetensors", build_hparams({"model": "tacotron2"}))


def test_a_stop_while_the_base_voice_is_trained_ends_the_command(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(job: TrainingJob, *_: object, **__: object) -> TrainingJob:
        limits: RunLimits = job.limits
        limits.request_stop("SIGINT")
        return job

    monkeypatch.setattr("commands.train.with_base_voice", stop)
    outcome = program.train(data, "--max_steps", 1)
    assert outcome.code == 130 and "stopped by SIGINT before the run began" in outcome.out


def test_a_base_voice_has_the_architecture_of_the_voice(tmp_path: Path) -> None:
    job = job_with(tmp_path)
    job = replace(job, hparams=build_hparams(job.hparams.model_dump(), {"n_frames_per_step": 2}))
    base = _base_job(job, tmp_path / "base")
    assert base.hparams.n_frames_per_step == 2 and base_name(base.hparams) == base_name(job.hparams)
