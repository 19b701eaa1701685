"""--mode check: exit code 0 for go, 2 for no-go; --json prints one object."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

from tests.support.program import RATE, Program, good_clips, write_metadata


def test_a_good_corpus_is_a_go(program: Program, data: Path) -> None:
    outcome = program("--mode", "check", "--data", data)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == "go"


def test_json_is_one_object(program: Program, data: Path) -> None:
    outcome = program("--mode", "check", "--data", data, "--json")
    result = json.loads(outcome.out)
    assert (outcome.code, result["go"], result["n_usable"]) == (0, True, 8)


def test_a_silent_corpus_is_a_no_go(program: Program, tmp_path: Path) -> None:
    write_metadata(tmp_path / "silent", good_clips(tmp_path / "silent"))
    for path in (tmp_path / "silent" / "wavs").iterdir():
        soundfile.write(path, np.zeros(RATE), RATE)
    outcome = program("--mode", "check", "--data", tmp_path / "silent", "--json")
    assert (outcome.code, json.loads(outcome.out)["go"]) == (2, False)
