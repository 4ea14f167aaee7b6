"""How right the validation is: expected beside true accuracy of units, on recordings with known neurons.

Sorts each recording with the pipeline, validates the sort, and compares what is expected of every unit with the truth::

    python -m benchmarks.validation --families hard,quiet --seeds 101,102 --sorters rt_sort --out FOLDER
    python -m benchmarks.validation --families "" --join A/validation.json --fit   # writes validation/model.json
    python -m benchmarks.validation --families "" --join B/validation.json         # the report of other seeds

A model is fitted on tuning seeds and reported on others. Rows hold the features of all units, so that a new model needs
no new sorts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.reporting import RESULTS, machine, markdown, write
from benchmarks.rt_sort_recipes import RECIPES
from benchmarks.rt_sort_recordings import load_truth, made
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.data.matching import overlap_of
from spikelab.spike_sorting.validation import predict
from spikelab.system.resources import cpu_seconds

if TYPE_CHECKING:
    from benchmarks.rt_sort_recipes import Recipe

FAMILIES = "grid,column,hard,quiet,drift15,dense,shared70,faint"
ROWS = "validation.json"
WINDOW_MS = 0.4
CALLED_GOOD = 0.9


def main() -> None:
    """Sort, validate, and report after every recording."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [row for path in args.join for row in json.loads(path.read_text(encoding="utf-8"))]
    for family, seed in product(filter(None, args.families.split(",")), map(int, args.seeds.split(","))):
        with made(RECIPES[family], seed, args.scratch) as folder:
            for sorter in args.sorters.split(","):
                if not any((row["family"], row["seed"], row["sorter"]) == (family, seed, sorter) for row in rows):
                    rows.append(_measured(family, seed, sorter, folder, args.rounds))
                (args.out / ROWS).write_text(json.dumps(rows), encoding="utf-8")
    if args.fit:
        _fit(rows)
    else:
        _refuse_fitted(rows)
    report(rows, args.out / "validation.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=FAMILIES)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--sorters", default="rt_sort")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--join", type=Path, nargs="*", default=[], help="validation.json of other runs")
    parser.add_argument("--fit", action="store_true", help="fit the model that the package comes with on these rows")
    return parser.parse_args()


def sort_with_pipeline(sorter: str, recipe: Recipe, folder: Path, work: Path, **settings: Any) -> Path:
    """Sort a recording with RT-Sort's preset for its probe, or another sorter as it is; return the results' folder."""
    from spikelab.spike_sorting import sort_recording
    from spikelab.spike_sorting.config import RT_SORT_MEA, RT_SORT_NEUROPIXELS, SortingPipelineConfig

    config = RT_SORT_NEUROPIXELS if recipe.probe == "neuropixels" else RT_SORT_MEA
    if sorter != "rt_sort":
        config = SortingPipelineConfig().override(sorter_name=f"spikeinterface:{sorter}")
    sort_recording(
        [folder / "recording"], config=config.override(n_jobs=1, create_figures=False, **settings),
        results_folders=[work / "results"], intermediate_folders=[work / "intermediate"],
    )  # fmt: skip
    return work / "results"


