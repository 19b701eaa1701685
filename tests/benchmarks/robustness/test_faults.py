"""Faults of the benchmark `rescue`: each one reaches the part of a training that it is to disturb."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import soundfile
import torch

import train_enhanced
from benchmarks.robustness.faults.fault import EVENT_STEP, Fault
from benchmarks.robustness.faults.lists import FAULT_GROUPS, faults_of
from benchmarks.robustness.faults.new import NEW_FAULTS, ascend_gradient, repeat_batch
from benchmarks.robustness.faulty_run import child_command, faulty_trainer, train
from commands.run import session
from hparams import ModelName
from smart_tuner.treatment import selection
from smart_tuner.treatment.remedy_order import REMEDIES_BY_AILMENT
from tests.support.tiny import GLOW, tiny_hparams, tiny_trainer
from training.checkpoints.checkpoint import DiskFull
from training.trainer import EnhancedTrainer

PROCESS_FAULTS = ("process_killed", "loader_stalled", "disk_full")
DATA_FAULTS = ("same_batch",)
INJECTED = [
    (model, name)
    for model in FAULT_GROUPS
    for name, fault in faults_of(model).items()
    if fault.inject is not None and name not in (*PROCESS_FAULTS, *DATA_FAULTS)
]


def make_trainer(folder: Path, fault: Fault, model: ModelName = "tacotron2", **changes: Any) -> EnhancedTrainer:
    """A tiny trainer with the fault, a step before the events in mid-run."""
    hparams = tiny_hparams(**(GLOW if model == "glow_tts" else {}), **changes)
    healthy, _ = tiny_trainer(folder, hparams)
    trainer = faulty_trainer(fault)(healthy.state)
    trainer.state.progress.step = max(EVENT_STEP, fault.from_step) - 1
    return trainer


def weights_after_three_steps(trainer: EnhancedTrainer) -> torch.Tensor:
    batch = next(trainer.state.data.train.epoch(0))
    torch.manual_seed(0)
    for _ in range(3):
        trainer.train_step(batch)
    return torch.cat([weight.detach().flatten() for weight in trainer.state.model.parameters()])


@pytest.fixture
def restored_patches() -> Iterator[None]:
    yield
    patch.stopall()


@pytest.mark.parametrize(("model", "name"), INJECTED)
def test_an_injected_fault_changes_the_next_updates(model: ModelName, name: str, tmp_path: Path) -> None:
    for folder in ("healthy", "faulty"):
        (tmp_path / folder).mkdir()
    healthy = weights_after_three_steps(make_trainer(tmp_path / "healthy", Fault(), model))
    faulty = weights_after_three_steps(make_trainer(tmp_path / "faulty", faults_of(model)[name], model))
    assert not torch.equal(faulty, healthy)


def test_a_fault_is_injected_once_in_a_run_also_after_a_restart(tmp_path: Path) -> None:
    fault = faults_of("tacotron2")["learning_rate_x20_midrun"]
    for multiplier in (20.0, 1.0):
        trainer = make_trainer(tmp_path, fault)
        weights_after_three_steps(trainer)
        assert trainer.state.knobs.learning_rate_multiplier == multiplier


@pytest.mark.parametrize(("name", "n_damaged", "is_damaged"), [
    ("huge_clip", 1, lambda mel: mel.max() == 1e4),
    ("nan_clips", 1, lambda mel: math.isnan(mel.sum())),
])  # fmt: skip
def test_damaged_mels_come_from_the_loader(name: str, n_damaged: int, is_damaged: Any, tmp_path: Path) -> None:
    loader = make_trainer(tmp_path, faults_of("tacotron2")[name]).state.data.train
    mels = [mel for batch in loader.epoch(0) for mel in batch.mels]
    assert sum(bool(is_damaged(mel)) for mel in mels) == n_damaged
    assert len(mels) == len(loader.examples)


def test_out_of_memory_fails_for_large_batches_alone(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, faults_of("tacotron2")["out_of_memory"], batch_size=6)
    large, small = trainer.state.data.train.epoch(0)
    if len(large.ids) < len(small.ids):
        large, small = small, large
    assert trainer.train_step(large).out_of_memory_steps == 1
    assert trainer.train_step(small).out_of_memory_steps == 1


@pytest.mark.usefixtures("restored_patches")
def test_a_full_disk_lets_no_checkpoint_be_written(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, faults_of("tacotron2")["disk_full"])
    trainer.state.save()
    weights_after_three_steps(trainer)
    with pytest.raises(DiskFull):
        trainer.state.save()


@pytest.mark.parametrize(
    ("name", "module", "function", "arguments"),
    [
        ("process_killed", os, "kill", (os.getpid(), signal.SIGKILL)),
        ("loader_stalled", time, "sleep", (3600,)),
    ],
)
def test_a_process_fault_ends_or_stops_the_process(
    name: str, module: Any, function: str, arguments: tuple[Any, ...], tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path, faults_of("tacotron2")[name])
    with patch.object(module, function) as called:
        weights_after_three_steps(trainer)
    called.assert_called_once_with(*arguments)


def replaced_names() -> tuple[Any, Any]:
    return vars(session)["EnhancedTrainer"], vars(selection)["REMEDIES_BY_AILMENT"]


@pytest.mark.parametrize("policy", ["nothing", "random"])
def test_the_program_runs_with_a_faulty_trainer_and_random_remedies(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, Any]] = []

    def main(_options: list[str]) -> int:
        seen.append(replaced_names())
        return 0

    monkeypatch.setattr(train_enhanced, "main", main)
    assert train("tacotron2", "nan_clips", policy, ["--seed=3"]) == 0
    [(trainer, remedies)] = seen
    assert trainer is not EnhancedTrainer and issubclass(trainer, EnhancedTrainer)
    assert (remedies is REMEDIES_BY_AILMENT) == (policy == "nothing")
    assert replaced_names() == (EnhancedTrainer, REMEDIES_BY_AILMENT)


def test_a_restarted_process_has_the_same_fault() -> None:
    command = child_command("glow_tts", "nan_clips", "random", ["--seed=3"])
    assert command[2:] == [
        "benchmarks.robustness.faulty_run",
        "child",
        "glow_tts",
        "nan_clips",
        "random",
        "--seed=3",
        "--watchdog=off",
    ]


@pytest.mark.parametrize("name", ["reversed_clips", "spliced_clips", "half_recordings"])
def test_a_new_fault_damages_its_share_of_the_recordings(name: str, tmp_path: Path) -> None:
    rows = []
    for i in range(20):
        soundfile.write(tmp_path / f"{i}.wav", np.linspace(0, (i + 1) / 40, 400), 8000)
        rows.append((tmp_path / f"{i}.wav", str(i)))
    before = [soundfile.read(path)[0] for path, _ in rows]
    damage = NEW_FAULTS[name].damage
    assert damage is not None
    after = [soundfile.read(path)[0] for path, _ in damage(rows, np.random.default_rng(0))]
    changed = [not np.array_equal(old, new) for old, new in zip(before, after, strict=True)]
    assert sum(changed) == {"reversed_clips": 5, "spliced_clips": 6, "half_recordings": 8}[name]


def test_gradients_are_reversed_fifteen_times(tmp_path: Path) -> None:
    (weight := torch.nn.Parameter(torch.zeros(1))).grad = torch.ones(1)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    ascend_gradient(SimpleNamespace(state=SimpleNamespace(optimizer=optimizer)), None)  # type: ignore[arg-type]
    positions = []
    for _ in range(17):
        weight.grad = torch.ones(1)
        optimizer.step()
        positions.append(weight.item())
    assert positions[14] == 15 and positions[16] == 13


def test_a_loader_that_does_not_move_on_repeats_a_batch_eighty_times(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, Fault())
    trained: list[Any] = []
    trainer.train_step = lambda *batches, started=None: trained.extend(batches)  # type: ignore[method-assign, assignment]
    repeat_batch(trainer, "first")  # type: ignore[arg-type]
    for number in range(82):
        trainer.train_step(number)  # type: ignore[arg-type]
    assert trained == ["first"] * 80 + [80, 81]
