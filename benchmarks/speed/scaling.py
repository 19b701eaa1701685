"""Training speed of several processes beside that of one, each with one thread.

`python -m benchmarks scaling [N …]` (default: 1 and 2 processes) takes three minutes: torchrun trains the small preset
on the demo corpus for some steps with each number of processes, in turns; all learn from the same batches.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.program import PROGRAM, read_records, step_values
from benchmarks.reporting import Write

STEPS, WARM_UP, ROUNDS = 16, 4, 2


def frames_per_second(n_processes: int, output: Path, name: str) -> float:
    """Train; return the median over the steps, from the journal."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}"]
    options = ["--output", str(output), "--run_name", name, "--preset", "small", "--max_steps", str(STEPS)]
    options += ["--hparams", "precision=float32,iters_per_evaluation=100000", "--companion", "off", "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*torchrun, str(PROGRAM), *options], env=environment, check=True, capture_output=True)
    speeds = [speed for _, (speed,) in step_values(read_records(output / name), "frames_per_second")]
    return statistics.median(speeds[WARM_UP:])


def main(process_counts: list[int], write: Write) -> int:
    speeds: dict[int, list[float]] = {n: [] for n in process_counts}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            for n in process_counts:
                speeds[n].append(frames_per_second(n, Path(folder), f"{n}-{turn}"))
    reference = statistics.mean(speeds[process_counts[0]])
    write("processes   frames/s   speedup\n")
    for n, values in speeds.items():
        write(f"{n:>9}   {statistics.mean(values):8,.0f}   {statistics.mean(values) / reference:.2f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main([int(n) for n in sys.argv[1:]] or [1, 2], sys.stdout.write))
