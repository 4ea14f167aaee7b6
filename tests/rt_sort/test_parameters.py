"""Every parameter of `detect_sequences` changes something; the published ones for branches in `test_branches`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from tests.rt_sort.test_branches import BRANCH_PARAMETERS
from tests.simulated import simulate_dense

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.rt_sort import PUBLISHED, detect_sequences
from spikelab.spike_sorting.rt_sort.parameters import NAMES, resolve
from spikelab.spike_sorting.rt_sort.traces import Traces

# Parameter -> value that shows, and what else has to be set for it to matter.
EFFECTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "stringent_thresh": (0.9999, {}),
    "loose_thresh": (0.9, {"min_loose_detections_n": 5, "stringent_thresh": 0.95}),
    "ms_before": (0.05, {"min_activity_root_cocs": 2}),
    "ms_after": (0.05, {"min_activity_root_cocs": 3}),
    "pre_median_ms": (500.0, {}),
    "inner_radius": (1.0, {"min_activity_root_cocs": 2}),
    "outer_radius": (1.0, {}),
    "min_elecs_for_array_noise_n": (2, {"min_elecs_for_array_noise_f": 0.0}),
    "min_elecs_for_array_noise_f": (10.0, {"min_elecs_for_array_noise_n": 0}),
    "min_elecs_for_seq_noise_n": (2, {"min_elecs_for_seq_noise_f": 0.0}),
    "min_elecs_for_seq_noise_f": (10.0, {"min_elecs_for_seq_noise_n": 0}),
    "min_activity_root_cocs": (9, {}),
    "min_activity_hz": (500.0, {}),
    "min_coc_n": (50_000, {}),
    "min_loose_elec_prob": (0.9, {}),
    "min_inner_loose_detections": (16, {}),
    "min_loose_detections_n": (16, {}),
    "min_loose_detections_r_spikes": (1.5, {}),  # more than all electrodes
    "max_latency_diff_spikes": (0.01, {}),
    "clip_latency_diff_factor": (0.0, {"max_latency_diff_spikes": 0.01}),
    "max_amp_median_diff_spikes": (0.01, {}),
    "clip_amp_median_diff_factor": (0.0, {"max_amp_median_diff_spikes": 0.01}),
    "max_root_amp_median_std_spikes": (0.1, {}),
    "repeated_detection_overlap_time": (200.0, {}),
    "min_seq_spikes_n": (50_000, {}),
    "min_seq_spikes_hz": (500.0, {}),
    "match_threshold": (1e4, {}),
    "min_scale": (0.99, {}),
    "max_scale": (1.01, {}),
    "scale_std": (0.01, {}),
    "min_discriminability": (1e3, {}),
    "merge_unimodality": (1e3, {"merge_similarity": 0.0}),
    "merge_similarity": (0.0, {"merge_unimodality": 1e3}),
    "max_events": (100, {}),
    "learning_s": (2.0, {}),
}
# Tested below, and `inference_scaling_numerator` with the published models.
ELSEWHERE = {
    "relocate_root_min_amp",
    "relocate_root_max_latency",
    "inference_scaling_numerator",
    "min_loose_detections_r_sequences",
    "max_latency_diff_sequences",
    "max_amp_median_diff_sequences",
    "max_root_amp_median_std_sequences",
}


@cache
def simulated():
    return simulate_dense(duration_s=5.0)


def outcome(**params: Any) -> Any:
    try:
        rt_sort = detect_sequences(simulated().recording, num_processes=1, **params)
    except InsufficientActivityError:
        return "nothing"
    sequences = rt_sort.sequences
    return (
        sequences.root.tolist(),
        sequences.waveforms.tolist(),
        rt_sort.spikes(Traces.of(simulated().recording)).tolist(),
    )


def test_the_tables_are_complete() -> None:
    assert set(EFFECTS) | set(BRANCH_PARAMETERS) | ELSEWHERE == set(NAMES)


@cache
def outcome_without(*others: tuple[str, float]) -> Any:
    return outcome(**dict(others))


@pytest.mark.parametrize("name", EFFECTS)
def test_every_parameter_has_an_effect(name: str) -> None:
    value, others = EFFECTS[name]
    assert outcome_without(*others.items()) != outcome(**others, **{name: value})


@pytest.mark.parametrize("probe", ["mea", "neuropixels"])
def test_the_published_values_are_accepted_and_find_the_neurons(probe: str) -> None:
    assert resolve(probe, PUBLISHED[probe]).min_loose_detections_n == 4
    if probe == "mea":
        rt_sort = detect_sequences(simulated().recording, num_processes=1, **PUBLISHED[probe])
        assert 1 <= rt_sort.n_sequences <= 5


@pytest.mark.parametrize(
    ("limits", "moves"),
    [
        ({}, True),
        ({"relocate_root_min_amp": 0.95}, False),
        ({"relocate_root_max_latency": -6.0}, False),
    ],
)
def test_the_root_moves_to_an_earlier_electrode(limits: dict[str, float], moves: bool) -> None:
    from spikelab.spike_sorting.rt_sort.sequences import find_root

    frames = np.arange(50)
    waveform = np.stack([-size * np.exp(-(((frames - at) / 2) ** 2)) for size, at in ((80, 20), (72, 15))])
    row, frame = find_root(
        np.array([4, 7]), waveform.astype(np.float32), np.full(8, 8.0, dtype=np.float32), 20, 10, resolve("mea", limits)
    )
    assert (row, frame) == ((1, 15) if moves else (0, 20))


@pytest.mark.parametrize(
    ("limits", "same"),
    [
        ({}, True),
        ({"max_latency_diff_sequences": 1.5}, True),
        ({"max_latency_diff_sequences": 0.5}, False),
        ({"max_latency_diff_sequences": 0.5, "clip_latency_diff_factor": 0.5}, True),
        ({"max_root_amp_median_std_sequences": 3.0}, True),
        ({"max_root_amp_median_std_sequences": 1.0}, False),
        ({"max_amp_median_diff_sequences": 0.3}, True),
        ({"max_amp_median_diff_sequences": 0.05}, False),
    ],
)
def test_tolerances_between_sequences(limits: dict[str, float], same: bool) -> None:
    """The second mean is half as large, two frames later on two of three channels, and smaller there."""
    from spikelab.spike_sorting.rt_sort.learning.merging import within_sequence_tolerances

    frames = np.arange(50)
    first = np.stack([-80 * np.exp(-(((frames - at) / 2) ** 2)) for at in (20, 24, 26)], axis=1).astype(np.float32)
    second = 0.5 * np.concatenate([first[:, :1], 0.8 * np.roll(first[:, 1:], 2, axis=0)], axis=1)
    sigma = np.full(3, 8.0, dtype=np.float32)
    assert within_sequence_tolerances(first, second, 0.1, sigma, resolve("mea", limits), 20_000.0) == same
