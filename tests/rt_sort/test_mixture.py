"""Mixtures of normal distributions: grouping, starts and rounds against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab.spike_sorting.rt_sort.learning import _mixture
from spikelab.spike_sorting.rt_sort.learning._mixture import (
    expectation_maximisation,
    fit_mixture,
    grouped,
    mixture_labels,
    starting_means,
)


def test_equal_values_are_one_level() -> None:
    x, weights, groups = grouped(np.array([1.0, 1, 2, 5, 5, 5]))
    assert (x.tolist(), weights.tolist(), groups.tolist()) == ([1, 2, 5], [2, 1, 3], [0, 0, 1, 2, 2, 2])


def test_sixty_four_levels_are_kept_and_of_more_neighbours_are_one() -> None:
    few = np.sort(np.random.default_rng(0).normal(size=64))
    assert grouped(few)[0].tolist() == few.tolist()
    x, weights, groups = grouped(np.arange(128.0))
    assert weights.tolist() == [2.0] * 64
    assert x.tolist() == [2 * k + 0.5 for k in range(64)]
    assert groups.tolist() == [k // 2 for k in range(128)]


def test_no_group_reaches_across_a_gap() -> None:
    """The gap is wider than 1 / 64 of the whole, in the midst of what would be one group."""
    values = np.concatenate([np.arange(65.0), 100 + np.arange(64.0)])
    x, weights, groups = grouped(values)
    assert groups[64] < groups[65]
    assert not np.any((x > 64) & (x < 100))
    assert weights.sum() == 129


def test_starts_are_quantiles_of_the_sample_or_of_its_range() -> None:
    x, weights = np.array([0.0, 1, 2, 3, 10]), np.array([1.0, 1, 4, 1, 1])
    assert starting_means(x, weights, 2, False).tolist() == [1, 2]  # a quarter and three quarters of eight
    assert starting_means(x, weights, 1, False).tolist() == [2]
    assert starting_means(x, weights, 4, False).tolist() == [0, 2, 2, 3]
    assert starting_means(x, weights, 2, True).tolist() == [2.5, 7.5]
    assert starting_means(x + 1, weights, 1, True).tolist() == [6]


def slow_rounds(
    x: np.ndarray, weights: np.ndarray, means: np.ndarray, whole: float, floor: float, n_rounds: int = 30
) -> tuple[float, list[int], np.ndarray]:
    """The rounds in whole arrays."""
    k = len(means)
    variances, shares, before = np.full(k, max(floor, whole / k**2)), np.full(k, 1 / k), -np.inf
    for _ in range(n_rounds):
        chance = shares * np.exp(-0.5 * (x[:, None] - means) ** 2 / variances) / np.sqrt(2 * np.pi * variances)
        labels, total = chance.argmax(axis=1), chance.sum(axis=1)
        likelihood = np.sum(weights * np.log(total))
        if likelihood - before < 1e-3:
            break
        before = likelihood
        part = weights[:, None] * chance / total[:, None]
        sums = part.sum(axis=0)
        means = part.T @ x / sums
        variances = np.maximum(floor, part.T @ x**2 / sums - means**2)
        shares = sums / weights.sum()
    return likelihood, labels.tolist(), means


@given(st.integers(0, 2**31), st.integers(1, 3))
@settings(max_examples=15)
def test_rounds_are_those_of_the_slow_way(seed: int, n_components: int) -> None:
    rng = np.random.default_rng(seed)
    x, weights = np.sort(rng.normal(size=12)), rng.integers(1, 5, 12).astype(float)
    means = np.linspace(-1, 1, n_components)
    whole = float(np.sum(weights * x**2) / weights.sum())
    expected = slow_rounds(x, weights, means.copy(), whole, 0.05)
    likelihood, labels = expectation_maximisation(x, weights, means, whole, 0.05)
    assert likelihood == pytest.approx(expected[0], abs=1e-4)
    assert labels.tolist() == expected[1]
    np.testing.assert_allclose(means, expected[2], atol=1e-4)


def test_no_component_is_narrower_than_the_floor() -> None:
    x, weights = np.array([0.0, 10.0]), np.array([5.0, 5.0])
    likelihood, labels = expectation_maximisation(x, weights, np.array([0.0, 10.0]), 25.0, 0.25)
    assert labels.tolist() == [0, 1]
    assert likelihood == pytest.approx(10 * np.log(0.5 / np.sqrt(2 * np.pi * 0.25)))


def test_the_number_of_components_is_that_of_the_smallest_criterion() -> None:
    rng = np.random.default_rng(0)
    two = np.sort(np.concatenate([rng.normal(size=30), 8 + rng.normal(size=20)]))
    assert mixture_labels(two, 4, 0.0).tolist() == [0] * 30 + [1] * 20
    assert mixture_labels(two, 1, 0.0).tolist() == [0] * 50
    assert mixture_labels(np.sort(rng.normal(size=50)), 4, 0.0).tolist() == [0] * 50


@pytest.mark.parametrize(("gain", "components"), [(0.5, 1), (1.5, 2)])
def test_three_parameters_more_cost_log_n_each(gain: float, components: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the log likelihood has to grow by 3 ln n."""

    def rounds(x: np.ndarray, weights: np.ndarray, means: np.ndarray, *_: float) -> tuple[float, np.ndarray]:
        return gain * 1.5 * np.log(20) * (len(means) - 1), np.minimum(np.arange(len(x)), len(means) - 1)

    for name in ("grouped", "starting_means"):
        monkeypatch.setattr(_mixture, name, getattr(getattr(_mixture, name), "py_func", getattr(_mixture, name)))
    monkeypatch.setattr(_mixture, "expectation_maximisation", rounds)
    labels = getattr(mixture_labels, "py_func", mixture_labels)(np.arange(20.0), 2, 0.0)
    assert labels.max() == components - 1


