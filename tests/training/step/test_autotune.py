"""Choice of number format and frame budget by measurement."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from corpus.batches import Batch
from hparams import HParams, UserError
from models import TrainableModel
from tests.support.tiny import tiny_data, tiny_hparams, tiny_model
from training.step import autotune
from training.step.autotune import (
    choose_frame_budget,
    choose_precision,
    largest_that_fits,
)
from training.step.probe import ProbeResult, ProbeTime

CPU = torch.device("cpu")


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "half_precision", lambda device: "bfloat16")


def fake_probes(monkeypatch: pytest.MonkeyPatch, bfloat16: dict[str, float], most: int = 100) -> list[int]:
    """Replace probes by results: a second each, in bfloat16 with these changes, out of memory above `most` utterances.

    Returns the batch sizes of the probes, filled as they are run.
    """
    sizes: list[int] = []

    def probe(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
        sizes.append(len(batch.ids))
        if len(batch.ids) > most:
            raise torch.OutOfMemoryError("too little")
        values: dict[str, Any] = {"seconds": 1.0, "loss": 2.0, "gradient_norm": 3.0}
        values |= bfloat16 if hparams.precision == "bfloat16" else {}
        return ProbeResult(activation_bytes=1, padded_frames=1, **values)

    monkeypatch.setattr(autotune, "run_probe", probe)
    return sizes


def chosen_precision() -> tuple[str, str]:
    hparams = tiny_hparams()
    return choose_precision(
        tiny_model(hparams), tiny_data(hparams).train, hparams, device=CPU, probe_time=unlimited_time()
    )


def unlimited_time() -> ProbeTime:
    return ProbeTime(n_steps=10**9, run_seconds=math.inf)


@pytest.mark.usefixtures("has_bfloat16")
@pytest.mark.parametrize(
    ("bfloat16", "expected"),
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
def test_bfloat16_is_chosen_if_it_is_faster_and_accurate(
    monkeypatch: pytest.MonkeyPatch, bfloat16: dict[str, float], expected: str
) -> None:
    fake_probes(monkeypatch, bfloat16)
    name, reason = chosen_precision()
    assert name == expected
    assert f"{1 / bfloat16['seconds']:.2f} times as fast" in reason
    assert reason.endswith("using it" if expected == "bfloat16" else "using float32")


@pytest.mark.usefixtures("has_bfloat16")
def test_fewer_utterances_are_measured_if_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = fake_probes(monkeypatch, {"seconds": 0.5}, most=1)
    assert chosen_precision()[0] == "bfloat16"
    assert sizes[:2] == [1, 1] and max(sizes) > 1 and set(sizes[-6:]) == {1}


@pytest.mark.usefixtures("has_bfloat16")
@pytest.mark.parametrize(
    ("run_seconds", "n_utterances"), [(math.inf, 3), (300.0, 3), (200.0, 2), (120.0, 1), (50.0, 0)]
)
def test_trying_formats_takes_a_tenth_of_the_run_at_most(
    monkeypatch: pytest.MonkeyPatch, run_seconds: float, n_utterances: int
) -> None:
    """A pass takes a second an utterance; each format is tried three times."""
    sizes: list[int] = []

    def probe(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
        sizes.append(len(batch.ids))
        return ProbeResult(float(sizes[-1]), 1, 1, 2.0, 3.0)

    monkeypatch.setattr(autotune, "run_probe", probe)
    hparams = tiny_hparams()
    probe_time = ProbeTime(n_steps=1000, run_seconds=run_seconds, now=lambda: float(sum(sizes)))
    name, reason = choose_precision(
        tiny_model(hparams), tiny_data(hparams).train, hparams, device=CPU, probe_time=probe_time
    )
    assert name == "float32"
    assert sizes == [1, 1] + 6 * [n_utterances] * (n_utterances > 0)
    assert probe_time.left >= 0
    assert ("trying bfloat16 would take more than" in reason) == (n_utterances == 0)


@pytest.mark.usefixtures("has_bfloat16")
def test_measuring_changes_neither_the_model_nor_the_random_state() -> None:
    hparams = tiny_hparams()
    model = tiny_model(hparams)
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    choose_precision(model, tiny_data(hparams).train, hparams, device=CPU, probe_time=unlimited_time())
    choose_frame_budget(model, tiny_data(hparams).train, hparams, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nothing_is_measured_on_a_processor_without_a_16_bit_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "half_precision", lambda device: None)
    sizes = fake_probes(monkeypatch, {})
    assert chosen_precision()[0] == "float32" and not sizes


@pytest.mark.parametrize("most", [1, 2, 3, 7, 16, 31])
@pytest.mark.parametrize("room", [0, 1, 2, 5, 15, 40])
def test_bisection_finds_the_largest_number_that_fits(most: int, room: int) -> None:
    checked: list[int] = []

    def fits(n: int) -> bool:
        checked.append(n)
        return n <= room

    assert largest_that_fits(most, fits) == min(most, room)
    assert len(checked) <= 6 and max(checked) <= most


def test_frame_budget_is_measured_with_the_longest_utterances(monkeypatch: pytest.MonkeyPatch) -> None:
    hparams = tiny_hparams(max_frames_per_batch=100)
    loader, model = tiny_data(hparams).train, tiny_model(hparams)
    budget, reason = choose_frame_budget(model, loader, hparams, CPU)
    assert (budget, "a whole batch_size does" in reason) == (
        100,
        True,
    )  # three of 14 frames are below the least

    def probe_of_one_gigabyte_each(model: TrainableModel, batch: Batch, hparams: HParams) -> ProbeResult:
        return ProbeResult(1.0, len(batch.ids) * 10**9, 1, 1.0, 1.0)

    monkeypatch.setattr(autotune, "run_probe", probe_of_one_gigabyte_each)
    memory = type("Memory", (), {"available": 6.5e9})
    monkeypatch.setattr("training.step.autotune.psutil.virtual_memory", lambda: memory)
    assert choose_frame_budget(model, loader, hparams, CPU)[1].startswith("2 of the longest")
    memory.available = 1e9  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"not even the longest utterance \(0.2 s\) fits"):
        choose_frame_budget(model, loader, hparams, CPU)
