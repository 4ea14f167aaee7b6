"""What sorts cost by channels and seconds, for the estimates that `inspect` and `batch` give beforehand.

Sorts recordings from the file to the results with one worker, in a process each, fits the costs of each sorter, and
shows estimate and cost side by side in ``results/costs.md``; ``--write`` puts the fit into the package::

    python -m benchmarks.costs --scratch /data/made --write

``--rows FILE`` keeps what was measured, and takes what is there: further recordings can be added, or all fitted anew.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import least_squares

from benchmarks.measuring import measure
from benchmarks.reporting import RESULTS, machine, markdown, write
from spikelab.spike_sorting.run.estimate import COSTS, core_seconds, memory_of, reference_work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TASKS = "benchmarks.costs"  # this module is __main__
FAMILIES = "grid,column,dense,hard,faint,sparse,axonal,come_and_go,hum,wide"
WITHIN = 1.5
LEARNT_S = {"rt_sort": 180.0, "threshold": 0.0}  # `learning_s` of RT-Sort


def whole_sort(recording: str, sorter: str) -> Callable[[], Any]:
    """Sort a recording with one worker; first a small one."""
    from spikelab.spike_sorting import sort_recording
    from spikelab.testing.backend_contract import synthetic_recording

    def work(what: Any = Path(recording)) -> None:
        with tempfile.TemporaryDirectory() as folder:
            places = {"results_folders": [Path(folder) / "out"], "intermediate_folders": [Path(folder) / "inter"]}
            sort_recording([what], sorter=sorter, n_jobs=1, **places)

    with tempfile.TemporaryDirectory() as folder:
        work(synthetic_recording(Path(folder) / "traces.dat").to_spikeinterface())
    return work


def main() -> None:
    """Measure, fit, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=FAMILIES, help="of recordings (default: %(default)s)")
    parser.add_argument("--seeds", default="101", help="(default: %(default)s)")
    parser.add_argument("--sorters", default="rt_sort,threshold", help="(default: %(default)s)")
    parser.add_argument("--templates", type=Path, help="measured footprints (default: those of ../shared/data)")
    parser.add_argument("--scratch", type=Path, help="where recordings are made, and stay to be used again")
    parser.add_argument("--recordings", type=Path, nargs="*", help="folders of recordings instead")
    parser.add_argument("--rows", type=Path, help="JSON lines of what was measured, which are added to")
    parser.add_argument("--write", action="store_true", help="put the fit into the package")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    args = parser.parse_args()
    rows = [] if args.rows is None or not args.rows.exists() else list(map(json.loads, args.rows.open()))
    if args.scratch is not None:
        args.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.scratch) as temporary:
        folders = _made(args, Path(temporary)) if args.recordings is None else args.recordings
        for folder in folders:
            for sorter in args.sorters.split(","):
                if any((row["recording"], row["sorter"]) == (folder.name, sorter) for row in rows):
                    continue
                rows.append(_row(folder, sorter))
                if args.rows is not None:
                    with args.rows.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    report(rows, args.out, write_costs=args.write)


def _made(args: argparse.Namespace, temporary: Path) -> list[Path]:
    from benchmarks.rt_sort_recipes import RECIPES
    from benchmarks.rt_sort_recordings import make

    wanted = [(RECIPES[name], int(seed)) for name in args.families.split(",") for seed in args.seeds.split(",")]
    return [make(recipe, seed, args.scratch or temporary, args.templates) for recipe, seed in wanted]


def _row(folder: Path, sorter: str) -> dict[str, Any]:
    from benchmarks.rt_sort_recordings import load_recording

    recording = load_recording(folder)
    before = min(reference_work() for _ in range(20))
    cost = measure("whole_sort", module=TASKS, recording=str(folder / "recording"), sorter=sorter)
    return {
        "recording": folder.name,
        "sorter": sorter,
        "channels": recording.get_num_channels(),
        "rate": recording.get_sampling_frequency(),
        "seconds": recording.get_num_samples() / recording.get_sampling_frequency(),
        "cpu_s": cost.cpu,
        "peak_mib": cost.peak_mib,
        "reference_s": (before + min(reference_work() for _ in range(20))) / 2,
    }


def fit(rows: Sequence[dict[str, Any]], learnt_s: float) -> dict[str, float]:
    """Fit the costs of one sorter to the ratio of estimate and cost; a recording that is far off counts little."""
    size = np.array([[row["channels"], row["rate"], row["seconds"]] for row in rows])
    cost = np.array([row["cpu_s"] for row in rows])
    start = {"per_value": 0.05, "per_learnt": 0.1 if learnt_s else 0.0, "channels_power": 0.0}
    names = [name for name in start if learnt_s or name != "per_learnt"]

    def costs_of(values: Sequence[float]) -> dict[str, float]:
        named = dict(zip(names, values, strict=True))
        scales = {name: float(np.exp(value)) if name.startswith("per_") else value for name, value in named.items()}
        return {**start, **scales, "learnt_s": learnt_s}

    def off(values: Sequence[float]) -> Any:
        return np.log([core_seconds(costs_of(values), *one) for one in size] / cost)

    first = [np.log(start[name]) if name.startswith("per_") else start[name] for name in names]
    found = costs_of(least_squares(off, first, loss="soft_l1", f_scale=0.4).x)
    memory = np.array([row["peak_mib"] for row in rows])
    slope, base = np.polyfit(size[:, 0], memory, 1)
    rounded = {name: float(f"{value:.3g}") for name, value in found.items()}
    return {**rounded, "parallel": 0.5, "memory_mib": round(float(base)), "memory_mib_per_channel": round(slope, 2)}


def report(rows: Sequence[dict[str, Any]], out: Path, *, write_costs: bool = False) -> None:
    """Write the table of estimates and costs, and with `write_costs` the costs of the package."""
    known = json.loads(COSTS.read_text(encoding="utf-8"))
    lines, sums = [], []
    for sorter in dict.fromkeys(row["sorter"] for row in rows):
        mine = [row for row in rows if row["sorter"] == sorter]
        cost = known["sorters"][sorter] = fit(mine, LEARNT_S.get(sorter, 0.0))
        ratios = [core_seconds(cost, r["channels"], r["rate"], r["seconds"]) / r["cpu_s"] for r in mine]
        good = sum(1 / WITHIN <= ratio <= WITHIN for ratio in ratios)
        sums.append(f"{sorter}: {good} of {len(mine)} within a factor of {WITHIN}.")
        lines += [_line(row, ratio, cost) for row, ratio in zip(mine, ratios, strict=True)]
    header = ["sorter", "recording", "channels", "seconds", "CPU s", "estimate", "ratio", "MiB", "estimate"]
    about = "Estimates are of the costs that were fitted to these very recordings."
    write(out / "costs.md", ["# What a sort takes", f"{machine()}.", *sums, about, markdown(header, lines)])
    if write_costs:
        known["reference_s"] = round(float(np.median([row["reference_s"] for row in rows])), 5)
        known["measured_on"] = machine()
        COSTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def _line(row: dict[str, Any], ratio: float, cost: dict[str, float]) -> list[str]:
    cells = [row["sorter"], row["recording"], row["channels"], f"{row['seconds']:.0f}", f"{row['cpu_s']:.1f}"]
    estimate = [f"{ratio * row['cpu_s']:.1f}", f"{ratio:.2f}"]
    return [*map(str, cells), *estimate, f"{row['peak_mib']:.0f}", f"{memory_of(cost, row['channels']) / 2**20:.0f}"]


if __name__ == "__main__":
    main()
