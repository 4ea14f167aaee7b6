"""``spikelab demo``: simulate a recording with known neurons, sort it, and compare."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording, BaseSorting

    from spikelab.spikedata import SpikeData

logger = logging.getLogger(__name__)

DEFAULT_SORTER = "rt_sort"
SAMPLING_FREQUENCY = 20_000.0
N_UNITS = 12
PITCH_UM = 35.0
SIDE = 8
NOISE_UV = 8.0
LSB_UV = 6.294  # of a MaxOne at its usual gain
SEED = 7
GOOD_ACCURACY = 0.8
MATCH_WINDOW_MS = 0.4
LEAST_MATCH = 0.5  # accuracy


@dataclass(frozen=True)
class Comparison:
    """Agreement of the found units with the true units, of which each array has one value."""

    true_ids: NDArray[np.int64]
    n_spikes: NDArray[np.int64]
    best_ids: NDArray[np.int64]  # the found unit with the highest accuracy; -1 where there is none
    accuracy: NDArray[np.float64]  # matched / (true + found - matched), the definition SpikeInterface uses
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    n_found: int


def run_demo(folder: Path, sorter: str = DEFAULT_SORTER, duration_s: float = 60.0) -> str:
    """Write a recording of `duration_s` and its results into `folder`, and compare; return the text to print."""
    from spikelab.spike_sorting import sort_recording
    from spikelab.spike_sorting.recording.source import safe_name
    from spikelab.spikedata import SpikeData

    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "demo.raw.h5"
    truth = write_demo_recording(path, duration_s)
    results = folder / "results"
    (found,) = sort_recording(
        [path],
        sorter=sorter,
        results_folders=[results],
        create_figures=True,
        save_raw_pkl=True,
        n_jobs=2,
        out_file=f"sort_with_{safe_name(sorter)}.out",
        rt_sort_device="cpu",  # the same on every machine
    )
    everything = compare(SpikeData.load(results / "sorted_spikedata.npz"), truth)
    where = f"The recording is {path}\nThe results are in {results}\nOpen {results / 'report.html'} in a browser"
    return f"{format_table(compare(found, truth), everything)}\n\n{where}"


def write_demo_recording(path: Path, duration_s: float = 60.0) -> BaseSorting:
    """Simulate a 64-electrode recording and write it as a Maxwell ``.raw.h5``; return the true spikes."""
    from spikelab.spike_sorting.recording.maxwell_writer import write_maxwell

    recording, truth = simulate(duration_s)
    if not path.exists():
        logger.info("simulating %g s of %d electrodes with %d neurons", duration_s, SIDE * SIDE, N_UNITS)
        traces = recording.get_traces()
        counts = np.clip(np.rint(traces / LSB_UV) + 512, 0, 1023).astype(np.uint16)
        write_maxwell(path, counts.T, SAMPLING_FREQUENCY, recording.get_channel_locations(), lsb_uv=LSB_UV)
    return truth


def simulate(duration_s: float) -> tuple[BaseRecording, BaseSorting]:
    """Simulate the recording (lazy, microvolts) and its true spikes; the same on every machine."""
    from probeinterface import Probe
    from spikeinterface.core import generate_ground_truth_recording

    x, y = np.meshgrid(np.arange(SIDE) * PITCH_UM, np.arange(SIDE) * PITCH_UM)
    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(np.column_stack([x.ravel(), y.ravel()]), shapes="square", shape_params={"width": 10})
    probe.set_device_channel_indices(np.arange(SIDE * SIDE))
    return generate_ground_truth_recording(  # type: ignore[no-any-return]
        durations=[duration_s],
        sampling_frequency=SAMPLING_FREQUENCY,
        num_channels=SIDE * SIDE,
        num_units=N_UNITS,
        probe=probe,
        generate_sorting_kwargs={"firing_rates": (2.0, 10.0), "refractory_period_ms": 3.0},
        generate_unit_locations_kwargs={
            "margin_um": 0.0,
            "minimum_z": 5.0,
            "maximum_z": 25.0,
            "minimum_distance": 25.0,
        },
        noise_kwargs={"noise_levels": NOISE_UV, "strategy": "tile_pregenerated"},
        seed=SEED,
    )


def compare(found: SpikeData, truth: BaseSorting) -> Comparison:
    """Match found units with true ones as SpikeInterface's ground-truth comparison does, which needs pandas.

    A true unit has the accuracy, recall and precision of the found unit that the best assignment of all gives it, 0
    where that is below 0.5; `best_ids` are chosen for each true unit alone.
    """
    from scipy.optimize import linear_sum_assignment

    trains = {int(unit["unit_id"]): np.asarray(unit["spike_train_samples"]) for unit in found.unit_attributes}
    true_ids = [int(unit) for unit in truth.unit_ids]
    n_spikes = np.array([len(truth.get_unit_spike_train(unit)) for unit in truth.unit_ids])
    if not trains:
        zeros = np.zeros(len(true_ids))
        return Comparison(np.array(true_ids), n_spikes, np.full(len(true_ids), -1), zeros, zeros, zeros, 0)
    matched = _count_matches(trains, truth)
    n_found_spikes = np.array([len(train) for train in trains.values()])
    accuracy_of_pairs = matched / np.maximum(n_spikes[:, None] + n_found_spikes - matched, 1)
    possible = np.where(accuracy_of_pairs >= LEAST_MATCH, accuracy_of_pairs, 0.0)
    pairs = [pair for pair in zip(*linear_sum_assignment(-possible), strict=True) if possible[pair] > 0]
    accuracy, recall, precision = np.zeros((3, len(true_ids)))
    best = np.full(len(true_ids), -1)
    for true, unit in pairs:
        accuracy[true] = accuracy_of_pairs[true, unit]
        recall[true] = matched[true, unit] / n_spikes[true]
        precision[true] = matched[true, unit] / n_found_spikes[unit]
        best[true] = list(trains)[int(np.argmax(accuracy_of_pairs[true]))]
    return Comparison(np.array(true_ids), n_spikes, best, accuracy, recall, precision, n_found=len(trains))


def _count_matches(trains: dict[int, NDArray[np.int64]], truth: BaseSorting) -> NDArray[np.int64]:
    """Count the spikes that each true unit has in common with each found one, no spike twice."""
    from spikeinterface.comparison.comparisontools import get_optimized_compute_matching_matrix
    from spikeinterface.core import NumpySorting

    true_spikes = truth.to_spike_vector()
    found_spikes = NumpySorting.from_unit_dict(trains, truth.sampling_frequency).to_spike_vector()
    window = int(MATCH_WINDOW_MS / 1000 * truth.sampling_frequency)
    matches = get_optimized_compute_matching_matrix()(
        true_spikes["sample_index"], found_spikes["sample_index"], true_spikes["unit_index"],
        found_spikes["unit_index"], len(truth.unit_ids), len(trains), window,
    )  # fmt: skip
    # In bursts a found spike can be counted for two true ones.
    once: NDArray[np.int64] = np.minimum(matches.astype(np.int64), [len(train) for train in trains.values()])
    return once


def format_table(comparison: Comparison, everything: Comparison) -> str:
    """Write the comparison as a table; `everything` is the comparison before curation."""
    lines = ["true unit   spikes   found as   accuracy   recall   precision"]
    lines += [
        f"{true:9d}   {count:6d}   {best if best >= 0 else '-':>8}   {accuracy:8.2f}   {recall:6.2f}   {precision:9.2f}"
        for true, count, best, accuracy, recall, precision in zip(
            comparison.true_ids,
            comparison.n_spikes,
            comparison.best_ids,
            comparison.accuracy,
            comparison.recall,
            comparison.precision,
            strict=True,
        )
    ]
    well = comparison.accuracy >= GOOD_ACCURACY
    matched = {int(unit) for unit in comparison.best_ids[well]}
    missed = ", ".join(str(unit) for unit in comparison.true_ids[~well]) or "none"
    found = (
        f"{int(well.sum())} of {len(well)} true units were found and kept, with accuracy >= {GOOD_ACCURACY} "
        f"(not: {missed})"
    )
    others = comparison.n_found - len(matched)
    lines += ["", f"{found}; {f'of the kept units {others} are no true unit' if others else 'all kept units are true'}"]
    lines += [
        f"true unit {comparison.true_ids[k]} was found (accuracy {everything.accuracy[k]:.2f}), but the curation did "
        f"not keep it: unit {everything.best_ids[k]} in report.html says why"
        for k in np.flatnonzero(~well & (everything.accuracy >= GOOD_ACCURACY))
    ]
    lines += [f"mean accuracy {comparison.accuracy.mean():.3f}"]
    return "\n".join(lines)
