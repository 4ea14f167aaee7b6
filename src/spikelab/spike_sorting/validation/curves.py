"""Curves: from which amplitude on neurons are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]


SHARE = 0.8  # found from the smallest SNR on
INTERVAL = (5.0, 95.0)
DRAWS = 200
STEPS = 30
PRIOR = 0.05  # weight of a slope that keeps the curve finite where it parts the neurons without fault


def smallest_found(snr: Values, found: NDArray[np.bool_]) -> list[float] | None:
    """Find the SNR from which 80 % of neurons are found, and the ends of its 90 % interval.

    A logistic curve over the logarithm of the SNR, fitted by maximum likelihood; the interval is that of 200 draws of
    the neurons with replacement.

    Returns
    -------
    list of float or None
        Value, low, high, which end at the largest and the smallest SNR of the neurons; None where all of them were
        found, none was, the curve does not rise, or 80 % lie beyond the largest.
    """
    x = np.log(snr)
    value = _crossing(x, found)
    if value is None or value > x.max():
        return None
    rng = np.random.default_rng(len(snr))
    drawn = []
    for _ in range(DRAWS):
        rows = rng.integers(0, len(x), len(x))
        crossing = _crossing(x[rows], found[rows])
        # Of a draw without a curve nothing but this is known: the smallest is found, or the largest is not.
        drawn.append((x.min() if found[rows].all() else x.max()) if crossing is None else crossing)
    low, high = np.exp(np.percentile(drawn, INTERVAL))
    lowest, highest = float(snr.min()), float(snr.max())
    return [float(np.clip(end, lowest, highest)) for end in (np.exp(value), low, high)]


def curve_of(snr: Values, found: NDArray[np.bool_]) -> list[float] | None:
    """Return offset and slope of the curve that :func:`smallest_found` is read from; None where it returns None."""
    curve = _rising(np.log(snr), found)
    return None if curve is None else list(curve)


def _rising(x: Values, found: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Fit the curve; None where all neurons were found, none was, or it does not rise."""
    if found.all() or not found.any():
        return None
    offset, slope = fitted(x, found)
    return (offset, slope) if slope > 0 else None


def _crossing(x: Values, found: NDArray[np.bool_]) -> float | None:
    """Return where the fitted curve reaches 80 %."""
    curve = _rising(x, found)
    return None if curve is None else float((np.log(SHARE / (1 - SHARE)) - curve[0]) / curve[1])


def fitted(x: Values, found: NDArray[np.bool_]) -> tuple[float, float]:
    """Fit offset and slope of a logistic curve by Newton's method."""
    design = np.stack([np.ones(len(x)), x - x.mean()], axis=1)
    weights = np.zeros(2)
    for _ in range(STEPS):
        probability = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (found - probability) - np.array([0.0, PRIOR]) * weights
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + np.diag([1e-6, PRIOR])
        step = np.clip(np.linalg.solve(curvature, gradient), -5, 5)
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0] - weights[1] * x.mean()), float(weights[1])
