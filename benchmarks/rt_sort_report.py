"""Tables and figure of :mod:`benchmarks.rt_sort`."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.reporting import markdown, write
from benchmarks.rt_sort_aims import AIMS, BEFORE, BEST, Aim, done
from benchmarks.rt_sort_recipes import RECIPES, Recipe
from benchmarks.rt_sort_scoring import NEARLY_ALL, VISIBLE_SNR
from benchmarks.rt_sort_tasks import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from benchmarks.rt_sort import Row

LEGEND = (
    "CPU s: one core, filter included, imports and compilation not; x real time: seconds of recording per CPU second. "
    "MiB: peak of the process. Accuracy: mean over the true units, and over those with SNR >= 5. Well: true units with "
    "accuracy >= 0.8. False: found units that agree with no true one. Twice: further units for a true one. Merged: "
    "units that agree with two true ones. Curated: after spikelab's default curation. Means over the seeds, with the "
    "largest of them in brackets."
)
WORST_LEGEND = (
    "Of each family the least accurate unit of ours with SNR >= 5, and all with SNR >= 15 below 0.95. A piece holds a "
    "tenth of the unit's spikes or more, which are most of its own; merged with: the best unit holds 30 % of these too."
)
LARGE_SNR = 15.0
PANELS = 4  # side by side


def report(rows: Sequence[Row], path: Path) -> None:
    """Write the report."""
    parts = ["# RT-Sort beside other sorters", conditions(rows), LEGEND]
    parts += ["## Aims", aims_table(rows), "## Worst units", WORST_LEGEND, worst_table(rows)]
    parts += ["## What curation drops", curation_table(rows)]
    for family in _unique(row.family for row in rows):
        here = [row for row in rows if row.family == family]
        seeds = ", ".join(str(seed) for seed in sorted({row.seed for row in here}))
        parts += [f"## {family}", f"{described(RECIPES[family])} Seeds {seeds}.", family_table(here)]
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
    what += _disturbed(recipe)
    if recipe.snr is None:
        return f"{', '.join(what)}; SpikeInterface's generated ground truth."
    what += [
        f"{recipe.axons:.0%} with an axon",
        f"{recipe.bursting:.0%} bursting",
        f"{recipe.network_hz:g} network bursts per second",
        f"{recipe.coloured:.0%} of the noise coloured and correlated",
        f"drift {recipe.drift_um:g} um ({recipe.movement.kind})" if recipe.drift_um else "no drift",
        *_crowd(recipe),
    ]
    return f"{', '.join(what)}; measured footprints."


def _disturbed(recipe: Recipe) -> list[str]:
    """Describe what is not as always between the tissue and the file."""
    amplifier = recipe.amplifier
    what = {
        f"{recipe.common:.0%} of the noise common to all": recipe.common,
        f"mains hum of {amplifier.hum_uv:g} uV": amplifier.hum_uv,
        f"{amplifier.pulses} pulses on the rail": amplifier.pulses,
        f"counts of {amplifier.gain_uv:g} uV": amplifier.middle,
    }
    return [words for words, given in what.items() if given]


def _crowd(recipe: Recipe) -> list[str]:
    """Describe the units that are not like the others."""
    crowd, movement = recipe.crowd, recipe.movement
    what = {
        f"displacement less by {movement.non_rigid:.0%} at the far end": movement.non_rigid,
        f"amplitudes that change by a factor of {movement.growth:g}": movement.growth - 1,
        f"{crowd.large:.0%} large": crowd.large,
        f"{crowd.positive:.0%} with a positive peak": crowd.positive,
        f"{crowd.appear:.0%} appear and {crowd.vanish:.0%} vanish half-way": crowd.appear + crowd.vanish,
        f"in {crowd.clusters} clusters": crowd.clusters,
        f"{crowd.small} further small units": crowd.small,
    }
    return [words for words, given in what.items() if given]


def family_table(rows: Sequence[Row]) -> str:
    """One line per sorter."""
    header = ["sorter", "CPU s", "x real time", "MiB", "accuracy", "SNR >= 5", "well", "units", "false", "twice"]
    header += ["merged", "curated: SNR >= 5", "units", "false + twice"]
    lines = []
    for sorter in _unique(row.sorter for row in rows):
        scored = done(rows, rows[0].family, sorter)
        lines.append([sorter + _problems(rows, sorter), *(_cells(scored) if scored else [""] * (len(header) - 1))])
    return markdown(header, lines)


def _problems(rows: Sequence[Row], sorter: str) -> str:
    problems = _unique(row.problem for row in rows if row.sorter == sorter and row.problem)
    return f" ({'; '.join(problems)})" if problems else ""


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


def aims_table(rows: Sequence[Row]) -> str:
    """What should be reached of what was measured, by ours and, for comparison, by the others."""
    sorters = [sorter for sorter in _unique(row.sorter for row in rows) if sorter != OURS]
    lines = []
    for aim in AIMS:
        value = aim.value(rows)
        if value is not None:
            met = "yes" if aim.met(value) else "**no**"
            others = [_of_another(aim, rows, sorter) for sorter in sorters]
            lines.append([aim.family, aim.what, aim.said, f"{value:.3f}", met, *others])
    return markdown(["recordings", "what", "aim", OURS, "reached", *sorters], lines)


def _of_another(aim: Aim, rows: Sequence[Row], sorter: str) -> str:
    value = None if {aim.below, aim.share} & {BEST, BEFORE} else aim.value(rows, sorter)
    return "" if value is None else f"{value:.3f}"


def worst_table(rows: Sequence[Row]) -> str:
    """The worst unit of each family, and every large one that is not nearly right."""
    families = _unique(row.family for row in rows)
    lines = [_worst(row, unit) for family in families for row, unit in _worst_units(done(rows, family))]
    return markdown(["recordings", "seed", "unit", "SNR", "accuracy", "why"], [line for line in lines if line])


def _worst_units(rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """Recordings of one family, and the index of the unit."""
    visible = [(row, unit) for row in rows for unit, snr in enumerate(row.score.snr) if snr >= VISIBLE_SNR]
    visible.sort(key=lambda pair: pair[0].score.accuracy[pair[1]])
    return visible[:1] + [(row, unit) for row, unit in visible[1:] if row.score.snr[unit] >= LARGE_SNR]


def _worst(row: Row, unit: int) -> list[str]:
    """A line, if the unit is not nearly right."""
    score = row.score
    if score.accuracy[unit] >= NEARLY_ALL:
        return []
    why = score.reasons[unit] if score.reasons else ""
    return [row.family, str(row.seed), str(unit), f"{score.snr[unit]:.1f}", f"{score.accuracy[unit]:.3f}", why]


def curation_table(rows: Sequence[Row]) -> str:
    """Well-sorted units of ours before and after, and the false ones that stay."""
    families = {
        family: [row for row in done(rows, family) if row.evident] for family in _unique(row.family for row in rows)
    }
    lines = [[family, *_curated_cells(ours)] for family, ours in families.items() if ours]
    header = ["recordings", "well sorted", "after default", "by evidence", "false per recording", "after default"]
    return markdown([*header, "by evidence"], lines)


def _curated_cells(rows: Sequence[Row]) -> list[str]:
    states = [[getattr(row, name) for row in rows] for name in ("score", "curated", "evident")]
    well = [str(sum(score.well_detected for score in scores)) for scores in states]
    return well + [f"{mean(score.false_positives for score in scores):.1f}" for scores in states]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Accuracy of every visible unit, from the best to the worst, a panel per family and a line per sorter."""
    from matplotlib.figure import Figure

    families, sorters = _unique(row.family for row in rows), _unique(row.sorter for row in rows)
    across = min(PANELS, len(families))
    down = -(-len(families) // across)
    figure = Figure(figsize=(4 * across, 3.6 * down), layout="constrained")
    panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axes in panels[len(families) :]:
        axes.remove()
    for axes, family in zip(panels, families, strict=False):
        for index, sorter in enumerate(sorters):
            accuracy = _visible(done(rows, family, sorter))
            width = 2.5 if sorter == OURS else 1.2
            axes.plot(np.linspace(0, 100, len(accuracy)), accuracy, color=f"C{index}", lw=width, label=sorter)
        axes.set(title=family, xlabel="% of the units with SNR >= 5", ylim=(0, 1.02))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("accuracy")
    figure.axes[0].legend(fontsize=8, frameon=False, loc="lower left")
    figure.savefig(path, dpi=120)


def _visible(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Accuracies of the units with an SNR of at least 5, from the best to the worst."""
    pairs = [pair for row in rows for pair in zip(row.score.accuracy, row.score.snr, strict=True)]
    return np.sort([accuracy for accuracy, snr in pairs if snr >= VISIBLE_SNR])[::-1]


def _unique(values: Iterable[Any]) -> list[Any]:
    """Without repetitions, in their order."""
    return list(dict.fromkeys(values))
