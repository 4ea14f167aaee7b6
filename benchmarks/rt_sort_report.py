"""Tables and figure of :mod:`benchmarks.rt_sort`."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.reporting import markdown, write
from benchmarks.rt_sort_recipes import RECIPES, Recipe
from benchmarks.rt_sort_scoring import VISIBLE_SNR
from benchmarks.rt_sort_tasks import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.rt_sort import Row

LEGEND = (
    "CPU s: one core, filter included, imports and compilation not; x real time: seconds of recording per CPU second. "
    "MiB: peak of the process. Accuracy: mean over the true units, and over those with SNR >= 5. Well: true units with "
    "accuracy >= 0.8. False: found units that agree with no true one. Twice: further units for a true one. Merged: "
    "units that agree with two true ones. Curated: after spikelab's default curation. Means over the seeds, with the "
    "largest of them in brackets."
)


def report(rows: Sequence[Row], path: Path) -> None:
    """Write the report."""
    parts = ["# RT-Sort beside other sorters", conditions(rows), LEGEND]
    for family in _unique(row.family for row in rows):
        here = [row for row in rows if row.family == family]
        seeds = ", ".join(str(seed) for seed in sorted({row.seed for row in here}))
        parts += [f"## {family}", f"{described(RECIPES[family])} Seeds {seeds}.", family_table(here)]
        if any(row.sorter == OURS and row.score for row in here):
            parts.append(targets_table(here))
    versions = _unique(f"{row.sorter} {row.version}" for row in rows)
    write(path, [*parts, "![Accuracy of every unit](rt_sort.png)", f"Versions: {'; '.join(versions)}."])


def conditions(rows: Sequence[Row]) -> str:
    """Say on what was measured."""
    return f"{len(rows)} runs, one core each; {'; '.join(_unique(row.machine for row in rows))}."


def described(recipe: Recipe) -> str:
    """Describe a recording in a sentence."""
    across, along = recipe.pitch_um
    what = [
        f"{recipe.columns * recipe.rows} contacts in {recipe.columns} columns ({across:g} x {along:g} um)",
        f"{recipe.fs / 1e3:g} kHz",
        f"{recipe.seconds:g} s",
        f"{recipe.units} units at {recipe.rates_hz[0]:g} to {recipe.rates_hz[1]:g} Hz",
        f"noise {recipe.noise_uv:g} uV",
    ]
    if recipe.snr is None:
        return f"{', '.join(what)}; SpikeInterface's generated ground truth."
    what += [
        f"{recipe.axons:.0%} with an axon",
        f"{recipe.bursting:.0%} bursting",
        f"{recipe.network_hz:g} network bursts per second",
        f"{recipe.coloured:.0%} of the noise coloured and correlated",
        f"drift {recipe.drift_um:g} um",
    ]
    return f"{', '.join(what)}; measured footprints."


def family_table(rows: Sequence[Row]) -> str:
    """One line per sorter."""
    header = ["sorter", "CPU s", "x real time", "MiB", "accuracy", "SNR >= 5", "well", "units", "false", "twice"]
    header += ["merged", "curated: SNR >= 5", "units", "false + twice"]
    lines = []
    for sorter in _unique(row.sorter for row in rows):
        done = [row for row in rows if row.sorter == sorter and row.score]
        problems = _unique(row.problem for row in rows if row.sorter == sorter and row.problem)
        lines.append([sorter, *(_cells(done) if done else [""] * (len(header) - 1))])
        lines[-1][0] += f" ({'; '.join(problems)})" if problems else ""
    return markdown(header, lines)


def _cells(rows: Sequence[Row]) -> list[str]:
    def average(value: Callable[[Row], float], form: str) -> str:
        return format(mean(value(row) for row in rows), form)

    def counted(value: Callable[[Row], int]) -> str:
        values = [value(row) for row in rows]
        return f"{mean(values):.1f} ({max(values)})"

    return [
        average(lambda row: row.cost.cpu, ".1f"),
        average(lambda row: RECIPES[row.family].seconds / row.cost.cpu, ".1f"),
        average(lambda row: row.cost.peak_mib, ".0f"),
        average(lambda row: row.score.mean, ".3f"),
        average(lambda row: row.score.mean_visible, ".3f"),
        f"{mean(row.score.well_detected for row in rows):.1f} of {len(rows[0].score.snr)}",
        average(lambda row: row.score.found, ".1f"),
        counted(lambda row: row.score.false_positives),
        counted(lambda row: row.score.redundant),
        counted(lambda row: row.score.over_merged),
        average(lambda row: row.curated.mean_visible, ".3f"),
        average(lambda row: row.curated.found, ".1f"),
        counted(lambda row: row.curated.excess),
    ]


def targets_table(rows: Sequence[Row]) -> str:
    """Ours beside what it should be: the best of the others in the same run, and fixed limits."""
    done = {s: [row for row in rows if row.sorter == s and row.score] for s in _unique(row.sorter for row in rows)}
    ours = done.pop(OURS)
    accuracy = {sorter: mean(row.score.mean for row in others) for sorter, others in done.items() if others}
    lines = []
    if accuracy:
        best = max(accuracy, key=lambda sorter: accuracy[sorter])
        lines.append(["mean accuracy", f"{mean(row.score.mean for row in ours):.3f}", f"{accuracy[best]:.3f} ({best})"])
    lines.append(["mean accuracy, SNR >= 5", f"{mean(row.score.mean_visible for row in ours):.3f}", "0.95"])
    if RECIPES[rows[0].family].snr is None:
        lines.append(["most false positives", str(max(row.score.false_positives for row in ours)), "1"])
    else:
        lines.append(["most false and redundant, curated", str(max(row.curated.excess for row in ours)), "3"])
    if rivals := done.get("spykingcircus2"):
        limit = mean(row.cost.cpu for row in rivals)
        lines.append(["CPU s", f"{mean(row.cost.cpu for row in ours):.1f}", f"{limit:.1f} (spykingcircus2)"])
    return markdown(["aim", "rt_sort", "to compare with"], lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Accuracy of every visible unit, from the best to the worst, a panel per family and a line per sorter."""
    from matplotlib.figure import Figure

    families, sorters = _unique(row.family for row in rows), _unique(row.sorter for row in rows)
    figure = Figure(figsize=(4 * len(families), 3.6), layout="constrained")
    for axes, family in zip(np.atleast_1d(figure.subplots(1, len(families), sharey=True)), families, strict=True):
        for index, sorter in enumerate(sorters):
            scores = [row.score for row in rows if (row.family, row.sorter) == (family, sorter) and row.score]
            pairs = [pair for score in scores for pair in zip(score.accuracy, score.snr, strict=True)]
            accuracy = np.sort([accuracy for accuracy, snr in pairs if snr >= VISIBLE_SNR])[::-1]
            width = 2.5 if sorter == OURS else 1.2
            axes.plot(np.linspace(0, 100, len(accuracy)), accuracy, color=f"C{index}", lw=width, label=sorter)
        axes.set(title=family, xlabel="% of the units with SNR >= 5", ylim=(0, 1.02))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("accuracy")
    figure.axes[0].legend(fontsize=8, frameon=False, loc="lower left")
    figure.savefig(path, dpi=120)


def _unique(values: Iterable[Any]) -> list[Any]:
    """Without repetitions, in their order."""
    return list(dict.fromkeys(values))
