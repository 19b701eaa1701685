"""Run a benchmark by its name: `python -m benchmarks first_voice`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent


def benchmarks() -> dict[str, str]:
    """Names and modules of those that can be run, in whichever folder they lie."""
    found = {path.stem: path for path in sorted(HERE.glob("*/*.py")) if "__main__" in path.read_text(encoding="utf-8")}
    return {name: f"benchmarks.{path.parent.name}.{name}" for name, path in found.items()}


def main(arguments: list[str]) -> int:
    known = benchmarks()
    if not arguments or arguments[0] not in known:
        sys.stderr.write(f"error: expected the name of a benchmark: {', '.join(known)}\n")
        return 2
    sys.argv = arguments
    runpy.run_module(known[arguments[0]], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
