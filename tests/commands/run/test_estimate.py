"""Estimate before training: batches that grow as far as memory allows."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from commands.run.estimate import GROWTH
from corpus.batches import Batch
from hparams import HParams
from models import TrainableModel
from tests.commands.program import Program
from training.step.probe import ProbeResult, ProbeTime, run_probe

NO_MEMORY = {
    "cpu": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9000000000 bytes."),
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB"),
}


def fail_in_larger_batches(monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> list[int]:
    """Let probes of more than GROWTH utterances raise; return the list that receives the size of each."""
    sizes: list[int] = []

    def probe(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
        sizes.append(len(batch.ids))
        if sizes[-1] > GROWTH:
            raise error
        return replace(run_probe(model, batch, hparams), seconds=0.0)

    monkeypatch.setattr("commands.run.estimate.run_probe", probe)
    monkeypatch.setattr("commands.run.session.ProbeTime", lambda *_: ProbeTime(10**9, math.inf, now=lambda: 0.0))
    monkeypatch.setattr(ProbeTime, "limit_to_run", lambda *_: None)
    return sizes


@pytest.mark.parametrize("device", NO_MEMORY)
def test_where_a_whole_batch_does_not_fit_a_smaller_one_is_the_measure(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    sizes = fail_in_larger_batches(monkeypatch, NO_MEMORY[device])
    outcome = program.train(data, "--max_steps", 1, batch_size=8)
    assert outcome.code == 0 and "time about" in outcome.flat
    assert sizes == [1, 1, GROWTH, GROWTH, 7]


def test_another_error_of_the_measurement_is_raised(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_larger_batches(monkeypatch, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        program.train(data, "--max_steps", 1, batch_size=8)
