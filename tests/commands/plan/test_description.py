from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands.options import TrainOptions
from commands.plan.description import describe_plan
from commands.plan.training_plan import TrainingPlan
from commands.run.job import plan_job
from hparams import build_hparams
from recipes import RECIPES


@pytest.mark.parametrize(
    ("changes", "updates"),
    [
        ({"model": "tacotron2"}, "batches of 8 utterances, 3 frames a decoder step"),
        (
            {"model": "tacotron2", "batch_size": 4, **RECIPES["tacotron2"].dropout},
            "batches of 4 utterances, 3 frames a decoder step, light dropout",
        ),
        (
            {"model": "glow_tts", "speech_level": "even"},
            "batches of 8 utterances, all recordings at one level of speech",
        ),
    ],
)
def test_the_plan_says_what_follows_from_the_recordings(tmp_path: Path, changes: dict[str, Any], updates: str) -> None:
    job = plan_job(TrainOptions(output=tmp_path, model=changes["model"], quiet=True))
    job = replace(job, hparams=build_hparams(job.hparams.model_dump(), changes))
    lines = describe_plan(job, TrainingPlan(steps=100, schedule_steps=100, steps_per_epoch=50)).splitlines()

    assert lines[0].startswith(f"plan    {changes['model']}, preset demo: 100 steps (2.0 epochs of 50)")
    assert lines[1].strip() == updates
    assert f"expected by step {job.hparams.alignment_patience_steps:,}" in lines[-1]
