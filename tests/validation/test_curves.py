"""Curves: the SNR from which on neurons are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spikelab.spike_sorting.validation.curves import fitted, smallest_found


def planted(n: int, at: float, slope: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Neurons of which 80 % are found where the SNR is `at`."""
    rng = np.random.default_rng(seed)
    snr = np.exp(rng.uniform(np.log(2.5), np.log(40), n))
    logits = np.log(4) + slope * np.log(snr / at)
    return snr, rng.uniform(size=n) < 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("at", [5.0, 9.0])
def test_a_planted_curve_comes_back(at: float) -> None:
    within = 0
    for seed in range(10):
        snr, found = planted(200, at, 4.0, seed)
        value, low, high = smallest_found(snr, found) or ()
        assert low <= value <= high
        assert value == pytest.approx(at, rel=0.3)
        within += low <= at <= high
    assert within >= 7
    offset, slope = fitted(np.log(planted(20_000, at, 4.0)[0]), planted(20_000, at, 4.0)[1])
    assert slope == pytest.approx(4.0, rel=0.1)
    assert np.exp((np.log(4) - offset) / slope) == pytest.approx(at, rel=0.05)


def test_more_neurons_tell_more() -> None:
    few, many = (smallest_found(*planted(n, 7.0, 4.0)) or [0.0, 0.0, 0.0] for n in (20, 500))
    assert many[2] / many[1] < few[2] / few[1]


@pytest.mark.parametrize("found", [[True] * 6, [False] * 6, [True, True, True, False, False, False]])
def test_no_curve_where_all_none_or_the_small_ones_are_found(found: list[bool]) -> None:
    assert smallest_found(np.array([3.0, 4, 5, 8, 13, 21]), np.array(found)) is None


def test_none_of_equal_ones() -> None:
    assert smallest_found(np.full(6, 5.0), np.array([True, False] * 3)) is None


def test_neurons_that_part_without_fault_make_a_curve() -> None:
    snr = np.array([2.5, 3, 4, 5, 8, 13, 21, 34])
    value, low, high = smallest_found(snr, snr > 6) or ()
    assert 5 <= value <= 10
    assert 2.5 <= low <= value <= high <= 34


@given(arrays(np.float64, 10, elements=st.floats(0.5, 1e4)), arrays(np.bool_, 10))
@settings(max_examples=15)
def test_any_neurons_give_numbers_in_their_range_or_none(snr: Any, found: Any) -> None:
    told = smallest_found(snr, found)
    assert told is None or all(snr.min() - 1e-9 <= value <= snr.max() + 1e-9 for value in told)
    assert told is None or told == smallest_found(snr, found)


def test_what_no_neuron_was_large_enough_to_show_is_not_told() -> None:
    snr = np.array([3.0, 4, 5, 6, 7, 8, 9, 10, 12, 14])
    found = np.array([1, 0, 0, 1, 0, 1, 0, 1, 0, 1], dtype=bool)
    assert smallest_found(snr, found) is None
