"""Runs, checkpoints, voices, journals and studies written by an earlier version keep working.

The files in tests/fixtures/earlier_version were written before the packages were rearranged: two runs of the tiny model
that were stopped at step 6, the journals of the same runs without the stop, a study of three trials, and the journals
of two supervised runs with a learning rate far too high.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest
import soundfile

from files import REPOSITORY
from smart_tuner.replay import main, replay
from smart_tuner.search.trials import find_best_trial
from smart_tuner.settings import QualityControl, Settings, load_settings
from tests.commands.search.studies import study_in
from tests.support.program import Program, journal, losses, tiny

FIXTURES = REPOSITORY / "tests" / "fixtures" / "earlier_version"
MODELS = ["tacotron2", "glow_tts"]
CHANGES = {
    **{"epochs": 4, "sampling_rate": 8000, "n_mel_channels": 20, "mel_fmax": 4000.0, "validation_percent": 20},
    **{"hop_length": 128, "filter_length": 512, "win_length": 512, "cpu_threads": 1},
}
GLOW_TTS = {
    **{"hidden_channels_enc": 8, "encoder_num_layers": 1, "encoder_hidden_channels_ffn": 12, "hidden_channels_dp": 8},
    **{"num_flow_blocks_dec": 2, "num_block_layers": 2, "hidden_channels_dec": 8, "kernel_size_dec": 3},
    **{"max_decoder_steps": 40, "guide_loss_weight": 0.0, "warmup_steps": 8_000},
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES, tmp_path / "logs")
    return tmp_path / "logs"


@pytest.fixture
def program(output: Path, capsys: pytest.CaptureFixture[str]) -> Program:
    return Program(capsys, output)


@pytest.mark.parametrize("model", MODELS)
def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(program: Program, output: Path, model: str) -> None:
    changes = CHANGES | (GLOW_TTS if model == "glow_tts" else {})
    outcome = program("--data", output / "corpus", "--run_name", model, "--model", model, *tiny(**changes))
    assert outcome.code == 0, outcome.err
    (resumed,) = journal(output / model, "resumed")
    assert resumed["step"] == 6 and resumed["changed"] == {}
    (output / "uninterrupted").mkdir()
    shutil.copy(output / "whole" / f"{model}.jsonl", output / "uninterrupted" / "journal.jsonl")
    assert losses(output / model) == pytest.approx(losses(output / "uninterrupted"), rel=1e-3)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("source", ["voice.safetensors", "checkpoints"])
def test_voices_and_checkpoints_speak(program: Program, output: Path, model: str, source: str) -> None:
    run = output / model
    if source == "checkpoints":
        (run / "voice.safetensors").unlink()
    outcome = program("--mode", "synthesize", "--run", run, "--text", "Some words.", "--out", output / "x.wav")
    assert outcome.code == 0, outcome.err
    wave, rate = soundfile.read(output / "x.wav")
    assert rate == 8000 and len(wave) > 0


@pytest.mark.parametrize("model", MODELS)
def test_the_report_of_a_run_is_made_from_its_folder(program: Program, output: Path, model: str) -> None:
    assert program("--mode", "report", "--run", output / model).code == 0
    page = (output / model / "report.html").read_text(encoding="utf-8")
    assert "Finished" in page and "<polyline" in page
    assert "held-out speech" in page


def supervised_run(output: Path, model: str) -> Path:
    run = output / "supervised"
    run.mkdir()
    (run / "journal.jsonl").write_bytes(gzip.decompress((output / f"sick_{model}.jsonl.gz").read_bytes()))
    return run


@pytest.mark.parametrize("model", MODELS)
def test_a_journal_of_an_earlier_decision_version_is_recomputed_and_says_so(
    output: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same ailment is found at the same step and treated alike, for another reason."""
    run = supervised_run(output, model)
    replayed = replay(run)
    first, second = (
        [(decision["step"], decision["ailment"], decision.get("remedy")) for decision in decisions[:2]]
        for decisions in (replayed.recorded, replayed.recomputed)
    )
    assert replayed.version == 1 and first == second and replayed.recomputed[0] != replayed.recorded[0]
    assert main([str(run)]) == 0
    assert capsys.readouterr().out == (
        "5 decisions recorded by decision version 1; version 2 makes 6, which differ from number 1 on\n"
    )


def test_the_loss_target_of_an_earlier_version_is_dropped(output: Path, tmp_path: Path) -> None:
    (start,) = (record for record in journal(supervised_run(output, "tacotron2"), "started"))
    recorded = start["supervision"]["settings"]
    assert recorded["quality_control"]["loss_target"] == 1.0
    assert "loss_target" not in Settings.model_validate(recorded).model_dump()["quality_control"]
    (tmp_path / "mine.yaml").write_text("quality_control: {loss_target: 2.5, gate_accuracy_target: 0.9}")
    settings = load_settings(tmp_path / "mine.yaml")
    assert settings == Settings(quality_control=QualityControl(gate_accuracy_target=0.9))


def test_a_study_opens_and_knows_its_best_trial(output: Path) -> None:
    study = study_in(output)
    winner = find_best_trial(study)
    assert len(study.trials) == 3 and winner is not None and winner.number == 0
