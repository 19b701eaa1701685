"""How much faster do several processes train than one, each with one thread?

`python -m benchmarks scaling [N …]` (1 and 2, unless told otherwise) takes three minutes: torchrun trains the small
preset on the demo corpus for some steps with each number of processes, in turns; all learn from the same batches.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from files import REPOSITORY
from monitoring.journal.journal import read_journal

STEPS, WARM_UP, ROUNDS = 16, 4, 2
PROGRAM = REPOSITORY / "train_enhanced.py"

Write = Callable[[str], object]


def frames_per_second(n_processes: int, output: Path, name: str) -> float:
    """The median over the steps, as the journal has it."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}"]
    run = ["--output", str(output), "--run_name", name, "--preset", "small", "--max_steps", str(STEPS)]
    run += ["--hparams", "precision=float32,iters_per_evaluation=100000", "--companion", "off", "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*torchrun, str(PROGRAM), *run], env=environment, check=True, capture_output=True)
    found: list[float] = []
    for record in read_journal(output / name / "journal.jsonl"):
        if record["kind"] == "steps":
            found += record["signals"]["frames_per_second"]
    return statistics.median(found[WARM_UP:])


def main(numbers: list[int], write: Write) -> int:
    found: dict[int, list[float]] = {n: [] for n in numbers}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            for n in numbers:
                found[n].append(frames_per_second(n, Path(folder), f"{n}-{turn}"))
    first = statistics.mean(found[numbers[0]])
    write("processes   frames/s   times as fast\n")
    for n, each in found.items():
        write(f"{n:>9}   {statistics.mean(each):8,.0f}   {statistics.mean(each) / first:.2f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main([int(n) for n in sys.argv[1:]] or [1, 2], sys.stdout.write))
