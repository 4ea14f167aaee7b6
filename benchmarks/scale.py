"""How cost grows with channels, duration, units and spikes, and what that means for a large recording.

Writes ``results/scale.md`` and ``results/scale.png``::

    python -m benchmarks.scale
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measuring import Cost, measure
from benchmarks.recordings import RATE_HZ, Size, make_recording
from benchmarks.reporting import RESULTS, conditions, markdown, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WARM_UP = Size(64, 5, 4)
CURVES = {
    "seconds": [Size(128, seconds, 50) for seconds in (15, 30, 60, 120)],
    "channels": [Size(channels, 15, 50) for channels in (64, 128, 256, 512)],
    "units": [Size(128, 30, units) for units in (25, 50, 100, 200)],
}
LONG = [Size(1000, 20, 200), Size(1000, 100, 200)]
LARGE = Size(1000, 3600, 400)
MOST_AVERAGED = 300
OPERATIONS = (
    "ISI violations",
    "curation, all criteria",
    "merge search and merge",
    "subset of half the units",
    "first half of the time",
    "intervals",
    "binned, 40 ms",
    "raster, 100 ms",
    "save and load npz",
)
MANY_UNITS, MANY_SPIKES = 1000, 10_000_000

Costs = dict[Size, tuple[Cost, Cost]]


def measure_sizes(sizes: Sequence[Size], scratch: Path | None, repeats: int) -> Costs:
    """Cost of the whole pipeline and of what comes after the sorter, at each size."""
    costs = {}
    for size in dict.fromkeys(sizes):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            warm_up, recording = (make_recording(Path(folder), one) for one in (WARM_UP, size))
            paths = {"recording": str(recording), "warm_up": str(warm_up), "folder": f"{folder}/sorted"}
            costs[size] = tuple(measure(task, repeats=repeats, **paths) for task in ("pipeline", "post_sort"))
    return costs


def before_terms(size: Size) -> list[float]:
    """What the cost up to the sorter is made of: a constant and the samples, in billions."""
    return [1.0, size.frames * size.channels / 1e9]


def after_terms(size: Size) -> list[float]:
    """What the cost after it is made of: a constant, averaged windows, templates, spikes."""
    averaged = size.units * min(MOST_AVERAGED, RATE_HZ * size.seconds)
    return [1.0, averaged * size.channels / 1e6, size.units * size.channels / 1e3, size.units * size.seconds / 1e3]


def extrapolate(costs: Costs, large: Size) -> tuple[float, float]:
    """CPU seconds before and after the sorter at a size that was not measured."""
    whole, after = (np.array([pair[i].cpu for pair in costs.values()]) for i in (0, 1))
    predicted = []
    for terms, seconds in ((before_terms, whole - after), (after_terms, after)):
        predicted.append(float(_fit(np.array([terms(size) for size in costs]), seconds) @ terms(large)))
    return predicted[0], predicted[1]


def _fit(terms: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """No term may save time; relative errors count."""
    from scipy.optimize import nnls

    weights = 1 / np.maximum(seconds, 1e-2)
    return np.asarray(nnls(terms * weights[:, None], seconds * weights)[0])


def exponent(costs: Costs, sizes: Sequence[Size], axis: str, part: int) -> float:
    """Slope of the last doublings in logarithms: 1 is proportional, less is a share that stays."""
    x = np.log([getattr(size, axis) for size in sizes])
    y = np.log([costs[size][part].cpu for size in sizes])
    return float(np.polyfit(x[-3:], y[-3:], 1)[0])


def sizes_table(costs: Costs) -> str:
    """Every measured size."""
    header = ["recording", "pipeline, CPU s", "MiB added", "after the sorter, CPU s", "MiB added"]
    return markdown(
        header,
        [
            [str(size), f"{whole.cpu:.2f}", f"{whole.added_mib:.0f}", f"{after.cpu:.2f}", f"{after.added_mib:.0f}"]
            for size, (whole, after) in costs.items()
        ],
    )


def operations_table(repeats: int) -> str:
    """CPU seconds of operations on a ``SpikeData`` of many spikes."""
    rows = []
    for operation in OPERATIONS:
        cost = measure("spike_data", repeats=repeats, operation=operation, units=MANY_UNITS, spikes=MANY_SPIKES)
        rows.append([operation, f"{cost.cpu:.2f}", f"{cost.added_mib:.0f}"])
    return markdown(["operation", "CPU s", "MiB added"], rows)


def draw(costs: Costs, path: Path) -> None:
    """One panel per axis."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (axis, sizes) in zip(figure.subplots(1, len(CURVES), sharey=True), CURVES.items(), strict=True):
        x = [getattr(size, axis) for size in sizes]
        for part, label in enumerate(("whole pipeline", "after the sorter")):
            y = [costs[size][part].cpu for size in sizes]
            axes.loglog(x, y, "o-", label=f"{label}, exponent {exponent(costs, sizes, axis, part):.2f}")
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.minorticks_off()
        axes.set_xlabel(axis)
        axes.legend(fontsize=7, frameon=False)
    figure.axes[0].set_ylabel("CPU seconds, one core")
    figure.axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    figure.axes[0].yaxis.set_major_formatter("{x:g}")
    figure.savefig(path, dpi=120)


def extrapolation(costs: Costs) -> str:
    """Say what a large recording would take."""
    before, after = extrapolate(costs, LARGE)
    gigabytes, spikes = LARGE.frames * LARGE.channels * 2 / 1e9, LARGE.units * LARGE.seconds * RATE_HZ / 1e6
    return (
        f"Extrapolated, not measured, from a fit to these: {LARGE} ({gigabytes:.0f} GB, {spikes:.1f} million spikes) "
        f"takes {before / 60:.0f} minutes of one core up to the sorter and {after:.0f} s after it."
    )


def main() -> None:
    """Measure, fit, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1, help="after the warm-up (default: 1)")
    parser.add_argument("--scratch", type=Path, help="where up to 10 GB may be written for a while")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    args = parser.parse_args()
    sizes = [size for curve in CURVES.values() for size in curve]
    costs, long = (measure_sizes(those, args.scratch, args.repeats) for those in (sizes, LONG))
    parts = [
        "# How cost grows",
        conditions(),
        sizes_table(costs | long),
        extrapolation(costs | long),
        "![Curves](scale.png)",
        f"## SpikeData: {MANY_UNITS} units, {MANY_SPIKES:.0e} spikes, one hour",
        operations_table(args.repeats),
    ]
    write(args.out / "scale.md", parts)
    draw(costs, args.out / "scale.png")


if __name__ == "__main__":
    main()
