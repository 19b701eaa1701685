"""--mode check: exit code 0 for go, 2 for no-go; --json prints one object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.support.program import RATE, Program, good_clips, tiny, write_metadata


def test_a_good_corpus_is_a_go_and_the_plan_follows(program: Program, data: Path) -> None:
    outcome = program("--mode", "check", "--data", data, *tiny(epochs=9), "--max_steps", 6)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert "go" in lines and not (program.output / "corpus0-en-us-tacotron2").exists()
    plan = lines[lines.index("go") + 1 :]
    assert plan[0].startswith("plan    tacotron2, preset full: 6 steps (3.0 epochs of 2), evaluated every 4")
    assert [line.split()[0] for line in plan] == [
        "plan",
        "batches",
        "learning",
        "guided",
        "data",
        "model",
        "time",
        "memory",
        "disk",
    ]


def test_the_plan_leaves_time_for_a_base_voice(program: Program, data: Path) -> None:
    def checked(*options: object) -> dict[str, Any]:
        outcome = program(
            "--mode", "check", "--data", data, "--json", "--preset", "tiny", "--max_minutes", 10, *options
        )
        return dict(json.loads(outcome.out)["plan"])

    with_base, without = checked("--warm_start", "espeak"), checked("--warm_start", "none")
    assert 0 < with_base["base_seconds"] <= 150 and without["base_seconds"] == 0
    text = program("--mode", "check", "--data", data, "--preset", "tiny", "--max_minutes", 10, "--warm_start", "espeak")
    assert "a voice of espeak-ng is trained first, for" in text.flat


def test_json_is_one_object_with_the_plan(program: Program, data: Path) -> None:
    outcome = program("--mode", "check", "--data", data, "--json", *tiny())
    result = json.loads(outcome.out)
    assert (outcome.code, result["go"], result["n_usable"]) == (0, True, 8)
    assert (result["plan"]["steps"], result["plan"]["facts"]["utterances"]) == (4, 7)


def test_training_prints_the_plan_that_check_printed(program: Program, data: Path) -> None:
    checked = program("--mode", "check", "--data", data, *tiny(), "--max_steps", 6).out.splitlines()
    trained = program.train(data, "--max_steps", 6).out.splitlines()
    assert [line for line in checked if line.startswith("plan")] == [x for x in trained if x.startswith("plan")] != []


def test_a_silent_corpus_is_a_no_go(program: Program, tmp_path: Path) -> None:
    write_metadata(tmp_path / "silent", good_clips(tmp_path / "silent"))
    for path in (tmp_path / "silent" / "wavs").iterdir():
        soundfile.write(path, np.zeros(RATE), RATE)
    outcome = program("--mode", "check", "--data", tmp_path / "silent", "--json")
    assert (outcome.code, json.loads(outcome.out)["go"]) == (2, False)