def test_small_components_far_away_are_found() -> None:
    """The quantiles miss two values of sixty; the range does not."""
    values = np.concatenate([np.linspace(-1, 1, 58), [40.0, 40.5]])
    assert fit_mixture(values, 2, 0.0).tolist() == [0] * 58 + [1] * 2


def test_a_wide_floor_keeps_levels_together() -> None:
    values = np.repeat([2.0, 3.0, 4.0], [5, 20, 5])
    assert fit_mixture(values, 3, 0.3).max() == 0
    assert fit_mixture(values, 3, 0.0).max() > 0


def test_labels_ascend_by_mean_in_any_order_of_the_values() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(60)
    values = np.repeat([0.0, 30.0, 10.0], 20) + rng.normal(size=60)
    expected = np.repeat([0, 2, 1], 20)
    assert fit_mixture(values, 3, 0.0).tolist() == expected.tolist()
    assert fit_mixture(values[order], 3, 0.0).tolist() == expected[order].tolist()


def test_few_values_have_no_more_components_than_levels() -> None:
    assert fit_mixture(np.array([3.0]), 4, 0.0).tolist() == [0]
    assert fit_mixture(np.array([2.0, 2.0, 2.0]), 4, 0.0).tolist() == [0, 0, 0]
    assert fit_mixture(np.repeat([0.0, 1.0], 30), 4, 0.0).tolist() == [0] * 30 + [1] * 30


def test_unlikely_components_have_no_share_in_a_point() -> None:
    """Components 100 deviations away: nothing overflows, and each keeps the mean of its own points."""
    means = np.array([0.5, 99.0])
    x, weights = np.array([-1.0, 1.0, 100.0]), np.ones(3)
    _, labels = expectation_maximisation(x, weights, means, 4.0, 1.0)
    assert labels.tolist() == [0, 0, 1]
    np.testing.assert_allclose(means, [0, 100], atol=1e-9)
