"""The benchmark `real_rescue`: its faults, and the table that says whether each was named in time."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.robustness.faulty_run import find_fault
from benchmarks.robustness.real_rescue import FAULTS, exchange_texts, options_of, print_table

CLEAN = {"planned_steps": 4000, "learning_rate": 0.002}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten recordings with their texts."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for i in range(10):
        soundfile.write(folder / f"{i}.wav", np.zeros(800), 8000)
    (folder / "metadata.csv").write_text("".join(f"{i}|text {i}\n" for i in range(10)), encoding="utf-8")
    return folder


def result(fault: str, policy: str, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"planned_steps": 4000, "score": 0.8, "diagnoses": [], "interventions": []}
    return {"fault": fault, "policy": policy, **fields} | changes


def results(step: int, **supervised: Any) -> list[dict[str, Any]]:
    """A sick run whose first diagnosis is made at a step."""
    clean = [result("none", policy) for policy in ("nothing", "supervised")]
    diagnoses = [["loss_spike", step]]
    sick = result("weights_perturbed", "supervised", diagnoses=diagnoses, interventions=["roll_back"])
    return [*clean, result("weights_perturbed", "nothing", score=0.3), sick | supervised]


@pytest.mark.parametrize(("step", "is_met"), [(1100, True), (1800, True), (1801, False)])
def test_a_sick_run_must_be_named_within_a_fifth_of_the_plan(
    step: int, is_met: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_table(results(step)) is is_met
    line = f"| weights_perturbed | 0.30 | 0.80 | loss_spike ({step}) of 4000 | roll_back |"
    assert line in capsys.readouterr().out


def test_a_healthy_run_must_be_left_alone() -> None:
    runs = results(1100)
    runs[1] = result("none", "supervised", interventions=["roll_back"])
    assert not print_table(runs)


def test_each_fault_has_options_and_happens_after_a_quarter_of_the_clean_steps(data: Path, tmp_path: Path) -> None:
    arguments = Namespace(data=str(data), output=tmp_path, seed=1)
    options = {fault: options_of(fault, CLEAN, arguments) for fault in FAULTS}
    assert options["weights_perturbed"][0] == "weights_perturbed@1000"
    assert find_fault("tacotron2", "weights_perturbed@1000").from_step == 1000
    assert options["learning_rate_x30"] == ["none", f"--data={data}", "--hparams=learning_rate=0.06"]
    assert options["heavy_weight_decay"][2] == "--hparams=weight_decay=0.1"
    assert options["wrong_transcripts"][1] == f"--data={tmp_path / 'exchanged.txt'}"


def test_three_texts_of_ten_are_exchanged(data: Path, tmp_path: Path) -> None:
    lines = [line.rsplit("|", 1) for line in exchange_texts(str(data), tmp_path, seed=0).read_text().splitlines()]
    assert all(Path(path).is_file() for path, _ in lines)
    assert sum(f"text {Path(path).stem}" != text for path, text in lines) == 3
    assert sorted(text for _, text in lines) == [f"text {i}" for i in range(10)]
