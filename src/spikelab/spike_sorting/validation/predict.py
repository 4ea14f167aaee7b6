"""Prediction: what to expect of the units of a sort, from injected neurons, their own features and their stability.

A model that was fitted on recordings with known neurons says how accuracy, recall and precision follow from a unit's
features; the injected neurons of this recording say by how much sorts of it are better or worse than that; and a unit
that the sorter does not find again as it was is doubted. Each of the three measures has a fractional logistic
regression (Papke and Wooldridge 1996, Journal of Applied Econometrics 11, 619-632). ``benchmarks/validation.py`` fits
``model.json`` and tests it on other recordings.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.json_files import read_object

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

MEASURES = ("accuracy", "recall", "precision")
MODEL = Path(__file__).parent / "model.json"
ALIKE_SNR, ALIKE_SPIKES = 2.0, 10.0  # factors within which an injected neuron is like a unit
FEWEST_ALIKE = 1
PRIOR_NEURONS = 2.0  # injected neurons that count as much as the model where both disagree
INTERVAL = (0.05, 0.95)


@dataclass(frozen=True)
class Expected:
    """What to expect of units.

    Attributes
    ----------
    scores : numpy.ndarray of float64, shape (units, 3)
        Accuracy, recall and precision; NaN where no injected neuron that was found is like the unit.
    low, high : numpy.ndarray of float64, shape (units,)
        Ends of the 90 % interval of the accuracy.
    alike : numpy.ndarray of int64, shape (units,)
        Injected neurons that were found, with an SNR within a factor of 2 and a number of spikes within a factor of 10.
    """

    scores: Values
    low: Values
    high: Values
    alike: NDArray[np.int64]


def expected(
    known: Values, scores: Values, units: Values, stability: Values, injected: Values, model: Any = None
) -> Expected:
    """Tell what to expect of units from injected neurons.

    Parameters
    ----------
    known : numpy.ndarray of float64, shape (pieces, features)
        Features of the found units that hold an injected neuron; see :func:`.features`.
    scores : numpy.ndarray of float64, shape (pieces, 3)
        Their accuracy, recall and precision.
    units : numpy.ndarray of float64, shape (units, features)
        Features of the units of the sort.
    stability : numpy.ndarray of float64, shape (units,)
        Agreement of each with itself in the new sort.
    injected : numpy.ndarray of float64, shape (injected, 2)
        Logarithms of the SNR (natural) and of the number of spikes (decimal) of the injected neurons that were found.
    model : dict, optional
        By default that in ``model.json``.
    """
    model = read_model() if model is None else model
    found = np.zeros((len(units), len(MEASURES)))
    for column, measure in enumerate(MEASURES):
        weights = {name: np.array(values) for name, values in model[measure].items()}
        offset = _offset(design(known) @ weights["features"], scores[:, column])
        found[:, column] = _logistic(
            design(units) @ weights["features"] + offset + doubt(stability) @ weights["stability"]
        )
    low, high = interval(found[:, 0], model["precision_of_beta"])
    alike = count_alike(injected, units)
    unknown = alike < FEWEST_ALIKE
    found[unknown], low[unknown], high[unknown] = np.nan, np.nan, np.nan
    return Expected(found, low, high, alike)


def model_digest() -> str:
    """Identify the fitted model."""
    return hashlib.blake2b(MODEL.read_bytes(), digest_size=8).hexdigest()


@cache
def read_model() -> dict[str, Any]:
    """Read the fitted model that the package comes with."""
    return read_object(MODEL)


def design(features: Values) -> Values:
    """Return the columns that the regressions see, shape (units, columns): 1, the features, the square of the SNR's."""
    snr = features[:, :1] - np.log(6.0)
    return np.concatenate([np.ones_like(snr), features, snr**2], axis=1)


def doubt(stability: Values) -> Values:
    """Return the column of stability, shape (units, 1): 0 for a unit that stayed as it was."""
    return np.asarray(1.0 - stability)[:, None]


def _offset(predicted: Values, scores: Values) -> float:
    """Find by how much the injected neurons of this recording do better or worse, in logits, drawn to 0 by a prior."""
    from scipy.optimize import brentq

    weight = 0.02 * PRIOR_NEURONS

    def slope(offset: float) -> float:
        return float(np.sum(scores - _logistic(predicted + offset))) - weight * offset

    furthest = 1.0 + len(scores) / weight  # the slope falls everywhere, and beyond this its sign is that of the prior
    return float(brentq(slope, -furthest, furthest))


def _logistic(values: Values) -> Values:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0))), dtype=np.float64)


def interval(mean: Values, precision: float) -> tuple[Values, Values]:
    """Return the 90 % intervals of beta distributions with these means; `precision` is the sum of their parameters.

    Next to 0 and 1, a broad distribution has its mean beyond its quantiles: the interval then ends at the mean.
    """
    from scipy.special import betaincinv

    inside = np.clip(mean, 1e-3, 1.0 - 1e-3)
    low, high = (betaincinv(inside * precision, (1.0 - inside) * precision, end) for end in INTERVAL)
    return np.minimum(low, mean), np.maximum(high, mean)


def count_alike(injected: Values, units: Values) -> NDArray[np.int64]:
    """Count the injected neurons that are like each unit, shape (units,)."""
    snr = np.abs(injected[None, :, 0] - units[:, None, 0]) <= np.log(ALIKE_SNR)
    spikes = np.abs(injected[None, :, 1] - units[:, None, 1]) <= np.log10(ALIKE_SPIKES)
    return np.asarray(np.sum(snr & spikes, axis=1), dtype=np.int64)


def fit(features: Values, stability: Values, scores: Values, groups: NDArray[np.int64], ridge: float = 0.1) -> Any:
    """Fit the model.

    Parameters
    ----------
    features : numpy.ndarray of float64, shape (units, features)
        Of units with a known truth.
    stability : numpy.ndarray of float64, shape (units,)
        Of the same; NaN of injected ones, whose stability nobody knows.
    scores : numpy.ndarray of float64, shape (units, 3)
    groups : numpy.ndarray of int64, shape (units,)
        Recording of each; those of many units count no more than others.
    ridge : float
        Weight of the prior that all coefficients but the first are 0.
    """
    columns = design(features)
    known = np.where(np.isnan(stability), 1.0, stability)
    every = np.concatenate([columns, doubt(known)], axis=1)
    weights = 1.0 / np.bincount(groups)[groups]
    weights *= len(weights) / weights.sum()
    model: dict[str, Any] = {}
    for column, measure in enumerate(MEASURES):
        found = _regression(every, scores[:, column], weights, ridge)
        model[measure] = {
            "features": found[: columns.shape[1]].round(6).tolist(),
            "stability": found[columns.shape[1] :].round(6).tolist(),
        }
    return model


def _regression(columns: Values, scores: Values, weights: Values, ridge: float) -> Values:
    """Fit a fractional logistic regression by Newton's method."""
    found = np.zeros(columns.shape[1])
    penalty = np.full(len(found), ridge)
    penalty[0] = 1e-6
    for _ in range(100):
        mean = _logistic(columns @ found)
        gradient = columns.T @ (weights * (scores - mean)) - penalty * found
        curvature = (columns * (weights * mean * (1.0 - mean))[:, None]).T @ columns + np.diag(penalty)
        found += np.clip(np.linalg.solve(curvature, gradient), -1.0, 1.0)
    return found
