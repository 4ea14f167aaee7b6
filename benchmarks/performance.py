"""One core, three recordings: spikelab, SpikeInterface and scipy side by side.

Writes ``results/performance.md`` and ``results/performance.png``::

    python -m benchmarks.performance
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.checking import check
from benchmarks.measuring import Cost, measure, measure_in_turn
from benchmarks.recordings import Size, make_recording
from benchmarks.reporting import RESULTS, conditions, markdown, write

SETS = {"64 channels": Size(64, 120, 25), "256 channels": Size(256, 60, 100), "1000 channels": Size(1000, 20, 200)}
WARM_UP = Size(64, 5, 4)
ROUNDS = 4  # even: every other one is in reverse

READ = "reading every sample once"
SCIPY = "scipy sosfiltfilt, float32 traces"
SCIPY_32 = "scipy sosfiltfilt, float32 throughout"
BAND_PASS = "spikelab: band-pass filter alone"
BAND_PASS_SI = "SpikeInterface: band-pass filter alone"
PIPELINE = "**spikelab: whole pipeline, sorter excepted**"
PIPELINE_2 = "spikelab: the same with two workers"
CORES = "arithmetic in registers"
CORES_2 = "the same with two threads"
PIPELINE_FILES = "spikelab: the same, every averaged waveform written"
POST_SORT = "**spikelab: after the sorter**"
ANALYZER = "SpikeInterface: analyzer, filtered binary"
ANALYZER_LAZY = "SpikeInterface: analyzer, filtered lazily"

HOW_TO_READ = (
    "In the first table 0.1 is ten times as fast and 1 is the same. An aim in brackets is what a version of spikelab "
    "is held to. In the last column a recording is short and wide, so what is done once for each unit and channel "
    "weighs most."
)


class Target(NamedTuple):
    """At most `most` times the CPU seconds (or wall seconds) of `rival`, for each set that there is an aim for."""

    ours: str
    rival: str
    most: dict[str, float]
    wall: bool = False


TARGETS = (
    Target(BAND_PASS, BAND_PASS_SI, {"1000 channels": 0.2}),
    Target(POST_SORT, ANALYZER_LAZY, {"64 channels": 0.15, "1000 channels": 0.12}),
    Target(POST_SORT, ANALYZER, {}),
    Target(POST_SORT, SCIPY, dict.fromkeys(SETS, 0.5)),
    Target(POST_SORT, SCIPY_32, {}),
    Target(PIPELINE, SCIPY, dict.fromkeys(SETS, 1.5)),
    Target(PIPELINE, SCIPY_32, {}),
    Target(PIPELINE_FILES, PIPELINE, {}),
    Target(PIPELINE_2, PIPELINE, dict.fromkeys(SETS, 0.65), wall=True),
    Target(CORES_2, CORES, {}, wall=True),
)


def measure_set(size: Size, scratch: Path, repeats: int) -> tuple[dict[str, Cost], float]:
    """Cost of everything on one recording, and the largest error of our templates."""
    paths = {"recording": str(make_recording(scratch, size)), "warm_up": str(scratch / WARM_UP.name)}
    folder = {"folder": str(scratch / "sorted")}
    costs = {
        READ: measure("memmap_pass", repeats=repeats, **paths),
        SCIPY: measure("sosfiltfilt", repeats=repeats, **paths),
        SCIPY_32: measure("sosfiltfilt", repeats=repeats, **paths, dtype="float32"),
        **measure_in_turn(
            {BAND_PASS: {"whose": "spikelab"}, BAND_PASS_SI: {"whose": "spikeinterface"}},
            task="band_pass",
            rounds=ROUNDS,
            repeats=repeats,
            **paths,
        ),
        **measure_in_turn(
            {
                PIPELINE_2: {"task": "pipeline", "n_jobs": 2, **paths, **folder},
                PIPELINE: {"task": "pipeline", **paths, **folder},
                CORES_2: {"task": "arithmetic", "n_jobs": 2},
                CORES: {"task": "arithmetic", "n_jobs": 1},
            },
            rounds=ROUNDS,
            repeats=repeats,
        ),
        POST_SORT: measure("post_sort", repeats=repeats, **paths, **folder),
    }
    error = check(Path(paths["recording"]), scratch / "sorted")
    costs[ANALYZER] = measure("analyzer", **paths, **folder)  # once: it takes longest by far
    costs[ANALYZER_LAZY] = measure("analyzer", **paths)
    costs[PIPELINE_FILES] = measure("pipeline", **paths, **folder, waveform_files=True)  # last: it keeps the disk busy
    return costs, error


def costs_table(measured: dict[str, dict[str, Cost]]) -> str:
    """CPU seconds with their range, and added memory, of every task on every set."""
    rows = []
    for task in measured[next(iter(measured))]:
        cells = [task]
        for costs in measured.values():
            cost = costs[task]
            cells += [f"{cost.cpu:.2f} ({min(cost.cpu_s):.2f} to {max(cost.cpu_s):.2f})", f"{cost.added_mib:.0f}"]
        rows.append(cells)
    header = ["CPU seconds: median (range); MiB added"]
    for name in measured:
        header += [name, "MiB"]
    return markdown(header, rows)


def targets_table(measured: dict[str, dict[str, Cost]]) -> str:
    """Ratios, each within this run, beside what they should be."""
    rows = []
    for target in TARGETS:
        kind = "wall seconds" if target.wall else "CPU seconds"
        row = [f"{target.ours.strip('*')}, against {target.rival.strip('*')} ({kind})"]
        for name, costs in measured.items():
            ours, rival = costs[target.ours], costs[target.rival]
            row.append(f"{ours.wall / rival.wall if target.wall else ours.cpu / rival.cpu:.3f}")
            if name in target.most:
                row[-1] += f" (aim: {target.most[name]:g} or less)"
        rows.append(row)
    return markdown(["the first takes so many times as long as the second", *measured], rows)


def cold_table(measured: dict[str, dict[str, Cost]]) -> str:
    """Imports, compilation and warm-up of a fresh process, which the table above leaves out."""
    tasks = (PIPELINE, ANALYZER_LAZY)
    return markdown(
        ["CPU seconds of a process before it is warm", *measured],
        [[task.strip("*"), *(f"{costs[task].cold_cpu_s:.1f}" for costs in measured.values())] for task in tasks],
    )


def draw(measured: dict[str, dict[str, Cost]], sizes: dict[str, Size], path: Path) -> None:
    """Bars of CPU seconds, one group per recording, on a logarithmic axis."""
    from matplotlib.figure import Figure

    tasks = [READ, SCIPY, ANALYZER_LAZY, ANALYZER, PIPELINE, POST_SORT]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for index, task in enumerate(tasks):
        heights = [costs[task].cpu for costs in measured.values()]
        places = [group + (index - len(tasks) / 2) * 0.13 for group in range(len(measured))]
        bars = axes.bar(places, heights, 0.13, label=task.strip("*"), color=f"C{index}")
        axes.bar_label(bars, fmt="%.3g", fontsize=7)
    axes.set_xticks(range(len(measured)), [str(size) for size in sizes.values()])
    axes.set(yscale="log", ylabel="CPU seconds, one core")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def described(sizes: dict[str, Size], repeats: int) -> str:
    """Say what was measured, and on what."""
    recordings = "Three recordings: " + "; ".join(map(str, sizes.values()))
    often = f"{repeats} repeats, {ROUNDS * repeats} of those in turn: the pipeline with one worker and with two, the "
    often += "filters"
    return f"{recordings}; {often}; one of the analyzer and of the waveform files. {conditions()}"


def main() -> None:
    """Measure the sets, check the outputs, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="64,256,1000", help="which recordings, by their channels (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="after the warm-up (default: 3)")
    parser.add_argument("--shrink", type=float, default=1, help="divide every duration by this, to try things out")
    parser.add_argument("--scratch", type=Path, help="where 9 GB may be written for a while")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    args = parser.parse_args()
    names = [f"{channels} channels" for channels in args.sets.split(",")]
    sizes = {name: replace(SETS[name], seconds=SETS[name].seconds / args.shrink) for name in names}
    measured, errors = {}, {}
    for name in names:
        with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
            make_recording(Path(folder), WARM_UP)
            measured[name], errors[name] = measure_set(sizes[name], Path(folder), args.repeats)
    parts = [
        "# Performance on one core",
        described(sizes, args.repeats),
        HOW_TO_READ,
        targets_table(measured),
        "The last row is what a second core was worth in the same minutes: 0.5 on a machine of one's own.",
        costs_table(measured),
        "MiB: peak of a process less what it held after its warm-up.",
        cold_table(measured),
        "Templates and standard deviations differ from a float64 reference by at most "
        + ", ".join(f"{error:.1e} ({name})" for name, error in errors.items())
        + " of their largest value; every spike is at its peak.",
        "![CPU seconds](performance.png)",
    ]
    write(args.out / "performance.md", parts)
    draw(measured, sizes, args.out / "performance.png")


if __name__ == "__main__":
    main()
