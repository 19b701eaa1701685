"""Speed benchmarks with bfloat16 instructions and without: then its rows are left out, with a message."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.speed import flow_speed, speed
from training.step.precision import NO_BFLOAT16

SMALL = speed.Workload("demo", 2, 8, 5)


@pytest.fixture(params=[True, False])
def has_bfloat16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr("training.step.precision.supports_bfloat16_matmul", lambda: request.param)
    return bool(request.param)


def test_rows_of_tacotron2(monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool) -> None:
    lines: list[str] = []
    for name in ("FULL", "DEMO"):
        monkeypatch.setattr(speed, name, SMALL)
    monkeypatch.setattr(speed, "ROUNDS", {"demo": 1})
    monkeypatch.setattr(speed, "SPEECH_STEPS", 4)
    monkeypatch.setattr(speed, "step_megabytes", lambda *_: 1.0)
    speed.main(argparse.Namespace(large=False, device="cpu"), lines.append)
    assert (f"{NO_BFLOAT16}: its rows are left out\n" in lines) == (not has_bfloat16)
    rows = [line for line in lines if speed.OWN_BFLOAT16 in line and NO_BFLOAT16 not in line]
    assert len(rows) == (8 if has_bfloat16 else 0), lines
    assert speed.OWN in lines[-1]


def test_rows_of_glow_tts(monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool) -> None:
    lines: list[str] = []

    def do_nothing() -> None:
        pass

    monkeypatch.setattr(flow_speed, "training_step", lambda *_, **__: do_nothing)
    monkeypatch.setattr(flow_speed, "synthesis", lambda **_: (do_nothing, 1.0))
    flow_speed.main(lines.append)
    assert (f"{NO_BFLOAT16}: its row is left out\n" in lines) == (not has_bfloat16)
    assert any(line.startswith("a training step, bfloat16") for line in lines) == has_bfloat16
