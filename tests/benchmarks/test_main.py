"""The command line of the benchmarks: names, and the list that it prints without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import MAIN_GUARD, find_benchmarks, main


def test_the_list_has_a_line_for_every_module_that_can_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    lines = capsys.readouterr().err.splitlines()[1:]
    for name in ("first_voice", "rescue", "speed", "alignment_search", "kills"):
        assert any(line.startswith(f"  {name} ") for line in lines), name
    assert not any(line.startswith("  faults ") for line in lines)
    assert all(len(line.split()) > 3 for line in lines), "each line says what is measured"


def test_a_name_in_two_folders_is_preceded_by_its_folder(tmp_path: Path) -> None:
    for name in ("speed/search", "quality/search", "quality/voices"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{MAIN_GUARD}\n    pass\n")
    (tmp_path / "quality" / "library.py").write_text("import benchmarks.__main__\n")
    assert set(find_benchmarks(tmp_path)) == {"quality.search", "speed.search", "voices"}


def test_an_unknown_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no_such_benchmark"]) == 2
    assert "expected the name of a benchmark" in capsys.readouterr().err
