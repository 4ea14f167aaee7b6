"""The compiled network against a convolution written down as it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter
from spikelab.spike_sorting.rt_sort.detection.network import LANES, Network, dense_logits


def reference(model: ModelSpikeSorter, trace: np.ndarray) -> np.ndarray:
    """Valid convolutions of one channel in float64, one position at a time."""
    values = np.asarray(trace, dtype=np.float64)[None]
    for index, layer in enumerate(model.layers):
        n_outputs, _, kernel = layer.weight.shape
        after = np.empty((n_outputs, values.shape[1] - kernel + 1))
        for position in range(after.shape[1]):
            seen = values[:, position : position + kernel]
            after[:, position] = layer.bias + np.tensordot(layer.weight.astype(np.float64), seen, axes=2)
        values = after if index + 1 == len(model.layers) else np.maximum(after, 0)
    return values[0]


@pytest.mark.parametrize("name", ["mea", "neuropixels"])
def test_published_weights(shared_data: Path, name: str) -> None:
    model = ModelSpikeSorter.load(shared_data / "published_models" / name)
    traces = np.random.default_rng(0).normal(0, 2, (model.sample_size, 2)).astype(np.float32)
    logits = dense_logits(model, traces)
    assert logits.shape == (model.sample_size - model.buffer_front_sample - model.buffer_end_sample, 2)
    for channel in range(2):
        np.testing.assert_allclose(logits[:, channel], reference(model, traces[:, channel]), rtol=1e-4, atol=1e-4)


def test_bundled_weights() -> None:
    model = ModelSpikeSorter.load_bundled("mea")
    traces = np.random.default_rng(0).normal(0, 2, (600, 3)).astype(np.float32)
    expected = np.stack([reference(model, trace) for trace in traces.T], axis=1)
    np.testing.assert_allclose(dense_logits(model, traces), expected, rtol=1e-4, atol=1e-4)


def test_short_traces_have_no_logits() -> None:
    model = ModelSpikeSorter.load_bundled("mea")
    assert dense_logits(model, np.zeros((model.receptive_field - 1, 4), dtype=np.float32)).shape == (0, 4)
    assert dense_logits(model, np.zeros((model.receptive_field, 4), dtype=np.float32)).shape == (1, 4)


def test_company_changes_no_bit() -> None:
    model = ModelSpikeSorter.load_bundled("neuropixels")
    network = Network(model)
    windows = np.random.default_rng(1).normal(0, 3, (3 * LANES + 5, model.receptive_field)).astype(np.float32)
    together = network.logits(windows)
    for size in (1, 7, LANES - 1, LANES, LANES + 1):
        parts = [network.logits(windows[i : i + size]) for i in range(0, len(windows), size)]
        np.testing.assert_array_equal(np.concatenate(parts), together)


def test_torch_says_the_same() -> None:
    pytest.importorskip("torch")
    model = ModelSpikeSorter.load_bundled("mea")
    windows = np.random.default_rng(2).normal(0, 3, (50, model.receptive_field + 10)).astype(np.float32)
    expected = Network(model).logits(windows)
    np.testing.assert_allclose(Network(model, "cpu:0").logits(windows), expected, rtol=1e-4, atol=1e-4)
