"""--mode train from the command line: run folder, summary, messages, limits, signals."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from commands.options import TrainOptions
from models.checkpoint_file import load_checkpoint
from speech.voice import load_voice
from tests.support.program import PROGRAM, TINY, Program, journal, losses, newest, summary, wait_for
from training.checkpoints.checkpoint import list_checkpoints
from training.knobs import KNOB_NAMES

SUMMARY_KEYS = {
    "schema_version",
    "status",
    "reason",
    "model",
    "step",
    "epoch",
    "seconds",
    "phase",
    "signals",
    "interventions",
    "best_checkpoint",
    "samples",
}


def test_the_run_folder_holds_all_files(program: Program, run: Path) -> None:
    program.shown(run)
    hparams = json.loads((run / "hparams.json").read_text(encoding="utf-8"))
    assert hparams["decoder_rnn_dim"] == TINY["decoder_rnn_dim"]
    assert [record["kind"] for record in journal(run)][0] == "started"
    assert journal(run)[-1]["kind"] == "finished"
    assert load_voice(run / "voice.safetensors").hparams.model_dump(mode="json") == hparams
    assert list((run / "tensorboard").glob("events*"))
    assert {path.suffix for path in (run / "samples").iterdir() if path.is_file()} == {".wav", ".png"}
    assert list_checkpoints(run / "checkpoints")
    assert not list(run.rglob("*.tmp"))
    assert not (run / "journal.jsonl.reserve").exists()


def test_the_summary_holds_status_signals_and_samples(program: Program, run: Path) -> None:
    result = summary(run)
    assert result.keys() >= SUMMARY_KEYS
    assert (result["status"], result["reason"], result["step"]) == ("finished", "epochs", 4)
    assert {"composite_tts_score", "free_diagonality", "total_loss"} <= result["signals"].keys()
    assert (run / result["best_checkpoint"]).is_file()
    program.shown(run)
    assert result["samples"] and all((run / sample).is_file() for sample in result["samples"])


def test_own_sentences_are_spoken_at_every_evaluation(program: Program, data: Path, tmp_path: Path) -> None:
    sentences = tmp_path / "own.txt"
    sentences.write_text("One sentence.\n\nAnother one.\n", encoding="utf-8")
    run = program.shown(program.trained(data, "--eval_sentences", sentences))
    names = sorted(path.name for path in (run / "samples").glob("*own*.wav"))
    assert names == [f"step-00000004-own-{i:03d}.wav" for i in range(2)]
    assert not {"samples/" + name for name in names} - set(summary(run)["samples"])


def test_the_estimate_is_printed_before_training(program: Program, data: Path) -> None:
    outcome = program.train(data, "--max_steps", 1)
    words = [line.split()[0] for line in outcome.out.splitlines()]
    assert words[:6] == ["Smart", "data", "model", "time", "memory", "disk"]
    assert "7 utterances to train on" in outcome.out


def test_quiet_prints_only_the_result(program: Program, data: Path) -> None:
    outcome = program.train(data, "--quiet")
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["finished", "listen:", "speak:"]
    assert re.search(r"finished at step \d+: the voice ", outcome.out)


def test_the_result_names_the_report_where_a_companion_writes_one(program: Program, data: Path) -> None:
    outcome = program.train(data, "--max_steps", 1, "--companion", "on")
    report = program.output / "run" / "report.html"
    assert f"report: {report}" in outcome.out and report.is_file()


def test_a_later_session_says_where_it_continues(program: Program, data: Path) -> None:
    program.trained(data, "--max_steps", 1)
    assert "continues at step 1 from " in program.train(data, "--max_steps", 2).flat


def test_denormal_numbers_are_flushed_in_training(program: Program, data: Path) -> None:
    torch.set_flush_denormal(False)
    assert torch.tensor(1e-38) * 0.01 > 0
    program.trained(data, "--max_steps", 1)
    assert torch.tensor(1e-38) * 0.01 == 0
    torch.set_flush_denormal(False)


def test_training_one_voice_on_several_speakers_is_announced(program: Program, data: Path, tmp_path: Path) -> None:
    clips = sorted((data / "wavs").iterdir())
    rows = [f"{path}|good words|{'anna' if i % 2 else 'bert'}" for i, path in enumerate(clips)]
    (tmp_path / "list.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert "2 speakers: one voice" in program.train(tmp_path / "list.txt", "--max_steps", 1).flat
    assert "speakers: one voice" not in program.train(data, "--max_steps", 1, run="one").flat


def test_a_time_limit_finishes_the_run(program: Program, data: Path) -> None:
    run = program.trained(data, "--max_minutes", "0.0001")
    assert summary(run)["reason"] == "max_minutes"
    assert (run / "voice.safetensors").is_file()


def test_the_seed_decides_the_run(program: Program, data: Path, run: Path) -> None:
    other = program.trained(data, "--seed", 5, run="other")
    same = program.trained(data, "--seed", 1234, run="same")
    assert losses(same) == losses(run)
    assert losses(other) != losses(run)


@pytest.mark.parametrize("pinned", ["batch_size", "duration_loss_weight"])  # no knob; one of GlowTTS alone
def test_only_knobs_with_an_effect_on_the_model_can_be_pinned(program: Program, data: Path, pinned: str) -> None:
    assert TrainOptions(pin=" guide_sigma , grad_clip_thresh,").pinned_knobs == ("guide_sigma", "grad_clip_thresh")
    program.train(data, "--pin", f"guide_sigma,{pinned}").refused(
        f"^error: --pin: tacotron2 has no knob '{pinned}'; its knobs are {KNOB_NAMES[0]}, "
    )


def test_pins_are_recorded(program: Program, data: Path) -> None:
    run = program.trained(data, "--pin", "guide_sigma", "--max_steps", 1)
    assert journal(run, "started")[0]["choices"]["pinned"] == ["guide_sigma"]


def test_help_imports_no_slow_library() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['train_enhanced.py', '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'soundfile', 'rich', 'numba'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROGRAM.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--resume" in done.stdout and "synthesize" in done.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_signal_saves_and_the_same_command_continues(
    program: Program, data: Path, number: signal.Signals, code: int
) -> None:
    settings: dict[str, Any] = {"epochs": 500, "iters_per_evaluation": 100_000, "iters_per_checkpoint": 100_000}
    process = program.start(data, **settings)
    run = program.output / "run"
    wait_for(lambda: (run / "journal.jsonl").is_file() and journal(run, "steps"), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, "")
    assert number.name in out
    assert (summary(run)["status"], summary(run)["reason"]) == ("interrupted", number.name)
    step = load_checkpoint(newest(run))["progress"]["step"]
    assert step == max(losses(run)) == summary(run)["step"]
    program.trained(data, "--max_steps", step + 2, **settings)
    assert journal(run, "resumed")[0]["step"] == step
    assert summary(run)["step"] == step + 2


def test_a_second_process_in_the_same_run_is_refused(program: Program, data: Path) -> None:
    process = program.start(data, epochs=500)
    run = program.output / "run"
    try:
        wait_for(lambda: (run / "journal.jsonl").is_file(), process)
        program.train(data, epochs=500).refused("in use by another process")
    finally:
        process.kill()
        process.communicate()
