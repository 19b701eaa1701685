"""Command line of the benchmarks: `python -m benchmarks NAME [options]`; without a name it lists them."""

from __future__ import annotations

import ast
import runpy
import sys
from collections import Counter
from pathlib import Path

from commands.process.openmp_settings import limit_spinning

MAIN_GUARD = 'if __name__ == "__main__":'


def find_benchmarks(folder: Path) -> dict[str, Path]:
    """Name → file of every module below `folder` that can be run.

    A name that occurs in several folders is preceded by its folder's: `speed.search`.
    """
    paths = [path for path in sorted(folder.glob("*/*.py")) if MAIN_GUARD in path.read_text(encoding="utf-8")]
    counts = Counter(path.stem for path in paths)
    return {path.stem if counts[path.stem] == 1 else f"{path.parent.name}.{path.stem}": path for path in paths}


def summary_line(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def main(arguments: list[str]) -> int:
    known = find_benchmarks(Path(__file__).parent)
    if not arguments or arguments[0] not in known:
        sys.stderr.write("error: expected the name of a benchmark:\n")
        sys.stderr.writelines(f"  {name:<18}{summary_line(path)}\n" for name, path in known.items())
        return 2
    limit_spinning()
    sys.argv = arguments
    path = known[arguments[0]]
    runpy.run_module(f"benchmarks.{path.parent.name}.{path.stem}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
