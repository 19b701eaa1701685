"""quarantine.json in the folder of a run, as a person finds and edits it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.program import Program, contents, losses, summary

EVERYONE = {f"good{i}": 3 for i in range(8)}


def held_out(run: Path) -> str:
    return next(path.stem.rpartition("-")[2] for path in (run / "samples").iterdir())


def test_what_is_listed_there_stays_out_when_the_run_goes_on(program: Program, data: Path, run: Path) -> None:
    """Of two batches an epoch one is left, and then both again."""
    kept = next(id_ for id_ in EVERYONE if id_ != held_out(run))
    listed = {id_: step for id_, step in EVERYONE.items() if id_ != kept}
    (run / "quarantine.json").write_text(json.dumps(listed), encoding="utf-8")
    program.trained(data, epochs=4)
    assert max(losses(run)) == summary(run)["step"] == 6
    assert json.loads((run / "quarantine.json").read_text(encoding="utf-8")) == listed
    (run / "quarantine.json").unlink()
    program.trained(data, epochs=5)
    assert max(losses(run)) == 8


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (json.dumps(EVERYONE), "quarantine.json: lists all 7 utterances to train on; remove some of them"),
        ("{", "quarantine.json: is not valid JSON .*; correct or remove it"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_before_anything_is_written(
    program: Program, data: Path, run: Path, content: str, pattern: str
) -> None:
    (run / "quarantine.json").write_text(content, encoding="utf-8")
    before = contents(run)
    program.train(data, epochs=4).refused(pattern)
    assert contents(run) == before
