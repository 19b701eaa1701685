"""--mode validate measures the same values as the evaluation of the run itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.program import Program, newest, summary


def test_json_holds_the_signals_that_the_run_recorded(program: Program, data: Path, run: Path) -> None:
    outcome = program("--mode", "validate", "--run", run, "--json")
    assert outcome.code == 0
    result = json.loads(outcome.out)
    assert (result["step"], result["utterances"]) == (4, 1)
    recorded = summary(run)["signals"]
    for name in ("val_mel_loss", "mel_distance", "free_diagonality", "composite_tts_score"):
        assert result["signals"][name] == pytest.approx(recorded[name], rel=1e-4)


def test_a_checkpoint_can_be_validated(program: Program, data: Path, run: Path) -> None:
    outcome = program("--mode", "validate", "--resume", newest(run), "--data", data, "--json")
    assert json.loads(outcome.out)["checkpoint"] == str(newest(run))


def test_the_latest_run_is_the_default(program: Program, run: Path) -> None:
    outcome = program("--mode", "validate")
    assert outcome.code == 0
    assert str(run / "voice.safetensors") in outcome.out
    assert "composite_tts_score" in outcome.out


def test_a_missing_run_or_voice_is_refused(program: Program, tmp_path: Path) -> None:
    program("--mode", "validate").refused("no run found")
    program("--mode", "validate", "--run", tmp_path / "absent").refused("no such folder")
    program("--mode", "validate", "--run", tmp_path).refused("no voice and no checkpoint")


def test_another_text_front_end_is_refused(program: Program, run: Path) -> None:
    program("--mode", "validate", "--run", run, "--hparams", "text_frontend=phonemes").refused("symbols")


def test_a_damaged_voice_is_refused(program: Program, run: Path) -> None:
    voice = run / "voice.safetensors"
    voice.write_bytes(voice.read_bytes()[:-100])
    program("--mode", "validate", "--run", run).refused("damaged")
