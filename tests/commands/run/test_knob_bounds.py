"""Bounds of knobs, on which supervisor, person and trainer must agree."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands.process.heartbeat import Heartbeat
from commands.run.attach_supervisor import run_facts
from commands.run.person_requests import RequestHandler
from monitoring.journal.control_file import RequestFile
from reports import TrainerOrder
from smart_tuner.settings import SupervisionSettings
from tests.support.tiny import tiny_hparams, tiny_trainer

START_OUTSIDE_BOUNDS = {"gate_threshold": 0.99, "guide_sigma": 0.01, "grad_clip_thresh": 5000.0}


@pytest.mark.parametrize("changes", [{}, START_OUTSIDE_BOUNDS])
def test_supervisor_person_and_trainer_have_the_same_bounds(tmp_path: Path, changes: dict[str, float]) -> None:
    hparams = tiny_hparams(**changes)
    trainer, _ = tiny_trainer(tmp_path, hparams)
    results: list[str] = []
    recorder: Any = SimpleNamespace(
        folder=tmp_path,
        on_turn=lambda *_, **__: None,
        on_request=lambda _step, fields: results.append(fields["result"]),
    )
    (tmp_path / "companion").mkdir()
    handler = RequestHandler(
        trainer, recorder, supervisor=None, settings=SupervisionSettings(), heartbeat=Heartbeat(None), position=None
    )
    for name, knob in run_facts(trainer, hparams, pinned=(), planned_steps=30).knobs.items():
        positions = {knob.low: True, knob.high: True, 1.01 * knob.high: False, 0.99 * knob.low - 1e-6: False}
        for position, is_allowed in positions.items():
            RequestFile(tmp_path).append("set", "user 7", knob=name, value=position)
            handler.execute_new()
            assert results.pop() == ("done" if is_allowed else "refused")
            with nullcontext() if is_allowed else pytest.raises(ValueError, match=f"{name}: expected"):
                trainer.control.execute(TrainerOrder("turn", {name: position}))
