"""Start of a training: resumed, warm-started or from another program's checkpoint; and the steps planned from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from commands.run.start_point import StartPoint, StepPlan, plan_steps
from hparams import HParams
from models.checkpoint_file import load_checkpoint
from tests.support.program import TINY, Program, contents, journal, losses, newest, summary
from training.run_state import RunLimits

N_BATCHES, EPOCHS = 10, 5


def last_start(run: Path) -> dict[str, object]:
    return [record for record in journal(run) if "changed" in record][-1]


def test_a_finished_run_is_not_changed(program: Program, data: Path, run: Path) -> None:
    before = contents(run)
    outcome = program.train(data)
    assert outcome.code == 0
    assert "is finished" in outcome.out
    assert contents(run) == before


def test_a_run_killed_before_its_final_records_is_completed(program: Program, data: Path, run: Path) -> None:
    state = summary(run) | {"status": "running"}
    (run / "summary.json").write_text(json.dumps(state), encoding="utf-8")
    (run / "voice.safetensors").unlink()
    before = losses(run)
    program.trained(data)
    assert summary(run)["status"] == "finished"
    assert (run / "voice.safetensors").is_file()
    assert losses(run) == before


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(program: Program, data: Path, run: Path) -> None:
    broken = program.trained(data, "--max_steps", 3, run="broken")
    assert summary(broken)["reason"] == "max_steps"
    assert max(losses(broken)) == 3
    program.trained(data, run="broken")
    assert losses(broken) == losses(run)
    assert [record["step"] for record in journal(broken, "resumed")] == [3]


def test_resume_none_makes_a_new_folder(program: Program, data: Path) -> None:
    arguments = ["--data", data, "--hparams", ",".join(f"{n}={v}" for n, v in TINY.items()), "--max_steps", 1]
    assert program(*arguments).code == 0
    assert program(*arguments, "--resume", "none").code == 0
    first, second = sorted(path for path in program.output.iterdir() if not path.name.startswith("."))
    assert second.name == f"{first.name}-2"
    assert losses(first) == losses(second)
    program(*arguments, "--resume", "none", "--run_name", first.name).refused("exists already")


@pytest.mark.parametrize("what", ["folder", "checkpoint"])
def test_a_given_run_or_checkpoint_is_resumed(program: Program, data: Path, run: Path, what: str) -> None:
    place = run if what == "folder" else newest(run)
    target = program.trained(data, "--resume", place, run="other", epochs=3)
    assert last_start(target)["kind"] == "resumed"
    assert last_start(target)["step"] == 4
    assert sorted(losses(target)) == [5, 6]


def test_a_changed_setting_is_recorded_and_used(program: Program, data: Path, run: Path) -> None:
    changes: dict[str, Any] = {"epochs": 3, "grad_clip_thresh": 7.5, "weight_decay": 0.25}
    program.trained(data, "--learning_rate", "0.02", **changes)
    changed = last_start(run)["changed"]
    assert changed == {
        "epochs": [2, 3],
        "learning_rate": [1e-3, 0.02],
        "grad_clip_thresh": [1.0, 7.5],
        "weight_decay": [1e-6, 0.25],
    }
    rates = journal(run, "steps")[-1]["signals"]["learning_rate"]
    assert rates[-1] == pytest.approx(0.02 * 6 / 500)
    state = load_checkpoint(newest(run))
    assert state["optimizer"]["param_groups"][0]["weight_decay"] == 0.25
    assert state["knobs"]["grad_clip_thresh"] == 7.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder_rnn_dim": 24}, "decoder_rnn_dim is 16 in the checkpoint, 24 here"),
        ({"n_mel_channels": 40}, "n_mel_channels"),
        ({"hop_length": 200}, "hop_length"),
        ({"text_frontend": "phonemes"}, "symbols"),
    ],
)
def test_a_recipe_of_another_voice_is_refused(
    program: Program, data: Path, run: Path, change: dict[str, Any], message: str
) -> None:
    before = contents(run)
    program.train(data, **change).refused(message)
    assert contents(run) == before


def test_a_warm_start_loads_weights_but_not_progress(program: Program, data: Path, run: Path) -> None:
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
    origin = load_file(target / "origin.safetensors")
    assert {*close, "embedding.weight"} <= origin.keys() and "postnet.convolutions.0.conv.weight" not in origin
    assert not (run / "origin.safetensors").exists()


def test_a_run_started_again_deletes_the_initial_weights_of_the_earlier_one(
    program: Program, data: Path, run: Path
) -> None:
    target = program.trained(data, "--warm_start", newest(run), "--max_steps", 1, run="warm")
    shutil.rmtree(target / "checkpoints")
    assert (target / "origin.safetensors").exists()
    program.trained(data, "--max_steps", 1, run="warm")
    assert last_start(target)["kind"] == "started"
    assert not (target / "origin.safetensors").exists()


@pytest.mark.parametrize("with_optimizer", [True, False])
def test_an_nvidia_checkpoint_is_resumed(
    program: Program, data: Path, run: Path, tmp_path: Path, with_optimizer: bool
) -> None:
    ours = load_checkpoint(newest(run))
    optimizer = ours["optimizer"] if with_optimizer else {"state": {}, "param_groups": [{"params": [0, 1]}]}
    foreign = {"state_dict": ours["model"], "iteration": 5, "learning_rate": 1e-3, "optimizer": optimizer}
    torch.save(foreign, tmp_path / "checkpoint_5")
    target = program.trained(data, "--resume", tmp_path / "checkpoint_5", "--max_steps", 8, run="foreign", epochs=9)
    assert last_start(target)["kind"] == "resumed"
    assert sorted(losses(target)) == [6, 7, 8]


def test_the_estimate_for_a_foreign_checkpoint_counts_from_its_step(
    program: Program, data: Path, run: Path, tmp_path: Path
) -> None:
    foreign = {"state_dict": load_checkpoint(newest(run))["model"], "iteration": 5, "learning_rate": 1e-3}
    torch.save(foreign, tmp_path / "checkpoint_5")
    given = ("--resume", tmp_path / "checkpoint_5")
    assert "for 3 steps" in program.train(data, *given, "--max_steps", 8, run="limited").flat
    outcome = program.train(data, *given, run="whole", epochs=2)
    assert "for 4 steps" in outcome.flat
    assert summary(program.output / "whole")["step"] == 9


def test_a_warm_start_prints_which_weights_start_at_random(program: Program, data: Path, run: Path) -> None:
    for given in (run, run / "voice.safetensors", newest(run)):
        outcome = program.train(data, "--warm_start", given, "--max_steps", 1, run=f"same-{given.name}")
        assert "start at random" not in outcome.flat
    options = ("--warm_start", newest(run), "--max_steps", 1)
    outcome = program.train(data, *options, run="other", text_frontend="phonemes")  # other symbols
    assert "1 weights start at random: embedding.weight" in outcome.flat
    outcome = program.train(data, *options, run="asked", ignore_layers="decoder.gate_layer.linear_layer.weight")
    assert "1 weights start at random: decoder.gate_layer.linear_layer.weight" in outcome.flat


def resumed(step: int, *, epoch: int, batch: int) -> StartPoint:
    return StartPoint("resumed", state={"format": 1, "progress": {"step": step, "epoch": epoch, "batch": batch}})


FOREIGN = StartPoint("resumed", state={"iteration": 1000, "state_dict": {}})


@pytest.mark.parametrize(
    ("start", "most", "plan"),
    [
        (StartPoint("started"), None, StepPlan(50, 50)),
        (StartPoint("started"), 30, StepPlan(30, 30)),
        (StartPoint("warm_started", state={"format": 1}), None, StepPlan(50, 50)),
        (StartPoint("warm_started", state=FOREIGN.state), 30, StepPlan(30, 30)),
        (resumed(23, epoch=2, batch=3), None, StepPlan(50, 50)),
        (resumed(23, epoch=2, batch=3), 40, StepPlan(40, 40)),
        (resumed(65, epoch=2, batch=3), None, StepPlan(92, 50)),  # begun anew at step 42
        (FOREIGN, None, StepPlan(1050, 50)),
        (FOREIGN, 1020, StepPlan(1020, 20)),
    ],
)
def test_the_plan_covers_the_steps_that_the_epochs_leave(start: StartPoint, most: int | None, plan: StepPlan) -> None:
    hparams = HParams(epochs=EPOCHS)
    assert plan_steps(start, hparams, RunLimits(max_steps=most), n_batches=N_BATCHES) == plan
