from __future__ import annotations

import os
from pathlib import Path

import numba

from models.kernels.compile import HERE, cache_folder


def test_machine_code_is_made_anew_when_what_a_loop_calls_has_changed(tmp_path: Path) -> None:
    (tmp_path / "callee.py").write_text("import numba")
    (tmp_path / "other.py").write_text("import torch")
    before = cache_folder(tmp_path)
    (tmp_path / "other.py").write_text("import torch, math")
    assert cache_folder(tmp_path) == before
    (tmp_path / "callee.py").write_text("import numba, math")
    assert cache_folder(tmp_path) != before


def test_that_folder_is_used_unless_another_is_wanted() -> None:
    wanted = os.environ.get("NUMBA_CACHE_DIR", str(cache_folder(HERE)))
    assert wanted == numba.config.CACHE_DIR  # type: ignore[attr-defined]
