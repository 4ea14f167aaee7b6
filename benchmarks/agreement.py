"""What it tells that a unit is found again: agreement with further sorts beside true accuracy.

Sorts recordings with known neurons with the pipeline, and again with other seeds and with another sorter, and compares
the agreement that each unit gets with its accuracy::

    python -m benchmarks.agreement
    python -m benchmarks.agreement --families hard --seeds 1 --out FOLDER
    python -m benchmarks.agreement --families "" --join A/agreement.json B/agreement.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import RESULTS, machine, markdown, write
from benchmarks.rt_sort_recipes import RECIPES
from benchmarks.rt_sort_recordings import load_truth, made
from benchmarks.validation import FAMILIES, WINDOW_MS, sort_with_pipeline
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.data.matching import overlap_of

ROWS = "agreement.json"
# The sorter whose units are looked at, and what they are held against: two other seeds, or another sorter.
AGAIN: dict[str, tuple[str, int | list[str]]] = {
    "RT-Sort, two other seeds": ("rt_sort", 2),
    "RT-Sort, tridesclous2": ("rt_sort", ["spikeinterface:tridesclous2"]),
    "tridesclous2, two other seeds": ("tridesclous2", 2),
}
BORDERS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0)


def main() -> None:
    """Sort, and report after every recording."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [row for path in args.join for row in json.loads(path.read_text(encoding="utf-8"))]
    for family, seed in product(filter(None, args.families.split(",")), map(int, args.seeds.split(","))):
        with made(RECIPES[family], seed, args.scratch) as folder:
            for kind in args.kinds.split(";"):
                rows.append(_measured(family, seed, kind, folder))
                (args.out / ROWS).write_text(json.dumps(rows), encoding="utf-8")
    (args.out / ROWS).write_text(json.dumps(rows), encoding="utf-8")
    report(rows, args.out / "agreement.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=FAMILIES)
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--kinds", default=";".join(AGAIN), help="(default: %(default)s)")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--join", type=Path, nargs="*", default=[], help="agreement.json of other runs")
    return parser.parse_args()


def _measured(family: str, seed: int, kind: str, folder: Path) -> dict[str, Any]:
    """Sort one recording, and again; return agreement and true accuracy of all units."""
    from spikelab.spike_sorting.run.results import Results

    sorter, again = AGAIN[kind]
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        results = Results.open(sort_with_pipeline(sorter, RECIPES[family], folder, Path(work), sort_again=again))
        fs = results.recording.sampling_frequency
        known = SpikeTrains.from_spikeinterface(load_truth(folder))
        times = [[train / fs * 1000.0 for train in trains] for trains in (known.samples, results.waveforms.spikes)]
        agreement = {int(unit["unit_id"]): float(unit["agreement"]) for unit in results.units.neuron_attributes or []}
        return {
            "family": family, "seed": seed, "kind": kind, "machine": machine(),
            "agreement": [agreement[unit] for unit in results.waveforms.unit_ids.tolist()],
            "accuracy": overlap_of(*times, WINDOW_MS).agreement.max(axis=0).tolist(),
        }  # fmt: skip


def report(rows: list[dict[str, Any]], path: Path) -> None:
    """Write how many units have which agreement, and how accurate these are."""
    kinds, lines = [kind for kind in AGAIN if any(row["kind"] == kind for row in rows)], []
    for low, high in pairwise(BORDERS):
        cells = [f"{low:g} to {high:g}" if low else f"below {high:g}"]
        for kind in kinds:
            accuracy = np.array(_accuracies(rows, kind, low, high))
            cells.append(
                f"{len(accuracy)}, {accuracy.mean():.2f}, {np.mean(accuracy >= 0.9):.0%}" if len(accuracy) else ""
            )
        lines.append(tuple(cells))
    recordings = sorted({f"{row['family']} {row['seed']}" for row in rows})
    text = [
        "# Agreement with further sorts, and true accuracy",
        f"{len(rows)} sorts of {', '.join(recordings)}; {'; '.join(sorted({row['machine'] for row in rows}))}.",
        "Units, their mean accuracy, and how many of them have an accuracy of 0.9 or more, by agreement.",
        markdown(("agreement", *kinds), lines),
    ]
    write(path, text)


def _accuracies(rows: list[dict[str, Any]], kind: str, low: float, high: float) -> list[float]:
    """List the accuracies of the units whose agreement is in a range; the last one has its upper end."""
    return [
        accuracy
        for row in rows
        if row["kind"] == kind
        for agreement, accuracy in zip(row["agreement"], row["accuracy"], strict=True)
        if low <= agreement < high or (high == BORDERS[-1] and agreement == high)
    ]


if __name__ == "__main__":
    main()
