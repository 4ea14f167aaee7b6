"""``spikelab validate``: tell how right sorts are, and which settings are best for a recording."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from spikelab.cli._output import table
from spikelab.cli._progress import shown_progress
from spikelab.cli._settings import parse_settings
from spikelab.system.quoting import printable
from spikelab.system.texts import duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spikelab.spike_sorting.data import Validation
    from spikelab.spike_sorting.trials import Trial

MOST_ROWS = 30
HEADER = ("unit", "expected accuracy", "90 %", "recall", "precision", "stability")


def validate_text(
    results: Sequence[Path], *, units: int | None, rounds: int, recording: Path | None, every_unit: bool
) -> str:
    """Validate; return tables of what came out, and where the report is."""
    from spikelab.spike_sorting.trials import validate_sort

    lines = []
    for folder in results:
        _say_how_long(folder, rounds)
        with shown_progress():
            found = validate_sort(folder, units=units, rounds=rounds, recording=recording)
        lines += [printable(str(folder)), *summary_lines(found), "", _units_table(found, every_unit=every_unit)]
        lines.append(f"the report shows more: {printable(str(folder / 'report.html'))}")
    return "\n".join(lines)


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
    _say_how_long(results, rounds * math.prod(len(choice) for choice in values.values()))
    with shown_progress():
        trials = validate_grid(results, values, units=units, rounds=rounds, recording=recording)
    return _trials_table(trials)


def _say_how_long(results: Path, n_sorts: int) -> None:
    """Say, before it is begun, what it takes: each sort about what the first one took."""
    from spikelab.spike_sorting.run.results import Results

    stages = Results.open(results).record.get("stages") or {}
    took = float(stages.get("sorting", {}).get("wall_s") or 0.0)
    if took >= 1:
        times = "once more" if n_sorts == 1 else f"{n_sorts} more times"
        click.echo(f"{results}: sorted {times}, about {duration(took * n_sorts)}", err=True)


def summary_lines(found: Validation) -> list[str]:
    """Say in sentences what a validation tells of the recording."""
    said = found.summary
    lines = [f"{said['n_found']} of {said['n_injected']} injected neurons were found (accuracy of 0.8 or more)"]
    if said["smallest_snr"] is not None:
        value, low, high = said["smallest_snr"]
        lines.append(f"from an SNR of {value:.1f} on 80 % are found (90 % interval {low:.1f} to {high:.1f})")
    if said["expected_accuracy"] is not None:
        lines.append(f"expected accuracy of {said['n_known']} units: {said['expected_accuracy']:.3f} on average")
    unknown = len(found.units) - said["n_known"]
    if unknown:
        lines.append(f"{unknown} units are like no injected neuron that was found: nothing is said of them")
    lines.append(
        f"with the neurons put in, units kept {100 * said['stability']:.0f} % of their spikes on average; "
        f"{said['n_new']:g} new units per sort"
    )
    return lines


def _units_table(found: Validation, *, every_unit: bool) -> str:
    """List the units, the least accurate first."""
    order = sorted(found.units.items(), key=lambda unit: (unit[1]["expected_accuracy"], unit[0]))
    shown = order if every_unit else order[:MOST_ROWS]
    rows = [(str(unit), *_cells(values)) for unit, values in shown]
    left = len(order) - len(shown)
    return table(HEADER, rows) + (f"\nand {left} more, which are better (--all-units)" if left else "")


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
