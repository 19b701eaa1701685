from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.batches import Batch
from hparams import HParams, UserError
from models import TrainableModel
from tests.tiny import tiny_data, tiny_hparams, tiny_model
from training.checkpoints.run_files import CHOICES_FILE, read_choices, write_choices
from training.step import autotune
from training.step.autotune import (
    choose_frame_budget,
    choose_precision,
    largest_that_fits,
)
from training.step.probe import ProbeResult, run_probe

CPU = torch.device("cpu")


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "half_precision", lambda device: "bfloat16")


def pretend(monkeypatch: pytest.MonkeyPatch, half: dict[str, float], most: int = 100) -> list[int]:
    """Passes that take a second, in bfloat16 as given, and have memory for so many; returns how many were tried."""
    tried: list[int] = []

    def passes(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
        tried.append(len(batch.ids))
        if len(batch.ids) > most:
            raise torch.OutOfMemoryError("too little")
        found: dict[str, Any] = {"seconds": 1.0, "loss": 2.0, "gradient_norm": 3.0}
        return ProbeResult(
            activation_bytes=1, padded_frames=1, **(found | (half if hparams.precision == "bfloat16" else {}))
        )

    monkeypatch.setattr(autotune, "run_probe", passes)
    return tried


def chosen() -> tuple[str, str]:
    hparams = tiny_hparams()
    return choose_precision(tiny_model(hparams), tiny_data(hparams).train, hparams, CPU)


@pytest.mark.usefixtures("has_bfloat16")
@pytest.mark.parametrize(
    ("half", "wanted"),
    [
        ({"seconds": 0.5}, "bfloat16"),
        ({"seconds": 0.9}, "float32"),
        ({"seconds": 0.5, "loss": 2.001}, "bfloat16"),
        ({"seconds": 0.5, "loss": 2.2}, "float32"),
        ({"seconds": 0.5, "loss": float("nan")}, "float32"),
        ({"seconds": 0.5, "gradient_norm": 4.0}, "float32"),
        ({"seconds": 0.5, "gradient_norm": float("inf")}, "float32"),
    ],
)
def test_the_shorter_format_is_used_where_it_is_quicker_and_agrees(
    monkeypatch: pytest.MonkeyPatch, half: dict[str, float], wanted: str
) -> None:
    pretend(monkeypatch, half)
    name, reason = chosen()
    assert name == wanted
    assert f"{1 / half['seconds']:.2f} times as fast" in reason and reason.endswith(
        f"using {'it' * (wanted != 'float32') or wanted}"
    )


@pytest.mark.usefixtures("has_bfloat16")
def test_fewer_utterances_are_tried_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = pretend(monkeypatch, {"seconds": 0.5}, most=1)
    assert chosen()[0] == "bfloat16"
    assert tried[0] > 1 and set(tried[-6:]) == {1}


@pytest.mark.usefixtures("has_bfloat16")
def test_measuring_changes_neither_the_model_nor_the_random_numbers() -> None:
    hparams = tiny_hparams()
    model = tiny_model(hparams)
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    choose_precision(model, tiny_data(hparams).train, hparams, CPU)
    choose_frame_budget(model, tiny_data(hparams).train, hparams, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_processor_without_a_shorter_format_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "half_precision", lambda device: None)
    tried = pretend(monkeypatch, {})
    assert chosen()[0] == "float32" and not tried


def test_a_trial_finds_the_loss_and_the_gradient_of_a_pass() -> None:
    hparams = tiny_hparams(p_prenet_dropout=0.0, p_encoder_dropout=0.0, p_postnet_dropout=0.0)
    model, batch = tiny_model(hparams).train(), tiny_data(hparams).train.load([0, 1])
    torch.manual_seed(1)
    trial = run_probe(model, batch, hparams)
    torch.manual_seed(1)
    again = run_probe(model, batch, hparams)
    assert trial.loss == again.loss > 0 and trial.gradient_norm == again.gradient_norm > 0
    assert trial.padded_frames == 2 * 12 and trial.activation_bytes > 2 * 12 * 6 * 4 and trial.seconds > 0


@pytest.mark.parametrize("most", [1, 2, 3, 7, 16, 31])
@pytest.mark.parametrize("room", [0, 1, 2, 5, 15, 40])
def test_the_largest_number_that_fits_is_found(most: int, room: int) -> None:
    asked: list[int] = []

    def fits(n: int) -> bool:
        asked.append(n)
        return n <= room

    assert largest_that_fits(most, fits) == min(most, room)
    assert len(asked) <= 6 and max(asked) <= most


def test_a_frame_budget_is_made_of_the_longest_utterances(monkeypatch: pytest.MonkeyPatch) -> None:
    hparams = tiny_hparams(max_frames_per_batch=100)
    loader, model = tiny_data(hparams).train, tiny_model(hparams)
    budget, reason = choose_frame_budget(model, loader, hparams, CPU)
    assert (budget, "a whole batch_size does" in reason) == (100, True)  # three of 14 frames, and the least there is

    def of_a_gigabyte(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
        return ProbeResult(1.0, len(batch.ids) * 10**9, 1, 1.0, 1.0)

    monkeypatch.setattr(autotune, "run_probe", of_a_gigabyte)
    memory = type("Memory", (), {"available": 6.5e9})
    monkeypatch.setattr("training.step.autotune.psutil.virtual_memory", lambda: memory)
    assert choose_frame_budget(model, loader, hparams, CPU)[1].startswith("2 of the longest")
    memory.available = 1e9  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"not even the longest utterance \(0.2 s\) fits"):
        choose_frame_budget(model, loader, hparams, CPU)


def test_choices_are_kept_with_the_run(tmp_path: Path) -> None:
    assert read_choices(tmp_path) == {}
    write_choices(tmp_path, {"precision": "bfloat16", "max_frames_per_batch": 1000})
    assert read_choices(tmp_path) == {"precision": "bfloat16", "max_frames_per_batch": 1000}


@pytest.mark.parametrize("content", ["{", "[1]", '{"precision": "float8"}', '{"unknown": 1}'])
def test_spoilt_choices_are_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / CHOICES_FILE).write_text(content)
    with pytest.raises(UserError, match=rf"{CHOICES_FILE}: (expected settings of hparams.py|is not valid JSON)"):
        read_choices(tmp_path)
