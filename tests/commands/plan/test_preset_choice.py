from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commands.options import TrainOptions
from commands.plan import preset_choice
from commands.plan.preset_choice import PresetChoice, choose_preset, closest_preset, with_preset
from commands.run.job import plan_job
from corpus.audio.recording import write_wave
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


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 800 utterances: 50 batches of `small` and 25 of `full`."""
    folder = tmp_path_factory.mktemp("recordings")
    write_wave(folder / "a.wav", np.zeros(100, dtype=np.float32), 16_000)
    for i in range(800):
        (folder / f"{i}.wav").symlink_to(folder / "a.wav")
    (folder / "list.txt").write_text("".join(f"{i}.wav|text\n" for i in range(800)), encoding="utf-8")
    return folder / "list.txt"


def choose(data: Path, output: Path, **options: Any) -> PresetChoice | None:
    given: dict[str, Any] = {"data": str(data), "output": output, "quiet": True} | options
    return choose_preset(plan_job(TrainOptions(**given)))


def chosen(data: Path, output: Path, **options: Any) -> str | None:
    choice = choose(data, output, **options)
    return None if choice is None else choice.name


@pytest.mark.parametrize(
    ("times", "options", "preset"),
    [
        ({"small": 0.28}, {"max_minutes": 40}, "demo"),
        ({"small": 0.26, "full": 0.19}, {"max_minutes": 40}, "small"),
        ({"small": 0.26, "full": 0.17}, {"max_minutes": 40}, "full"),
        ({"small": 3.5}, {}, "demo"),  # 500 epochs of 50 steps take 24.3 hours
        ({"small": 3.4, "full": 7.0}, {}, "small"),
        ({"small": 3.4, "full": 6.9}, {}, "full"),
        ({"small": 3.5, "full": 3.5}, {"epochs": 480}, "full"),
        ({"small": 6.9, "full": 6.9}, {"max_steps": 12_000}, "full"),
        ({"small": 0.01}, {"max_steps": 11_999}, "small"),  # too few for `full`
        ({}, {"max_steps": 7_999}, "demo"),
    ],
)
def test_the_largest_preset_that_the_time_is_enough_for(
    recordings: Path,
    tmp_path: Path,
    seconds_per_step: dict[str, float],
    times: Mapping[str, float],
    options: dict[str, Any],
    preset: str,
) -> None:
    assert RECIPES["tacotron2"].least_steps == {"full": 12_000, "small": 8_000, "demo": 1_200, "tiny": 360}
    seconds_per_step |= times
    assert chosen(recordings, tmp_path, **options) == preset


def test_the_reason_is_said(recordings: Path, tmp_path: Path, seconds_per_step: dict[str, float]) -> None:
    seconds_per_step |= {"small": 3.5}
    a_day = "small takes about 24.3 h (25,000 steps of 3.5 s), a day is too short for it"
    assert choose(recordings, tmp_path) == PresetChoice("demo", a_day, {"small": 3.5})
    few = "small needs 8,000 steps, 10 are planned"
    assert choose(recordings, tmp_path, max_steps=10) == PresetChoice("demo", few)


def test_few_recordings_are_not_for_a_large_preset(data: Path, tmp_path: Path) -> None:
    """Eight recordings in batches of two: 500 epochs are 2,000 steps."""
    assert choose(data, tmp_path, max_minutes=10_000) == PresetChoice(
        "demo", "small needs 8,000 steps, 2,000 are planned"
    )


def test_a_preset_that_is_named_and_the_demo_are_not_measured(
    data: Path, tmp_path: Path, seconds_per_step: dict[str, float]
) -> None:
    file = tmp_path / "best.yaml"
    file.write_text("preset: small\n", encoding="utf-8")
    assert choose(data, tmp_path, preset="tiny") is None
    assert choose(data, tmp_path, hparams_file=file) is None
    assert choose_preset(plan_job(TrainOptions(output=tmp_path, quiet=True))) is None


def test_several_processes_do_not_measure(data: Path, tmp_path: Path, seconds_per_step: dict[str, float]) -> None:
    job = plan_job(TrainOptions(data=str(data), output=tmp_path, quiet=True))
    assert choose_preset(job, is_measured=False) == PresetChoice("full")


def test_the_time_of_the_choice_counts(data: Path, tmp_path: Path) -> None:
    job = plan_job(TrainOptions(data=str(data), output=tmp_path, quiet=True, max_minutes=5, seed=7))
    chosen_job = with_preset(job, PresetChoice("demo", "a reason"))
    assert (chosen_job.preset, chosen_job.preset_reason, chosen_job.hparams.seed) == ("demo", "a reason", 7)
    assert chosen_job.hparams.decoder_rnn_dim == 256 and chosen_job.limits == job.limits
    assert with_preset(job, None) is job


@pytest.mark.parametrize(("model", "preset"), [(m, p) for m, r in RECIPES.items() for p in r.presets])
def test_what_a_run_starts_from_tells_its_preset(model: str, preset: str) -> None:
    settings = build_hparams(RECIPES[model].presets[preset]).model_dump()
    assert closest_preset(model, settings) == preset
    assert closest_preset(model, {}) == "full"  # another program's


def test_a_voice_to_start_from_decides(program: Program, data: Path) -> None:
    """Eight recordings alone would get `demo`; the tiny settings of the voice leave all presets equally close."""
    assert program("--data", data, "--run_name", "old", *tiny(), "--max_steps", 2).code == 0
    old = program.output / "old"
    small = build_hparams(RECIPES["tacotron2"].presets["small"]).model_dump(mode="json")
    for options in ({"warm_start": str(old)}, {"resume": str(old), "run_name": "new"}):
        assert chosen(data, program.output, **options) == "full"
    path = next((old / "checkpoints").glob("*.pt"))
    state = torch.load(path, weights_only=True)
    torch.save(state | {"hparams": small}, program.output / "small.pt")
    assert chosen(data, program.output, warm_start=str(program.output / "small.pt")) == "small"


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
    assert chosen(data, program.output, run_name="run") == "demo"
    plan.write_text(json.dumps({n: v for n, v in fields.items() if n != "preset"}), encoding="utf-8")
    assert chosen(data, program.output, run_name="run") == "full"  # the default of earlier versions


def test_the_journal_says_what_the_plan_follows_from(
    program: Program, data: Path, seconds_per_step: dict[str, float]
) -> None:
    outcome = program("--data", data, "--run_name", "run", *tiny()[2:], "--max_steps", 2)
    reason = "small needs 8,000 steps, 2 are planned"
    assert outcome.code == 0 and f"preset demo: {reason}" in outcome.flat
    start = journal(program.output / "run")[0]
    assert (start["plan"]["preset"], start["plan"]["preset_reason"]) == ("demo", reason)
    facts = start["facts"]
    assert facts["utterances"] == 7 and facts["frames_per_symbol"] > 0 and facts["level_spread_db"] < 15
    assert (facts["speakers"], facts["front_end"]) == (1, "graphemes")
    assert start["plan"] == json.loads((program.output / "run" / "plan.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", list(RECIPES))
def test_a_step_is_measured_without_a_trace(model: str) -> None:
    hparams = build_hparams(RECIPES[model].presets["tiny"], {"precision": "float32"})
    before = torch.random.get_rng_state()
    assert preset_choice._measure_step(hparams, torch.device("cpu"), ProbeTime(100, 60.0)) > 0
    assert bool((torch.random.get_rng_state() == before).all())
