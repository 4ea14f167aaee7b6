"""Prediction: shares with intervals around them, better where more was found, and nothing where nothing is alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spikelab.spike_sorting.validation import predict
from spikelab.spike_sorting.validation.features import NAMES
from spikelab.spike_sorting.validation.predict import MEASURES, count_alike, expected, fit, interval, read_model

RANGES = np.array([[-0.7, 5.0], [0.0, 6.0], [0.0, 1.0], [0.0, 1.0], [-1.0, 3.0], [0.0, 1.0]])
SHARE = st.floats(0.0, 1.0)


def units_of(most: int) -> st.SearchStrategy[np.ndarray]:
    """Features within what units can have."""
    shape = st.integers(0, most).map(lambda n: (n, len(NAMES)))
    return arrays(np.float64, shape, elements=SHARE).map(lambda u: RANGES[:, 0] + u * (RANGES[:, 1] - RANGES[:, 0]))


@given(known=units_of(12), units=units_of(12), data=st.data())
@settings(max_examples=30)
def test_shares_in_order_and_known_where_something_is_alike(known: Any, units: Any, data: st.DataObject) -> None:
    scores = data.draw(arrays(np.float64, (len(known), 3), elements=SHARE))
    stability = data.draw(arrays(np.float64, len(units), elements=SHARE))
    found = expected(known, scores, units, stability, known[:, :2])
    unknown = count_alike(known, units) < 1
    assert np.array_equal(found.alike < 1, unknown)
    for values in (*found.scores.T, found.low, found.high):
        assert np.array_equal(np.isnan(values), unknown)
    told = ~unknown
    assert ((found.scores[told] >= 0) & (found.scores[told] <= 1)).all()
    accuracy = found.scores[told, 0]
    assert (found.low[told] >= 0).all()
    assert (found.low[told] <= accuracy).all()
    assert (accuracy <= found.high[told]).all()
    assert (found.high[told] <= 1).all()


@given(known=units_of(12), units=units_of(5), data=st.data())
@settings(max_examples=20)
def test_what_was_found_better_makes_all_better(known: Any, units: Any, data: st.DataObject) -> None:
    scores = data.draw(arrays(np.float64, (len(known), 3), elements=SHARE))
    better = np.minimum(1.0, scores + data.draw(arrays(np.float64, scores.shape, elements=SHARE)))
    stability = np.ones(len(units))
    worse_found, better_found = (expected(known, each, units, stability, known[:, :2]) for each in (scores, better))
    told = worse_found.alike > 0
    assert (better_found.scores[told] >= worse_found.scores[told] - 1e-6).all()


def test_the_offset_is_that_of_the_injected_ones() -> None:
    """Of many known neurons the mean score is that which is expected of the same; of few it is drawn to the model's."""
    rng = np.random.default_rng(0)
    known = RANGES[:, 0] + rng.uniform(0.3, 0.7, (400, len(NAMES))) * (RANGES[:, 1] - RANGES[:, 0])
    for level in (0.3, 0.9):
        scores = np.full((400, 3), level)
        told = expected(known, scores, known, np.ones(400), known[:, :2]).scores
        np.testing.assert_allclose(told.mean(axis=0), level, atol=0.01)
    nothing = expected(known[:0], np.empty((0, 3)), known, np.ones(400), known[:0, :2])
    assert np.isnan(nothing.scores).all()
    of_one, of_many = (
        expected(known[:n], np.zeros((n, 3)), known[:1], np.ones(1), known[:n, :2]).scores[0, 0] for n in (1, 400)
    )
    assert of_many < of_one


def test_instability_is_a_doubt() -> None:
    known = np.tile(RANGES.mean(axis=1), (10, 1))
    told = expected(
        known, np.full((10, 3), 0.95), np.tile(known[0], (3, 1)), np.array([1.0, 0.8, 0.2]), known[:, :2]
    ).scores[:, 0]
    assert told[0] > told[1] > told[2]


def test_alike_is_within_the_factors() -> None:
    known = np.zeros((3, len(NAMES)))
    known[:, 0], known[:, 1] = np.log([4.0, 8.0, 40.0]), np.log10([100, 100, 100])
    units = np.zeros((4, len(NAMES)))
    units[:, 0], units[:, 1] = np.log([7.0, 3.9, 100.0, 7.0]), np.log10([500, 500, 100, 5])
    assert count_alike(known, units).tolist() == [2, 1, 0, 0]


@given(mean=arrays(np.float64, 20, elements=SHARE), precision=st.floats(0.5, 1000.0))
@settings(max_examples=30)
def test_intervals_hold_their_mean(mean: Any, precision: float) -> None:
    low, high = interval(mean, precision)
    assert (low >= 0).all()
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert (high <= 1).all()
    wide, narrow = interval(mean, 5.0), interval(mean, 50.0)
    inside = (mean > 0.1) & (mean < 0.9)
    assert ((wide[1] - wide[0])[inside] > (narrow[1] - narrow[0])[inside]).all()


def test_the_model_has_a_weight_for_every_feature() -> None:
    model = read_model()
    for measure in MEASURES:
        assert len(model[measure]["features"]) == predict.design(np.zeros((1, len(NAMES)))).shape[1]
        assert len(model[measure]["stability"]) == predict.doubt(np.ones(1)).shape[1]
        assert np.isfinite([*model[measure]["features"], *model[measure]["stability"]]).all()
    assert model["precision_of_beta"] > 0


def test_a_fit_comes_back() -> None:
    rng = np.random.default_rng(0)
    units = RANGES[:, 0] + rng.uniform(size=(2000, len(NAMES))) * (RANGES[:, 1] - RANGES[:, 0])
    stability = np.where(np.arange(2000) % 2, rng.uniform(0.5, 1.0, 2000), np.nan)
    truth = 1 / (1 + np.exp(-(units[:, 0] - 2 + 0.5 * units[:, 1] - 2 * units[:, 5])))
    truth *= np.where(np.isnan(stability), 1, stability)
    model = fit(units, stability, np.stack([truth] * 3, axis=1), rng.integers(0, 5, 2000), ridge=0.01)
    model["precision_of_beta"] = 10.0
    whole = units[np.isnan(stability)]
    told = expected(
        whole[:50], np.stack([truth[np.isnan(stability)][:50]] * 3, axis=1), whole, np.ones(1000), whole[:50, :2], model
    )
    known = ~np.isnan(told.scores[:, 0])
    assert known.mean() > 0.9
    assert np.abs(told.scores[known, 0] - truth[np.isnan(stability)][known]).mean() < 0.06


def test_expected_is_a_value() -> None:
    found = expected(np.zeros((1, 6)), np.ones((1, 3)), np.zeros((2, 6)), np.ones(2), np.zeros((1, 2)))
    assert replace(found).scores is found.scores
    assert found.scores[0].tolist() == pytest.approx(found.scores[1].tolist())
