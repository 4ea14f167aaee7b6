"""The loops of the network on few values, against convolutions by numpy; quick also when they are not compiled."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spikelab.spike_sorting.rt_sort.detection.network import LANES, Network, add_products, run_layers

N_SAMPLES = 9
SHAPES = ((3, 1, 3), (2, 3, 4), (1, 2, 2))  # outputs, inputs, kernel


def model_of(shapes: tuple[tuple[int, int, int], ...], seed: int = 0) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    layers = [
        SimpleNamespace(
            weight=rng.normal(0, 1, shape).astype(np.float32), bias=rng.normal(0, 1, shape[0]).astype(np.float32)
        )
        for shape in shapes
    ]
    return SimpleNamespace(layers=layers)


def convolved(model: SimpleNamespace, windows: np.ndarray) -> np.ndarray:
    """Valid convolutions in float64, with a rectifier between layers and none behind the last."""
    values = windows[:, None].astype(np.float64)
    for index, layer in enumerate(model.layers):
        kernel = layer.weight.shape[2]
        seen = np.lib.stride_tricks.sliding_window_view(values, kernel, axis=2)
        after = np.einsum("wipk,oik->wop", seen, layer.weight.astype(np.float64)) + layer.bias[:, None]
        values = after if index + 1 == len(model.layers) else np.maximum(after, 0)
    return values


@pytest.mark.parametrize("n_taps", [0, 1, 3, 4, 5, 8, 11])
def test_products_are_added_to_what_is_there(n_taps: int) -> None:
    rng = np.random.default_rng(n_taps)
    rows = rng.normal(0, 1, (n_taps, LANES)).astype(np.float32)
    weights = rng.normal(0, 1, n_taps + 2).astype(np.float32)  # what follows is of another output
    total = rng.normal(0, 1, LANES).astype(np.float32)
    expected = total + weights[:n_taps].astype(np.float64) @ rows
    add_products(rows, weights, total)
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_layers_are_convolutions_with_a_rectifier_between(n_layers: int) -> None:
    model = model_of(SHAPES[:n_layers])
    network = Network(model)  # type: ignore[arg-type]
    windows = np.random.default_rng(9).normal(0, 1, (LANES, N_SAMPLES)).astype(np.float32)
    scratch = network.scratch(N_SAMPLES)
    scratch[:] = np.nan  # what is left from before plays no part
    scratch[0, :N_SAMPLES] = windows.T
    result = run_layers(scratch[0], scratch[1], network.flat, network.plan(N_SAMPLES))
    expected = convolved(model, windows)
    n_outputs, n_positions = expected.shape[1:]
    found = result[: n_outputs * n_positions].reshape(n_positions, n_outputs, LANES).transpose(2, 1, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_plan_says_where_everything_is() -> None:
    network = Network(model_of(SHAPES))  # type: ignore[arg-type]
    assert network.plan(N_SAMPLES).tolist() == [
        [3, 1, 3, 7, 0, 9],
        [2, 3, 4, 4, 12, 36],
        [1, 2, 2, 3, 38, 42],
    ]
    assert len(network.flat) == 43
    assert network.scratch(N_SAMPLES).shape == (2, 21, LANES)


@pytest.mark.parametrize("n_windows", [1, LANES, LANES + 1])
def test_groups_of_windows_are_filled_up(n_windows: int) -> None:
    model = model_of(SHAPES)
    windows = np.random.default_rng(3).normal(0, 1, (n_windows, N_SAMPLES)).astype(np.float32)
    expected = convolved(model, windows)[:, 0]
    np.testing.assert_allclose(Network(model).logits(windows), expected, rtol=1e-4, atol=1e-4)  # type: ignore[arg-type]
