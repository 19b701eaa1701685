from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from commands.console import open_console
from commands.options import TrainOptions
from commands.plan import preset_choice
from commands.plan.preset_choice import with_preset, with_preset_of_device
from hparams import HParams, build_hparams
from recipes import RECIPES
from tests.support.program import Program, journal, tiny
from training.step.probe import ProbeTime


@pytest.fixture
def seconds_per_step(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Times of a step by preset, in place of measured ones; the batch size tells the presets apart."""
    times: dict[str, float] = {}

    def measure(hparams: HParams, device: torch.device, probe_time: ProbeTime) -> float:
        return times["small" if hparams.batch_size == 16 else "full"]

    monkeypatch.setattr(preset_choice, "_measure_step", measure)
    return times


def choose(data: Path, output: Path, **options: Any) -> str | None:
    given: dict[str, Any] = {"data": str(data), "output": output} | options
    return with_preset(TrainOptions(**given), open_console(quiet=True)).preset


@pytest.mark.parametrize(
    ("times", "options", "preset"),
    [
        ({"small": 0.8}, {"max_minutes": 40}, "demo"),
        ({"small": 0.7, "full": 0.4}, {"max_minutes": 40}, "small"),
        ({"small": 0.7, "full": 0.35}, {"max_minutes": 40}, "full"),
        ({"small": 180.0}, {}, "demo"),  # 500 epochs of a step each take 25 hours
        ({"small": 170.0, "full": 180.0}, {}, "small"),
        ({"small": 170.0, "full": 170.0}, {}, "full"),
        ({"small": 600.0, "full": 600.0}, {"max_steps": 100}, "full"),
    ],
)
def test_the_largest_preset_that_the_time_is_enough_for(
    data: Path,
    tmp_path: Path,
    seconds_per_step: dict[str, float],
    times: Mapping[str, float],
    options: dict[str, Any],
    preset: str,
) -> None:
    assert RECIPES["tacotron2"].least_steps == {"full": 6_000, "small": 3_000, "demo": 1_200, "tiny": 360}
    seconds_per_step |= times
    assert choose(data, tmp_path, **options) == preset


def test_a_preset_that_is_named_and_the_demo_are_not_measured(
    data: Path, tmp_path: Path, seconds_per_step: dict[str, float]
) -> None:
    file = tmp_path / "best.yaml"
    file.write_text("preset: small\n", encoding="utf-8")
    assert choose(data, tmp_path, preset="tiny") == "tiny"
    assert choose(data, tmp_path, hparams_file=file) is None
    assert with_preset(TrainOptions(output=tmp_path), open_console(quiet=True)).preset is None


def test_several_processes_choose_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds_per_step: dict[str, float]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert choose(data, tmp_path) == "full"


def test_a_run_keeps_its_preset(program: Program, data: Path, seconds_per_step: dict[str, float]) -> None:
    settings = tiny()[2:]
    assert settings[0] == "--hparams"
    common = ("--data", data, "--run_name", "run", *settings)
    assert program(*common, "--preset", "demo", "--max_steps", 2).code == 0
    assert program(*common, "--max_steps", 4).code == 0
    records = journal(program.output / "run")
    assert [r["step"] for r in records if r["kind"] == "resumed"] == [2]
    plan = program.output / "run" / "plan.json"
    fields = json.loads(plan.read_text(encoding="utf-8"))
    assert fields["preset"] == "demo"
    plan.write_text(json.dumps({n: v for n, v in fields.items() if n != "preset"}), encoding="utf-8")
    assert choose(data, program.output, run_name="run") == "full"  # the default of earlier versions


def test_the_journal_says_what_the_plan_follows_from(
    program: Program, data: Path, seconds_per_step: dict[str, float]
) -> None:
    seconds_per_step |= {"full": 50_000.0}  # the tiny settings hide which preset they are laid over
    outcome = program("--data", data, "--run_name", "run", *tiny()[2:], "--max_steps", 2)
    assert outcome.code == 0 and "preset demo: small takes about" in outcome.flat
    start = journal(program.output / "run")[0]
    assert start["preset"] == "demo" and start["preset_reason"].startswith("small takes about")
    assert start["facts"]["utterances"] == 7 and start["facts"]["frames_per_symbol"] > 0
    assert start["plan"] == json.loads((program.output / "run" / "plan.json").read_text(encoding="utf-8"))


def test_a_study_takes_the_preset_of_its_device(data: Path, tmp_path: Path) -> None:
    options = with_preset_of_device(TrainOptions(data=str(data), device="cpu"))
    assert options.preset == "demo"
    assert with_preset_of_device(TrainOptions(device="cpu")).preset is None


@pytest.mark.parametrize("model", list(RECIPES))
def test_a_step_is_measured_without_a_trace(model: str) -> None:
    hparams = build_hparams(RECIPES[model].presets["tiny"], {"precision": "float32"})
    before = torch.random.get_rng_state()
    assert preset_choice._measure_step(hparams, torch.device("cpu"), ProbeTime(100, 60.0)) > 0
    assert bool((torch.random.get_rng_state() == before).all())
