"""Rules of the repository that a program can check: imports, docstrings, names, sizes, settings, requirements."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from files import REPOSITORY
from hparams import HParams
from smart_tuner.settings import PhaseTargets, QualityControl, Settings, SupervisionSettings, WatchdogSettings

LEAVES = {"hparams", "recipes", "files", "reports"}
ALLOWED_IMPORTS: dict[str, set[str]] = {
    "recipes": set(),
    "files": set(),
    "reports": set(),
    "hparams": {"recipes"},
    "listening": LEAVES,
    "corpus": {*LEAVES, "listening"},
    "models": {*LEAVES, "listening", "corpus"},
    "speech": {*LEAVES, "listening", "corpus", "models"},
    "training": {*LEAVES, "listening", "corpus", "models", "speech"},
    "monitoring": {*LEAVES, "listening"},
    "smart_tuner": {*LEAVES, "listening", "monitoring"},
}
"""Packages that each package may import; those that are not listed here may import everything."""
UNRESTRICTED = {"commands", "benchmarks", "docs", "tests", "train_enhanced"}
PACKAGES = {*ALLOWED_IMPORTS, *UNRESTRICTED}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_FOLDER_ENTRIES = 400, 50, 14
QUESTION = re.compile(r"(What|How|Where|Who|When|Those|Way|Ways|Whatever)\b")
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
DOCUMENTED = ast.Module | ast.ClassDef | FUNCTION


def tracked_files() -> list[Path]:
    """Files that git tracks or would track, as paths from the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for path in map(Path, listed.stdout.splitlines()) if (REPOSITORY / path).exists()]


def source_files() -> list[Path]:
    """Python files of all packages, as paths from the root."""
    found = [p for name in PACKAGES for p in (*REPOSITORY.glob(f"{name}.py"), *(REPOSITORY / name).rglob("*.py"))]
    return sorted(path.relative_to(REPOSITORY) for path in found)


def package_of(path: Path) -> str:
    return path.with_suffix("").parts[0]


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


TREES = {path: ast.parse((REPOSITORY / path).read_text(encoding="utf-8")) for path in source_files()}
PROGRAM = {path: tree for path, tree in TREES.items() if package_of(path) != "tests"}


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Yield all imported modules and names, wherever in the file, also under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, "imports name their module in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_python_file_belongs_to_a_known_package() -> None:
    assert {package_of(path) for path in TREES} == PACKAGES
    assert {package_of(path) for path in tracked_files() if path.suffix == ".py"} <= PACKAGES


def test_packages_import_only_what_they_may() -> None:
    wrong = []
    for path, tree in PROGRAM.items():
        package = package_of(path)
        forbidden = PACKAGES - ALLOWED_IMPORTS.get(package, PACKAGES - {"tests"}) - {package}
        imported = {module.split(".")[0] for module in imported_modules(tree)}
        wrong += [f"{path} imports {name}" for name in sorted(imported & forbidden)]
    assert wrong == []


def test_modules_do_not_import_each_other_in_circles() -> None:
    modules = {module_of(path): tree for path, tree in PROGRAM.items()}
    graph: dict[str, set[str]] = {}
    for module, tree in modules.items():
        imported = set(imported_modules(tree)) & modules.keys() - {module}
        # `from a import b` of a module b needs the package a only as a folder
        packages = {name for name in imported if any(other.startswith(f"{name}.") for other in imported)}
        graph[module] = imported - packages
    while outside := [m for m, needs in graph.items() if not needs & graph.keys() or not is_needed(m, graph)]:
        for module in outside:
            del graph[module]
    assert graph == {}, "only modules within circles are left"


def is_needed(module: str, graph: dict[str, set[str]]) -> bool:
    return any(module in needs for needs in graph.values())


def test_docstrings_do_not_begin_like_a_question() -> None:
    nodes = [(path, node) for path, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, DOCUMENTED)]
    docstrings = [(path, ast.get_docstring(node) or "") for path, node in nodes]
    assert [f"{path}: {text.splitlines()[0]}" for path, text in docstrings if QUESTION.match(text)] == []


def test_a_public_class_name_has_one_meaning() -> None:
    paths = defaultdict(list)
    for path, tree in PROGRAM.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and package_of(path) != "models":
                paths[node.name].append(str(path))
    assert {name: where for name, where in paths.items() if len(where) > 1} == {}


def test_folders_stay_small_and_packages_say_what_belongs_there() -> None:
    entries = defaultdict(set)
    for path in tracked_files():
        for folder in path.parents[:-1]:
            entries[folder].add(path.relative_to(folder).parts[0])
    del entries[Path("tests")]  # mirrors the top level, which is given
    assert {str(folder): len(names) for folder, names in entries.items() if len(names) > MAX_FOLDER_ENTRIES} == {}
    modules = {path.parent for path in PROGRAM if path.parent != Path() and package_of(path) != "docs"}
    explained = {
        path.parent for path, tree in PROGRAM.items() if path.name == "__init__.py" and ast.get_docstring(tree)
    }
    assert modules - explained == set()


def test_files_and_functions_stay_small() -> None:
    long = [str(path) for path in TREES if len((REPOSITORY / path).read_text().splitlines()) > MAX_FILE_LINES]
    for path, tree in TREES.items():
        functions = [n for n in ast.walk(tree) if isinstance(n, FUNCTION)]
        lengths = {f"{path}: {f.name}": (f.end_lineno or 0) - f.lineno + 1 for f in functions}
        long += [name for name, length in lengths.items() if length > MAX_FUNCTION_LINES]
    assert long == []


def attributes_read() -> set[str]:
    """Names read as attributes anywhere in the program outside the definitions of the settings."""
    return {
        node.attr
        for path, tree in PROGRAM.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and package_of(path) not in ("hparams", "recipes")
    }


@pytest.mark.parametrize(
    "settings", [HParams, Settings, QualityControl, PhaseTargets, SupervisionSettings, WatchdogSettings]
)
def test_every_setting_is_read_somewhere(settings: type[BaseModel]) -> None:
    assert set(settings.model_fields) - attributes_read() == set()


def is_blind(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler catches everything and lets none of it through."""
    if any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler)):
        return False
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in caught)


def test_nothing_catches_everything() -> None:
    handlers = [(path, n) for path, tree in PROGRAM.items() for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler)]
    assert [f"{path}:{handler.lineno}" for path, handler in handlers if is_blind(handler)] == []


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


@pytest.mark.parametrize("name", sorted(path.name for path in REPOSITORY.glob("requirements*.txt")))
def test_requirements_are_pinned(name: str) -> None:
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    required = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
    assert required
    loose = [
        line for line in required if not re.fullmatch(r"[\w.\[\]-]+==[\w.]+(; .*)?|-r requirements[\w-]*\.txt", line)
    ]
    assert loose == []
