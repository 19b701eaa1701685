"""Update ratios of every preset on real speech: how much they differ, and so why no limit on them is absolute.

`python -m benchmarks update_ratios --data FOLDER --language de` trains each preset for 150 steps in batches of 8,
keeps the medians in docs/update_ratios.jsonl, and prints a table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.program import read_records, step_values, train
from files import REPOSITORY
from recipes import PRESET_NAMES, RECIPES

RESULTS = REPOSITORY / "docs" / "update_ratios.jsonl"
N_STEPS, BATCH_SIZE = 150, 8
PARTS = (50, 100, 150)
"""Each median is of the steps between two of these."""


def measure(model: str, preset: str, options: argparse.Namespace, folder: Path) -> dict[str, object]:
    run = train(
        folder,
        f"{model}-{preset}",
        *("--data", options.data, "--language", options.language, "--model", model, "--preset", preset),
        *("--hparams", f"batch_size={BATCH_SIZE},iters_per_evaluation=1000", "--max_steps", str(N_STEPS)),
        *("--supervise", "off", "--companion", "off", "--warm_start", "none", "--watchdog", "off"),
    )
    records = read_records(run)
    start = next(record for record in records if record["kind"] == "started")
    values = {step: ratio for step, (ratio,) in step_values(records, "update_ratio") if ratio is not None}
    medians = [statistics.median(r for s, r in values.items() if end - 50 < s <= end) for end in PARTS]
    recipe = {name: start["hparams"][name] for name in ("learning_rate", "warmup_steps")}
    return {"model": model, "preset": preset, "weights": start["weights"], **recipe, "ratios": medians}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks update_ratios", description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--language", default="de")
    parser.add_argument("--presets", nargs="+", default=list(PRESET_NAMES))
    options = parser.parse_args()
    results = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    known = {(r["model"], r["preset"]) for r in results}
    with tempfile.TemporaryDirectory() as folder, RESULTS.open("a", encoding="utf-8") as file:
        for model in RECIPES:
            for preset in (p for p in options.presets if (model, p) not in known):
                results.append(measure(model, preset, options, Path(folder)))
                file.write(json.dumps(results[-1]) + "\n")
                file.flush()
    sys.stdout.write("| model | preset | weights | learning rate | warm-up | steps 1–50 | 51–100 | 101–150 |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|---|\n")
    for r in sorted(results, key=lambda r: (r["model"], r["weights"])):
        ratios = " | ".join(f"{ratio:.1e}" for ratio in r["ratios"])
        cells = f"{r['weights'] / 1e6:.2f} M | {r['learning_rate']:g} | {r['warmup_steps']} | {ratios}"
        sys.stdout.write(f"| {r['model']} | {r['preset']} | {cells} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
