from __future__ import annotations

import ast
import os
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
