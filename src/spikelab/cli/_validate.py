"""``spikelab validate``: tell how right sorts are, and which settings are best for a recording."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from spikelab.cli._output import table
from spikelab.cli._progress import shown_progress
from spikelab.cli._settings import parse_settings
from spikelab.system.quoting import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.data import Validation
    from spikelab.spike_sorting.trials import Trial

MOST_ROWS = 30
HEADER = ("unit", "expected accuracy", "90 %", "recall", "precision", "stability", "curation")


def validate_text(results: Path, *, units: int | None, rounds: int, recording: Path | None, every_unit: bool) -> str:
    """Validate; return tables of what came out, and where the report is."""
    from spikelab.spike_sorting.run.results import Results
    from spikelab.spike_sorting.trials import validate_sort

    with shown_progress():
        found = validate_sort(results, units=units, rounds=rounds, recording=recording)
    kept = set(Results.open(results).curation.sd_curated.unit_ids)
    lines = [printable(str(results)), *summary_lines(found, kept), "", units_table(found, kept, every_unit=every_unit)]
    return "\n".join([*lines, f"the report shows more: {printable(str(results / 'report.html'))}"])


def grid_text(
    results: Path, grid: Sequence[str], sorters: str | None, *, units: int | None, rounds: int, recording: Path | None
) -> str:
    """Try settings; return a table, the best first."""
    from spikelab.spike_sorting.trials import validate_grid

    values, faults = parse_settings(grid)
    faults = [fault.replace("--set", "--grid", 1) for fault in faults]
    if sorters is not None:
        values["sorter"] = [name.strip() for name in sorters.split(",") if name.strip()]
    faults += [
        f"--grid {name}: expected a list of values, such as '{name}=[1, 2]'"
        for name, choice in values.items()
        if not isinstance(choice, list) or not choice
    ]
    if faults:
        raise click.UsageError("\n".join(faults))
    with shown_progress():
        trials = validate_grid(results, values, units=units, rounds=rounds, recording=recording)
    return _trials_table(trials)


def summary_lines(found: Validation, kept: Collection[int]) -> list[str]:
    """Say in sentences what a validation tells of the recording, of the units that were `kept` and of all."""
    said = found.summary
    n_known = found.mean("expected_accuracy")[1]
    lines = [
        f"{said['n_found']} of {said['n_injected']} injected neurons were found (accuracy of 0.8 or more)",
        _smallest_line(found),
    ]
    if n_known:
        lines.append(f"expected accuracy on average: {_means(found, 'expected_accuracy', kept)}")
    if unknown := len(found.units) - n_known:
        lines.append(f"{unknown} units are like no injected neuron that was found: nothing is said of them")
    lines.append(
        f"with the neurons put in, units agree with themselves by so much on average: "
        f"{_means(found, 'stability', kept)}; {said['n_new']:g} new units per sort"
    )
    return lines


def _smallest_line(found: Validation) -> str:
    if found.summary["smallest_snr"] is None:
        return f"they do not tell from which SNR on 80 % are found: {found.why_no_smallest()}"
    value, low, high = found.summary["smallest_snr"]
    return f"from an SNR of {value:.1f} on 80 % are found (90 % interval {low:.1f} to {high:.1f})"


def _means(found: Validation, name: str, kept: Collection[int]) -> str:
    """Write the mean of a metric over the units that were kept, and over all where others are among them."""
    (of_kept, n_kept), (of_all, n_all) = found.mean(name, kept), found.mean(name)
    everything = f"{of_all:.3f} of all {n_all}"
    return everything if n_kept in (0, n_all) else f"{of_kept:.3f} of {n_kept} units that were kept, {everything}"


def units_table(found: Validation, kept: Collection[int], *, every_unit: bool) -> str:
    """List the units, the least accurate first, those of which nothing is known last."""

    def place(unit: tuple[int, dict[str, float]]) -> tuple[bool, float, int]:
        accuracy = unit[1]["expected_accuracy"]
        return math.isnan(accuracy), 0.0 if math.isnan(accuracy) else accuracy, unit[0]

    order = sorted(found.units.items(), key=place)
    shown = order if every_unit else order[:MOST_ROWS]
    rows = [(str(unit), *_cells(values), "kept" if unit in kept else "not kept") for unit, values in shown]
    left = len(order) - len(shown)
    return table(HEADER, rows) + (f"\nand {left} more, which are better or not known (--all-units)" if left else "")


def _cells(values: dict[str, float]) -> tuple[str, ...]:
    names = ("expected_accuracy", "expected_recall", "expected_precision", "stability")
    accuracy, recall, precision, stability = (_number(values[name]) for name in names)
    if math.isnan(values["expected_accuracy"]):
        return ("not known", "", "", "", stability)
    ends = f"{values['expected_accuracy_low']:.2f} to {values['expected_accuracy_high']:.2f}"
    return (accuracy, ends, recall, precision, stability)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _trials_table(trials: Sequence[Trial]) -> str:
    names = list(trials[0].settings)
    header = (*names, "accuracy", "found", "recall", "precision", "stability", "new units", "CPU s")
    rows = [(*(str(trial.settings[name]) for name in names), *_outcome(trial)) for trial in trials]
    errors = [f"{_words(trial.settings)}: {trial.error}" for trial in trials if trial.error]
    return "\n".join([table(header, rows), *errors])


def _outcome(trial: Trial) -> tuple[str, ...]:
    if trial.error:
        return ("failed", *[""] * 6)
    measures = (f"{value:.3f}" for value in (trial.recall, trial.precision, trial.stability))
    found = f"{trial.n_found} of {trial.n_injected}"
    return (f"{trial.accuracy:.3f}", found, *measures, str(trial.n_new), f"{trial.cpu_s:.0f}")


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items())
