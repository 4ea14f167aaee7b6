"""What a failure of the sorter means, given the check of the signal before the sort.

Sorters say the same words of silence, of dead channels and of a wrong gain: the check of the signal tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
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

# Largest value of noise alone in the sampled blocks, 100 000 frames of each channel, in standard deviations of noise.
NOISE_REACHES = 6.5


@dataclass(frozen=True)
class SignalCheck:
    """Result of the check of the signal, from the report of the recording stage.

    Attributes
    ----------
    n_channels, n_dead : int
        All channels, and those that never change or sit on a rail.
    doubts : str
        Why the values cannot be microvolts; "" where they may be.
    is_silent : bool
        Whether no value stands out of the noise.
    """

    n_channels: int
    n_dead: int
    doubts: str
    is_silent: bool

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> SignalCheck | None:
        """Read the report; None where an earlier version wrote it, without the values that are needed."""
        try:
            noise = np.asarray(report["noise_uv"], dtype=np.float64)
            largest = float(report["max_abs_uv"])
            n_dead = len(report["flat_channels"]) + len(report["saturated_channels"])
        except (KeyError, TypeError, ValueError):
            return None
        alive = noise[noise > 0]
        doubts = doubts_about_the_unit(largest, alive)
        is_silent = alive.size > 0 and largest <= NOISE_REACHES * float(alive.max())
        return cls(noise.size, n_dead, "; ".join(doubts), is_silent)

    @property
    def is_dead(self) -> bool:
        """Whether at most one of several channels is alive."""
        return self.n_channels > 1 and self.n_dead >= self.n_channels - 1


def diagnose(
    known: SpikeSortingClassifiedError | None, sorter: str, folder: Path, error: Exception, report: Mapping[str, Any]
) -> Exception | None:
    """Return what the failure means.

    Parameters
    ----------
    known : SpikeSortingClassifiedError or None
        What the words alone mean.
    sorter, folder, error
        As for :func:`~spikelab.spike_sorting.failures.classifier.classify_failure`.
    report : mapping
        Of the recording stage.

    Returns
    -------
    Exception or None
        Where words mean too little activity: `SaturatedSignalError` if at most one channel is alive, ValueError if the
        traces cannot be microvolts. Words that prove nothing mean too little activity where nothing stands out of the
        noise, else None. All else stays as it is.
    """
    signal = SignalCheck.from_report(report)
    if signal is None or not (known is None or isinstance(known, InsufficientActivityError | NoGoodChannelsError)):
        return known
    inactivity = known or classify_without_activity(sorter, folder, error)
    if inactivity is None:
        return None
    if signal.is_dead:
        return SaturatedSignalError(
            f"{signal.n_dead} of {signal.n_channels} channels are flat or saturated, and {sorter} found too little on "
            "the rest. Check first that the file is read with the right type, gain and channels; then look for lost "
            "fluid contact, a disconnected array or an amplifier that was off",
            channels_saturated=signal.n_dead,
            total_channels=signal.n_channels,
        )
    if signal.doubts:
        return ValueError(f"{sorter} found too little activity, and {signal.doubts}")
    return inactivity if known is not None or signal.is_silent else None
