"""Meaning of a failure of the sorter, given the check of the signal before the sort.

Sorters have the same words for silence, dead channels and a wrong gain: the check of the signal distinguishes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._exceptions import (
    InsufficientActivityError,
    NoGoodChannelsError,
    SaturatedSignalError,
    SpikeSortingClassifiedError,
)
from spikelab.spike_sorting.failures.classifier import classify_without_activity
from spikelab.spike_sorting.recording.signal_checks import doubts_about_the_unit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

# Largest value of noise alone in the sampled blocks, 100 000 frames of each channel, in standard deviations of noise.
NOISE_REACHES = 6.5


def diagnose(
    known: SpikeSortingClassifiedError | None, sorter: str, folder: Path, error: Exception, report: Mapping[str, Any]
) -> Exception | None:
    """Return what a failure means whose words mean `known`, with the report of the recording stage.

    Where words mean too little activity: `SaturatedSignalError` if at most one channel is alive, ValueError if the
    traces cannot be microvolts. Words that prove nothing mean too little activity where nothing stands out of the
    noise, else None. All else stays as it is.
    """
    if not (known is None or isinstance(known, InsufficientActivityError | NoGoodChannelsError)):
        return known
    try:
        noise, largest = np.asarray(report["noise_uv"], dtype=np.float64), float(report["max_abs_uv"])
        n_dead = len(report["flat_channels"]) + len(report["saturated_channels"])
    except (KeyError, TypeError, ValueError):  # an earlier version wrote the report
        return known
    inactivity = known or classify_without_activity(sorter, folder, error)
    if inactivity is None:
        return None
    if (wrong := _wrong_signal(sorter, noise, largest, n_dead)) is not None:
        return wrong
    loudest = float(noise[noise > 0].max(initial=0.0))
    is_silent = loudest > 0 and largest <= NOISE_REACHES * loudest
    return inactivity if known is not None or is_silent else None


def _wrong_signal(sorter: str, noise: NDArray[np.float64], largest: float, n_dead: int) -> Exception | None:
    """Return the error of a signal with dead channels, or in another unit than microvolts; None of any other signal."""
    if noise.size > 1 and n_dead >= noise.size - 1:
        return SaturatedSignalError(
            f"{n_dead} of {noise.size} channels are flat or saturated, and {sorter} found too little on the rest. "
            "Check first that the file is read with the right type, gain and channels; then look for lost fluid "
            "contact, a disconnected array or an amplifier that was off",
            channels_saturated=n_dead,
            total_channels=noise.size,
        )
    doubts = doubts_about_the_unit(largest, noise[noise > 0])
    return ValueError(f"{sorter} found too little activity, and {'; '.join(doubts)}") if doubts else None
