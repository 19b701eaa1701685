"""Estimate before training when the batch that is measured does not fit into memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from commands.run.estimate import SMALL_BATCH_UTTERANCES
from corpus.batches import Batch
from hparams import HParams
from models import TrainableModel
from tests.commands.program import Program
from training.step.probe import ProbeResult, run_probe

NO_MEMORY = {
    "cpu": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9000000000 bytes."),
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB"),
}


def fail_in_a_whole_batch(monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> list[int]:
    """Let probes with more than the small batch raise; return the list to which each adds its number of utterances."""
    sizes: list[int] = []

    def probe(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
        sizes.append(len(batch.ids))
        if sizes[-1] > SMALL_BATCH_UTTERANCES:
            raise error
        return run_probe(model, batch, hparams)

    monkeypatch.setattr("commands.run.estimate.run_probe", probe)
    return sizes


@pytest.mark.parametrize("device", NO_MEMORY)
def test_where_a_whole_batch_does_not_fit_the_small_one_is_the_measure(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    sizes = fail_in_a_whole_batch(monkeypatch, NO_MEMORY[device])
    outcome = program.train(data, "--max_steps", 1, batch_size=8)
    assert outcome.code == 0 and "time about" in outcome.flat
    assert sizes == [SMALL_BATCH_UTTERANCES, SMALL_BATCH_UTTERANCES, 7]


def test_another_error_of_the_measurement_is_raised(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_a_whole_batch(monkeypatch, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        program.train(data, "--max_steps", 1, batch_size=8)
