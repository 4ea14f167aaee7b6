"""When units fire, and with what amplitude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.rt_sort_recipes import Recipe

REFRACTORY_MS = 2.0
AMPLITUDE_JITTER = 0.04
BURST_SPIKES = (2, 6)
BURST_INTERVAL_MS = (3.0, 8.0)
BURST_SHARE = 0.7  # of the events of a bursting unit; the others are single spikes
BURST_DECAY = (0.75, 0.9)  # amplitude from one spike of a burst to the next ...
BURST_FLOOR = 0.5  # ... down to this
RECOVERY_MS = 10.0  # a spike after a longer pause has its full amplitude
NETWORK_WIDTHS = 2.5  # a network burst lasts so many standard deviations to both sides


def firing_rates(recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float64]:
    """Log-uniform, of all units, in spikes per second."""
    rates: NDArray[np.float64] = np.exp(rng.uniform(*np.log(recipe.rates_hz), recipe.units))
    return rates


def spike_times(
    recipe: Recipe, rate: float, bursts: bool, network: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Seconds of the spikes: single ones or bursts, and those of the network bursts; never closer than 2 ms."""
    low, high = BURST_SPIKES
    per_event = 1 + BURST_SHARE * ((low + high) / 2 - 1) if bursts else 1.0
    starts = rng.uniform(0, recipe.seconds, rng.poisson(rate * recipe.seconds / per_event))
    times = [starts]
    if bursts:
        sizes = np.where(rng.random(len(starts)) < BURST_SHARE, rng.integers(low, high + 1, len(starts)), 1)
        intervals = rng.uniform(*BURST_INTERVAL_MS, (len(starts), high - 1)) / 1e3
        later = starts[:, None] + np.cumsum(intervals, axis=1)
        times.append(later[np.arange(1, high) < sizes[:, None]])
    joined = network[rng.random(len(network)) < recipe.network.share]
    least, most = recipe.network.spikes
    centres = np.repeat(joined, rng.integers(least, most + 1, len(joined)))
    times.append(rng.normal(centres, recipe.network.width_ms / 1e3))
    return _refractory(np.sort(np.concatenate(times)), recipe.seconds)


def _refractory(times: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    kept: list[float] = []
    for time in times:
        if 0.01 < time < seconds - 0.01 and (not kept or time - kept[-1] >= REFRACTORY_MS / 1e3):
            kept.append(time)
    return np.array(kept)


def spike_amplitudes(times: NDArray[np.float64], bursts: bool, rng: np.random.Generator) -> NDArray[np.float64]:
    """Relative amplitudes: they vary a little, and those of bursting units fall during a burst."""
    decay = rng.uniform(*BURST_DECAY) if bursts else 1.0
    amplitudes = np.ones(len(times))
    for i in np.flatnonzero(np.diff(times) < RECOVERY_MS / 1e3) + 1:
        amplitudes[i] = max(BURST_FLOOR, amplitudes[i - 1] * decay)
    return amplitudes * rng.normal(1, AMPLITUDE_JITTER, len(times))


def burst_periods(recipe: Recipe, network: NDArray[np.float64]) -> list[tuple[int, int]]:
    """First and last frame of each network burst."""
    reach = NETWORK_WIDTHS * recipe.network.width_ms / 1e3
    around = np.sort(network)[:, None] + np.array([-reach, reach])
    return [(int(start), int(end)) for start, end in np.rint(around.clip(0, recipe.seconds) * recipe.fs)]