def _measured(family: str, seed: int, sorter: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Sort and validate one recording; return a row with all of its units."""
    from unittest import mock

    from spikelab.spike_sorting import validate_sort, validation
    from spikelab.spike_sorting.run.results import Results

    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        start = cpu_seconds()
        folder_of_results = sort_with_pipeline(sorter, RECIPES[family], folder, Path(work), delete_inter=False)
        sorted_s = cpu_seconds() - start
        before = Results.open(folder_of_results)
        again: list[Any] = []  # the waveforms of all that was found in the recordings with injected neurons

        def kept(*values: Any) -> Any:
            again.append(values[-1].spikes)
            return round_of(*values)

        round_of = validation.round_of
        start = cpu_seconds()
        with mock.patch.object(validation, "round_of", kept):
            validate_sort(folder_of_results, rounds=rounds)
        validated_s = cpu_seconds() - start
        return {
            "family": family, "seed": seed, "sorter": sorter, "machine": machine(),
            "sort_cpu_s": sorted_s, "validation_cpu_s": validated_s,
            **_compared(Results.open(folder_of_results), before.trains, load_truth(folder), again),
        }  # fmt: skip


def _compared(results: Any, before: SpikeTrains, truth: Any, again: list[Any]) -> dict[str, Any]:
    """Compare the units with the truth, and list what the prediction is made from."""
    from spikelab.spike_sorting.validation import Round
    from spikelab.spike_sorting.validation.features import features
    from spikelab.spike_sorting.validation.rounds import found_sizes

    fs = results.recording.sampling_frequency
    known = truth if isinstance(truth, SpikeTrains) else SpikeTrains.from_spikeinterface(truth)
    times = [train / fs * 1000.0 for train in known.samples]
    overlap = overlap_of(times, [train / fs * 1000.0 for train in results.waveforms.spikes], WINDOW_MS)
    best, every = overlap.agreement.argmax(axis=0), np.arange(results.waveforms.n_units)
    true = np.stack(
        [overlap.agreement[best, every], overlap.share_of_a[best, every], overlap.share_of_b[best, every]], axis=1
    )
    after = [overlap_of(times, [train / fs * 1000.0 for train in trains], WINDOW_MS) for trains in again]
    numbers = range(results.validation.summary["rounds"])
    rounds = [Round.load(results.stage(f"validation_round{number}")) for number in numbers]
    return {
        "features": features(results.waveforms, results.recording).tolist(),
        "stability": np.mean([each.stability for each in rounds], axis=0).tolist(),
        "true": true.tolist(),
        "known": np.concatenate([each.piece_features for each in rounds]).tolist(),
        "known_scores": np.concatenate([each.piece_scores for each in rounds]).tolist(),
        "injected": found_sizes(rounds).tolist(),
        "summary": results.validation.summary,
        "accuracy_of_truth": float(overlap.agreement.max(axis=1).mean()),
        "own_before": overlap.agreement.max(axis=1).tolist(),
        "own_after": [each.agreement.max(axis=1).tolist() for each in after],
        "n_found": before.n_units,
    }


def _fit(rows: list[dict[str, Any]]) -> None:
    """Fit the model on all units of the rows, injected and of the sort, and write it."""
    model = fitted(rows)
    path = Path(sys.modules[predict.__name__].__file__ or "").parent / "model.json"
    about = sorted({_name_of(row) for row in rows})
    path.write_text(json.dumps({**model, "fitted_on": about}, indent=1) + "\n", encoding="utf-8")
    predict.read_model.cache_clear()


def _refuse_fitted(rows: list[dict[str, Any]]) -> None:
    """Raise ValueError where the model was fitted on a row that is to be reported."""
    seen = set(predict.read_model().get("fitted_on", []))
    both = sorted(seen & {_name_of(row) for row in rows})
    if both:
        raise ValueError(f"The model was fitted on {', '.join(both)}: report other seeds")


def _name_of(row: dict[str, Any]) -> str:
    return f"{row['family']} {row['seed']} {row['sorter']}"


def fitted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Fit the regressions, then the width of the intervals, which hold 90 % of the units of kinds not fitted on."""
    mean, true = [], []
    for family in sorted({row["family"] for row in rows}):
        others = [row for row in rows if row["family"] != family]
        without = {**regressions(others or rows), "precision_of_beta": 10.0}
        for row in rows:
            if row["family"] == family:
                expected = expected_of(row, without).scores[:, 0]
                known = np.isfinite(expected)
                mean.append(expected[known])
                true.append(np.array(row["true"])[known, 0])
    widths = np.geomspace(0.2, 200.0, 150)
    inside = [_inside(np.concatenate(true), np.concatenate(mean), width) for width in widths]
    width = float(widths[int(np.argmin(np.abs(np.array(inside) - 0.9)))].round(2))
    return {**regressions(rows), "precision_of_beta": width}


def regressions(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Fit the regressions on the units of the sorts and the injected ones."""
    features, stability, scores, groups = [], [], [], []
    for number, row in enumerate(rows):
        for names, known in (("features", True), ("known", False)):
            values = np.array(row[names]).reshape(-1, len(row["features"][0]))
            features.append(values)
            scores.append(np.array(row["true" if known else "known_scores"]).reshape(-1, 3))
            stability.append(np.array(row["stability"]) if known else np.full(len(values), np.nan))
            groups.append(np.full(len(values), number))
    model: dict[str, Any] = predict.fit(*map(np.concatenate, (features, stability, scores)), np.concatenate(groups))
    return model


def _inside(true: np.ndarray, mean: np.ndarray, width: float) -> float:
    low, high = predict.interval(mean, width)
    return float(np.mean((true >= low) & (true <= high)))


def expected_of(row: dict[str, Any], model: Any = None) -> predict.Expected:
    """Predict the units of a row."""
    size = len(row["features"][0])
    known = np.array(row["known"]).reshape(-1, size)
    injected = np.array(row["injected"]).reshape(-1, 2) if "injected" in row else known[:, :2]
    return predict.expected(
        known, np.array(row["known_scores"]).reshape(-1, 3), np.array(row["features"]), np.array(row["stability"]),
        injected, model,
    )  # fmt: skip


def report(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the report."""
    lines, errors, inside, good, means, unknown = [], [], [], [], [], []
    for row in rows:
        found, true = expected_of(row), np.array(row["true"])[:, 0]
        known = np.isfinite(found.scores[:, 0])
        unknown.append(true[~known])
        mean, true = found.scores[known, 0], true[known]
        covered = (true >= found.low[known]) & (true <= found.high[known])
        errors.append(np.abs(mean - true))
        inside.append(covered)
        good.append(true[mean >= CALLED_GOOD] >= CALLED_GOOD)
        means.append((mean.mean(), true.mean()))
        smallest = row["summary"]["smallest_snr"]
        lines.append((
            row["family"], str(row["seed"]), row["sorter"], str(len(true)), str(len(unknown[-1])),
            str(row["summary"]["n_injected"]),
            f"{true.mean():.3f}", f"{mean.mean():.3f}", f"{np.mean(errors[-1]):.3f}", f"{covered.mean():.2f}",
            f"{row['summary']['stability']:.3f}", "" if smallest is None else f"{smallest[0]:.1f}",
            _share_of_cpu(row), _changed(row),
        ))  # fmt: skip
    header = (
        "family", "seed", "sorter", "units", "not known", "injected", "true", "expected", "error per unit",
        "in the interval", "stability", "SNR of 80 %", "CPU, of the sort's",
        "accuracy of the sort's neurons, changed by",
    )  # fmt: skip
    text = [
        "# Expected and true accuracy",
        f"{len(rows)} sorts, one core each; {'; '.join(sorted({row['machine'] for row in rows}))}.",
        *_summary(errors, inside, good, means),
        *_left_out(
            unknown,
            [float(np.mean(row["own_after"]) - np.mean(row["own_before"])) for row in rows if "own_after" in row],
        ),
        markdown(header, lines),
    ]
    write(path, text)


def _left_out(unknown: list[Any], changes: list[float]) -> list[str]:
    """Tell of the units of which nothing is expected, and how far recordings change, whichever way."""
    of_unknown = np.concatenate(unknown)
    missing = f"{len(of_unknown)} units, like none that was injected and found, are in none of these figures"
    missing += f"; their mean accuracy is {of_unknown.mean():.2f}." if len(of_unknown) else "."
    sizes = np.abs(changes)
    moved = f"The accuracy of a recording's own neurons changes by {sizes.mean():.4f} either way" if len(sizes) else ""
    return [f"{missing} {moved}, as a mean of {len(sizes)} sorts (largest {sizes.max():.4f})." if moved else missing]


def _share_of_cpu(row: dict[str, Any]) -> str:
    """Validation over sort; empty where it was not measured with all processes and without compilation."""
    return "" if row["validation_cpu_s"] is None else f"{row['validation_cpu_s'] / row['sort_cpu_s']:.2f}"


def _changed(row: dict[str, Any]) -> str:
    """By how much the recording's own neurons are sorted better for the injected ones beside them, as a mean."""
    return f"{np.mean(row['own_after']) - np.mean(row['own_before']):+.4f}" if "own_after" in row else ""


def _summary(errors: Any, inside: Any, good: Any, means: Any) -> list[str]:
    from scipy.stats import spearmanr

    expect, true = np.array(means).T
    called = np.concatenate(good)
    rank = float(spearmanr(expect, true).statistic) if len(expect) > 2 else float("nan")
    error = f"Mean absolute error per unit {np.concatenate(errors).mean():.3f}"
    of_means = f"{np.abs(expect - true).mean():.3f} (largest {np.abs(expect - true).max():.3f})"
    held = f"90 % intervals hold {100 * np.concatenate(inside).mean():.0f} % of the units"
    good_ones = f"Of {len(called)} units called {CALLED_GOOD} or better, {100 * called.mean():.0f} % are"
    ranks = f"Rank correlation of the recordings' means {rank:.2f}."
    return [f"{error}, of a recording's mean {of_means}. {held}. {good_ones}. {ranks}"]


if __name__ == "__main__":
    main()
