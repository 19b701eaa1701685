from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from models.kernels.compile import MODELS_FOLDER, NUMBA_WORDS, cache_folder


@pytest.mark.parametrize("name", ["loops.py", "kernels/loops.py", "tacotron2/deep/loops.py"])
@pytest.mark.parametrize("source", ["import numba", "from models.kernels.compile import jit"])
def test_the_cache_folder_changes_with_numba_code_in_any_sub_folder(tmp_path: Path, name: str, source: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    before = cache_folder(tmp_path)
    path.write_text(f"{source}\nFACTOR = 2")
    assert cache_folder(tmp_path) != before


def test_the_cache_folder_does_not_change_with_other_code(tmp_path: Path) -> None:
    (tmp_path / "loops.py").write_text("import numba")
    (tmp_path / "other.py").write_text("import torch")
    before = cache_folder(tmp_path)
    (tmp_path / "other.py").write_text("import torch, math")
    assert cache_folder(tmp_path) == before


def test_every_file_with_compiled_functions_counts() -> None:
    for path in MODELS_FOLDER.rglob("*.py"):
        source = path.read_bytes()
        decorators = [d for n in ast.walk(ast.parse(source)) for d in getattr(n, "decorator_list", [])]
        if any("jit" in ast.unparse(decorator) for decorator in decorators):
            assert any(word in source for word in NUMBA_WORDS), path


def test_that_folder_is_used_unless_the_environment_names_another() -> None:
    expected = os.environ.get("NUMBA_CACHE_DIR", str(cache_folder(MODELS_FOLDER)))
    assert expected == numba.config.CACHE_DIR  # type: ignore[attr-defined]


LOOP_MODULE = """
from models.kernels.compile import jit

@jit
def add_up(values):
    total = values[0]
    for value in values:
        total += value
    return total
"""
CALL_IT = """
import sys
import numpy as np
from loop_module import add_up

print("ready", flush=True)
sys.stdin.readline()
add_up(np.ones(3))
print(len(add_up.stats.cache_misses))
"""


def test_processes_that_start_together_compile_a_function_once(tmp_path: Path) -> None:
    (tmp_path / "loop_module.py").write_text(LOOP_MODULE)
    environment = os.environ | {
        "PYTHONPATH": f"{tmp_path}:{MODELS_FOLDER.parent}",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CALL_IT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert sorted(process.communicate()[0] for process in processes) == ["0\n", "0\n", "1\n"]
