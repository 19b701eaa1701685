"""--mode train from outside: the run folder, going on, and what must not be mixed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from commands.run.job import pinned_knobs
from models.checkpoint_file import load_checkpoint
from speech.voice import load_voice
from tests.commands.program import (
    PROGRAM,
    TINY,
    Program,
    contents,
    journal,
    losses,
    newest,
    summary,
    wait_for,
)
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


def last_start(run: Path) -> dict[str, object]:
    return [record for record in journal(run) if "changed" in record][-1]


def test_the_run_folder_holds_what_it_promises(program: Program, run: Path) -> None:
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


def test_the_summary_says_how_it_ended(program: Program, run: Path) -> None:
    result = summary(run)
    assert result.keys() >= SUMMARY_KEYS
    assert (result["status"], result["reason"], result["step"]) == ("finished", "epochs", 4)
    assert {"composite_tts_score", "free_diagonality", "total_loss"} <= result["signals"].keys()
    assert (run / result["best_checkpoint"]).is_file()
    program.shown(run)
    assert result["samples"] and all((run / sample).is_file() for sample in result["samples"])


def test_a_finished_run_stays_as_it_is(program: Program, data: Path, run: Path) -> None:
    before = contents(run)
    outcome = program.train(data)
    assert outcome.code == 0
    assert "is finished" in outcome.out
    assert contents(run) == before


def test_a_run_that_lost_its_last_moments_is_completed(program: Program, data: Path, run: Path) -> None:
    state = summary(run) | {"status": "running"}
    (run / "summary.json").write_text(json.dumps(state), encoding="utf-8")
    (run / "voice.safetensors").unlink()
    before = losses(run)
    program.trained(data)
    assert summary(run)["status"] == "finished"
    assert (run / "voice.safetensors").is_file()
    assert losses(run) == before


def test_going_on_gives_the_losses_of_a_run_without_a_break(program: Program, data: Path, run: Path) -> None:
    broken = program.trained(data, "--max_steps", 3, run="broken")
    assert summary(broken)["reason"] == "max_steps"
    assert max(losses(broken)) == 3
    program.trained(data, run="broken")
    assert losses(broken) == losses(run)
    assert [record["step"] for record in journal(broken, "resumed")] == [3]


def test_resume_none_makes_a_folder_of_its_own(program: Program, data: Path) -> None:
    arguments = ["--data", data, "--hparams", ",".join(f"{n}={v}" for n, v in TINY.items()), "--max_steps", 1]
    assert program(*arguments).code == 0
    assert program(*arguments, "--resume", "none").code == 0
    first, second = sorted(path for path in program.output.iterdir() if not path.name.startswith("."))
    assert second.name == f"{first.name}-2"
    assert losses(first) == losses(second)
    program(*arguments, "--resume", "none", "--run_name", first.name).refused("exists already")


@pytest.mark.parametrize("what", ["folder", "checkpoint"])
def test_a_given_place_is_resumed_from(program: Program, data: Path, run: Path, what: str) -> None:
    place = run if what == "folder" else newest(run)
    target = program.trained(data, "--resume", place, run="other", epochs=3)
    assert last_start(target)["kind"] == "resumed"
    assert last_start(target)["step"] == 4
    assert sorted(losses(target)) == [5, 6]


def test_a_changed_setting_is_recorded_and_obeyed(program: Program, data: Path, run: Path) -> None:
    changes: dict[str, Any] = {"epochs": 3, "grad_clip_thresh": 7.5, "weight_decay": 0.25}
    program.trained(data, "--learning_rate", "0.02", **changes)
    changed = last_start(run)["changed"]
    assert changed == {
        "epochs": [2, 3],
        "learning_rate": [1e-4, 0.02],
        "grad_clip_thresh": [1.0, 7.5],
        "weight_decay": [1e-6, 0.25],
    }
    rates = journal(run, "steps")[-1]["signals"]["learning_rate"]
    assert rates[-1] == pytest.approx(0.02 * 6 / 500)
    state = load_checkpoint(newest(run))
    assert state["optimizer"]["param_groups"][0]["weight_decay"] == 0.25
    assert state["knobs"]["grad_clip_thresh"] == 7.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"decoder_rnn_dim": 24}, "decoder_rnn_dim is 16 there, 24 here"),
        ({"n_mel_channels": 40}, "n_mel_channels"),
        ({"hop_length": 200}, "hop_length"),
        ({"text_frontend": "phonemes"}, "symbols"),
    ],
)
def test_another_voice_is_not_gone_on_with(
    program: Program, data: Path, run: Path, change: dict[str, Any], named: str
) -> None:
    before = contents(run)
    program.train(data, **change).refused(named)
    assert contents(run) == before


def test_a_warm_start_takes_over_weights_but_not_progress(program: Program, data: Path, run: Path) -> None:
    target = program.trained(
        data, "--warm_start", newest(run), "--seed", 5, "--max_steps", 1, run="warm", postnet_embedding_dim=12
    )
    assert last_start(target)["kind"] == "warm_started"
    assert sorted(losses(target)) == [1]
    before, after = (load_checkpoint(newest(folder))["model"] for folder in (run, target))
    close = [name for name in after if after[name].shape == before[name].shape and name.startswith("decoder.attention")]
    assert close
    for name in close:
        torch.testing.assert_close(after[name], before[name], atol=1e-5, rtol=0)
    assert (after["embedding.weight"] - before["embedding.weight"]).abs().max() > 1e-3
    origin = load_file(target / "origin.safetensors")
    assert set(close) <= origin.keys() and "embedding.weight" not in origin
    assert not (run / "origin.safetensors").exists()


def test_a_run_that_begins_anew_forgets_the_weights_an_earlier_one_began_with(
    program: Program, data: Path, run: Path
) -> None:
    target = program.trained(data, "--warm_start", newest(run), "--max_steps", 1, run="warm")
    shutil.rmtree(target / "checkpoints")
    assert (target / "origin.safetensors").exists()
    program.trained(data, "--max_steps", 1, run="warm")
    assert last_start(target)["kind"] == "started"
    assert not (target / "origin.safetensors").exists()


@pytest.mark.parametrize("with_optimizer", [True, False])
def test_an_nvidia_checkpoint_is_gone_on_from(
    program: Program, data: Path, run: Path, tmp_path: Path, with_optimizer: bool
) -> None:
    ours = load_checkpoint(newest(run))
    optimizer = ours["optimizer"] if with_optimizer else {"state": {}, "param_groups": [{"params": [0, 1]}]}
    foreign = {"state_dict": ours["model"], "iteration": 5, "learning_rate": 1e-3, "optimizer": optimizer}
    torch.save(foreign, tmp_path / "checkpoint_5")
    target = program.trained(data, "--resume", tmp_path / "checkpoint_5", "--max_steps", 8, run="foreign", epochs=9)
    assert last_start(target)["kind"] == "resumed"
    assert sorted(losses(target)) == [6, 7, 8]


def test_own_sentences_are_spoken_at_every_evaluation(program: Program, data: Path, tmp_path: Path) -> None:
    sentences = tmp_path / "own.txt"
    sentences.write_text("One sentence.\n\nAnother one.\n", encoding="utf-8")
    run = program.shown(program.trained(data, "--eval_sentences", sentences))
    spoken = sorted(path.name for path in (run / "samples").glob("*own*.wav"))
    assert spoken == [f"step-00000004-own-{i:03d}.wav" for i in range(2)]
    assert not {"samples/" + name for name in spoken} - set(summary(run)["samples"])


def test_the_plan_is_told_before_training(program: Program, data: Path) -> None:
    outcome = program.train(data, "--max_steps", 1)
    words = [line.split()[0] for line in outcome.out.splitlines()]
    assert words[:5] == ["data", "model", "time", "memory", "disk"]
    assert "7 utterances to train on" in outcome.out


def test_quiet_says_only_how_it_ended(program: Program, data: Path) -> None:
    outcome = program.train(data, "--quiet")
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["finished", "listen:", "speak:"]


def test_numbers_next_to_zero_are_flushed_in_training(program: Program, data: Path) -> None:
    torch.set_flush_denormal(False)
    assert torch.tensor(1e-38) * 0.01 > 0
    program.trained(data, "--max_steps", 1)
    assert torch.tensor(1e-38) * 0.01 == 0
    torch.set_flush_denormal(False)


def test_the_plan_of_a_foreign_checkpoint_counts_from_its_step(
    program: Program, data: Path, run: Path, tmp_path: Path
) -> None:
    foreign = {"state_dict": load_checkpoint(newest(run))["model"], "iteration": 5, "learning_rate": 1e-3}
    torch.save(foreign, tmp_path / "checkpoint_5")
    given = ("--resume", tmp_path / "checkpoint_5")
    assert "for 3 steps" in program.train(data, *given, "--max_steps", 8, run="limited").flat
    outcome = program.train(data, *given, run="whole", epochs=2)
    assert "for 4 steps" in outcome.flat
    assert summary(program.output / "whole")["step"] == 9


def test_a_warm_start_says_what_begins_anew(program: Program, data: Path, run: Path) -> None:
    outcome = program.train(data, "--warm_start", newest(run), "--max_steps", 1, run="warm")
    assert "1 weights begin anew: embedding.weight" in outcome.flat


def test_a_blend_of_speakers_is_announced(program: Program, data: Path, tmp_path: Path) -> None:
    clips = sorted((data / "wavs").iterdir())
    rows = [f"{path}|good words|{'anna' if i % 2 else 'bert'}" for i, path in enumerate(clips)]
    (tmp_path / "list.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert "2 speakers: one voice" in program.train(tmp_path / "list.txt", "--max_steps", 1).flat
    assert "speakers: one voice" not in program.train(data, "--max_steps", 1, run="one").flat


def test_a_time_budget_ends_the_run_well(program: Program, data: Path) -> None:
    run = program.trained(data, "--max_minutes", "0.0001")
    assert summary(run)["reason"] == "max_minutes"
    assert (run / "voice.safetensors").is_file()


def test_the_seed_decides_the_run(program: Program, data: Path, run: Path) -> None:
    other = program.trained(data, "--seed", 5, run="other")
    same = program.trained(data, "--seed", 1234, run="same")
    assert losses(same) == losses(run)
    assert losses(other) != losses(run)


def test_only_knobs_can_be_pinned(program: Program, data: Path) -> None:
    assert pinned_knobs(" guide_sigma , grad_clip_thresh,") == ("guide_sigma", "grad_clip_thresh")
    program.train(data, "--pin", "guide_sigma,batch_size").refused(f"batch_size.*{KNOB_NAMES[0]}")


def test_pins_are_recorded(program: Program, data: Path) -> None:
    run = program.trained(data, "--pin", "guide_sigma", "--max_steps", 1)
    assert journal(run, "started")[0]["choices"]["pinned"] == ["guide_sigma"]


def test_help_needs_nothing_heavy() -> None:
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
def test_a_signal_saves_and_the_same_command_goes_on(
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


def test_a_second_process_is_kept_out(program: Program, data: Path) -> None:
    process = program.start(data, epochs=500)
    run = program.output / "run"
    try:
        wait_for(lambda: (run / "journal.jsonl").is_file(), process)
        program.train(data, epochs=500).refused("in use by another process")
    finally:
        process.kill()
        process.communicate()
