"""The published split: by latencies, electrode by electrode, then by size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.branches import latencies_of, split_branches
from spikelab.spike_sorting.rt_sort.parameters import resolve

DISTANCES = np.array([20.0, 20.0, 28.0, 40.0])
ON = {"max_n_components_latency": 4}
SIZES = {"split_coc_clusters_amps": True}
# Parameter -> value that shows, and what else is set.
BRANCH_PARAMETERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "max_n_components_latency": (4, {}),
    "min_coc_p": (45.0, ON),
    "min_extend_comp_p": (100.0, ON),
    "elec_patience": (1, ON),
    "split_coc_clusters_amps": (True, {}),
    "min_amp_dist_p": (0.0, SIZES),
    "max_n_components_amp": (1, SIZES),
}


def two_neurons(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neurons 0 (60 %) and 1 differ by 8 frames on the last electrode, and in size."""
    neuron = (np.arange(200) >= 120).astype(int)
    latencies = np.rint(rng.normal([2.0, 3.0, 5.0, 6.0], 0.4, (200, 4))).astype(np.float32)
    latencies[:, 3] -= 8 * neuron
    latencies[rng.random((200, 4)) < 0.1] = np.nan
    return latencies, (rng.normal(20, 1, 200) - 10 * neuron).astype(np.float32), neuron


def test_neurons_with_other_latencies_are_told_apart() -> None:
    latencies, sizes, neuron = two_neurons(np.random.default_rng(0))
    labels = split_branches(latencies, DISTANCES, sizes, resolve("mea", ON))
    seen = np.isfinite(latencies[:, 3])
    shares = [np.bincount(labels[seen & (neuron == k) & (labels >= 0)]).max() for k in (0, 1)]
    assert shares == [np.sum(seen & (neuron == k)) for k in (0, 1)]
    assert len({int(np.bincount(labels[seen & (neuron == k)]).argmax()) for k in (0, 1)}) == 2


def test_one_neuron_stays_whole() -> None:
    rng = np.random.default_rng(1)
    latencies = np.rint(rng.normal([2.0, 3.0, 5.0, 6.0], 0.4, (200, 4))).astype(np.float32)
    labels = split_branches(latencies, DISTANCES, rng.normal(20, 1, 200).astype(np.float32), resolve("mea", ON | SIZES))
    assert labels.tolist() == [0] * 200


@pytest.mark.parametrize("name", BRANCH_PARAMETERS)
def test_every_parameter_has_an_effect(name: str) -> None:
    value, others = BRANCH_PARAMETERS[name]
    latencies, sizes, _ = two_neurons(np.random.default_rng(0))
    before = split_branches(latencies, DISTANCES, sizes, resolve("mea", others))
    after = split_branches(latencies, DISTANCES, sizes, resolve("mea", {**others, name: value}))
    assert before.tolist() != after.tolist()


def test_latencies_are_those_of_the_surest_peak() -> None:
    frames = np.array([95, 100, 103, 104, 130], dtype=np.int64)
    channels = np.array([2, 0, 1, 1, 1], dtype=np.int32)
    logits = np.array([1.0, 3.0, 0.5, 2.0, 9.0], dtype=np.float32)
    found = latencies_of(frames, channels, logits, np.array([100]), np.array([1, 2, 3]), 10, 10, 4)
    np.testing.assert_array_equal(found, [[4, -5, np.nan]])
