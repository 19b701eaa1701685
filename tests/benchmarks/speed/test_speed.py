"""Benchmarks of speed on a processor with bfloat16 and on one without: its rows are left out, which is said."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from benchmarks.speed import flow_speed, speed
from training.step.precision import NO_BFLOAT16

SMALL = speed.Size("demo", 2, 8, 5)


@pytest.fixture(params=[True, False])
def can(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr("training.step.precision.supports_bfloat16_matmul", lambda: request.param)
    return bool(request.param)


def test_of_tacotron2(monkeypatch: pytest.MonkeyPatch, can: bool) -> None:
    said: list[str] = []
    for name in ("FULL", "DEMO"):
        monkeypatch.setattr(speed, name, SMALL)
    monkeypatch.setattr(speed, "ROUNDS", {"demo": 1})
    monkeypatch.setattr(speed, "SPOKEN_STEPS", 4)
    monkeypatch.setattr(speed, "memory_of", lambda *_: 1.0)
    speed.main(argparse.Namespace(large=False, device="cpu"), said.append)
    assert (f"{NO_BFLOAT16}: its rows are left out\n" in said) == (not can)
    rows = [line for line in said if speed.HALF in line and NO_BFLOAT16 not in line]
    assert len(rows) == (8 if can else 0), said
    assert speed.OWN in said[-1]


def test_of_glow_tts(monkeypatch: pytest.MonkeyPatch, can: bool) -> None:
    said: list[str] = []

    def nothing(*_: object, **__: object) -> Callable[[], object]:
        return lambda: None

    monkeypatch.setattr(flow_speed, "training", nothing)
    monkeypatch.setattr(flow_speed, "speaking", lambda **_: (nothing(), 1.0))
    flow_speed.main(said.append)
    assert (f"{NO_BFLOAT16}: its row is left out\n" in said) == (not can)
    assert any(line.startswith("a training step, bfloat16") for line in said) == can
