from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from unittest.mock import patch

import pytest
import torch

from corpus.batches import Batch
from models import attention_on_cpu, attention_on_gpu, free_running
from models.tacotron2 import Tacotron2
from tests.models.test_tacotron2 import batch_of, lively_model

each_way = pytest.mark.parametrize("machine", [attention_on_cpu, attention_on_gpu], ids=["numba", "torch"])


def taught_by(model: Tacotron2, batch: Batch, n_steps: int) -> tuple[torch.Tensor, ...]:
    """What a teacher-forced pass says that hears what the model itself has said, beside what it did say."""
    spoken = model.synthesize(batch.text, batch.text_lengths, n_steps)
    said = spoken.mels_before_postnet
    forced = model(replace(batch, mels=said, mel_lengths=torch.full_like(batch.mel_lengths, said.size(2))))
    return said, spoken.alignments, spoken.gates, forced.mels, forced.alignments, forced.gates


@each_way
@pytest.mark.parametrize("n_steps", [1, 5, 8, 19])
def test_free_running_takes_the_steps_of_teacher_forcing(machine: ModuleType, n_steps: int) -> None:
    model = lively_model(max_decoder_steps=30, gate_threshold=1.0)
    with patch.object(free_running, "attention_on_cpu", machine), torch.no_grad():
        said, alignments, gates, forced_mels, forced_alignments, forced_gates = taught_by(
            model, batch_of([7, 11]), n_steps
        )
    assert said.size(2) == 2 * n_steps
    torch.testing.assert_close(said, forced_mels)
    torch.testing.assert_close(alignments, forced_alignments)
    torch.testing.assert_close(gates, forced_gates)


def test_each_item_ends_with_the_step_whose_gate_first_opens() -> None:
    model = lively_model(max_decoder_steps=40)
    batch = batch_of([7, 4, 11])
    shut = model.synthesize(batch.text, batch.text_lengths)
    probabilities = torch.sigmoid(shut.gates)
    model.open_gate_at(float(probabilities[:, 3:].max()) - 1e-9)
    decoded = model.synthesize(batch.text, batch.text_lengths)
    opened = torch.sigmoid(decoded.gates) > model.decoder.gate_threshold
    assert decoded.stopped.any()
    for item, (n, stopped) in enumerate(zip(decoded.steps.tolist(), decoded.stopped.tolist(), strict=True)):
        assert stopped == bool(opened[item, :n].any())
        assert not stopped or opened[item, :n].nonzero()[0].item() == n - 1
        assert stopped or n == 40
