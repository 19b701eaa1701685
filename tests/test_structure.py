"""The rules of the repository that a program can check."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from hparams import HParams
from smart_tuner.settings import PhaseTargets, QualityControl, Settings, SupervisionSettings, WatchdogSettings

ROOT = Path(__file__).parents[1]
# What each package may import of the others; commands/, benchmarks/ and tests/ may import everything.
LEAVES = {"hparams", "files", "recipes", "reports"}
ALLOWED: dict[str, set[str]] = {
    "hparams": {"recipes"},
    "files": set(),
    "recipes": set(),
    "reports": set(),
    "corpus": LEAVES,
    "models": {*LEAVES, "corpus"},
    "speech": {*LEAVES, "corpus", "models"},
    "training": {*LEAVES, "corpus", "models", "speech"},
    "monitoring": LEAVES,
    "smart_tuner": {*LEAVES, "monitoring"},
}
EVERYTHING = ("commands", "benchmarks", "docs", "tests", "train_enhanced")
OWN = {*ALLOWED, *EVERYTHING}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 50


def source_files() -> list[Path]:
    """Every Python file of the packages, as paths from the root."""
    return sorted(
        path.relative_to(ROOT) for name in OWN for path in (*ROOT.glob(f"{name}.py"), *(ROOT / name).rglob("*.py"))
    )


def part_of(path: Path) -> str:
    return path.with_suffix("").parts[0]


TREES = {path: ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in source_files()}
PROGRAM = {path: tree for path, tree in TREES.items() if part_of(path) != "tests"}


def imported_parts(tree: ast.AST) -> set[str]:
    """The first names of all modules that are imported, wherever in the file."""
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def is_blind(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and lets none of it go on."""
    if any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler)):
        return False
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in caught)


def test_there_are_files_to_check() -> None:
    assert {part_of(path) for path in TREES} == OWN


def test_every_python_file_belongs_to_a_known_part() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    assert {part_of(Path(line)) for line in listed.stdout.splitlines()} <= OWN


@pytest.mark.parametrize("path", PROGRAM, ids=str)
def test_the_two_columns_do_not_import_each_other(path: Path) -> None:
    part = part_of(path)
    forbidden = OWN - ALLOWED.get(part, OWN - {"tests"}) - {part}
    assert imported_parts(PROGRAM[path]) & forbidden == set()
    relative = [n for n in ast.walk(PROGRAM[path]) if isinstance(n, ast.ImportFrom) and n.level]
    assert relative == [], "imports name their module in full"


def attributes_read() -> set[str]:
    """Names read as attributes anywhere in the program, and in the lists of names that hparams.py keeps."""
    return {
        node.attr
        for path, tree in PROGRAM.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and part_of(path) != "hparams"
    }


@pytest.mark.parametrize(
    "settings", [HParams, Settings, QualityControl, PhaseTargets, SupervisionSettings, WatchdogSettings]
)
def test_every_setting_is_read_somewhere(settings: type[BaseModel]) -> None:
    assert set(settings.model_fields) - attributes_read() == set()


@pytest.mark.parametrize("path", PROGRAM, ids=str)
def test_nothing_catches_everything(path: Path) -> None:
    handlers = [node for node in ast.walk(PROGRAM[path]) if isinstance(node, ast.ExceptHandler)]
    assert [f"{path}:{handler.lineno}" for handler in handlers if is_blind(handler)] == []


@pytest.mark.parametrize("path", TREES, ids=str)
def test_files_and_functions_stay_small(path: Path) -> None:
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    functions = [n for n in ast.walk(TREES[path]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > MAX_FUNCTION_LINES]
    assert long == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_pinned(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    wanted = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
    assert wanted
    loose = [line for line in wanted if not re.fullmatch(r"[\w.\[\]-]+==[\w.]+(; .*)?|-r requirements\.txt", line)]
    assert loose == []


@pytest.mark.parametrize(
    ("code", "blind"),
    [
        ("except:", True),
        ("except Exception:", True),
        ("except (OSError, BaseException):", True),
        ("except OSError:", False),
    ],
)
def test_a_blind_except_is_recognised(code: str, blind: bool) -> None:
    tree = ast.parse(f"try:\n  pass\n{code}\n  pass")
    assert [is_blind(n) for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler)] == [blind]
