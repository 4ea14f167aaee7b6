"""Which event channels of a file are of the stimulator: those at whose events pulses are seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

    Search = Callable[[Sequence[IntArray]], list[IntArray]]

MOST = 0.5  # share of the events of a channel at which a pulse has to be seen
FIRM_MS = (
    1.0  # spread of the middle half of the times from events to pulses, which a line of the stimulator stays below
)
SHARED = 0.9  # of the pulses of a channel which are another's, where they were met by accident


def of_stimulator(
    frames: list[IntArray], sites: list[IntArray], site_names: Sequence[str], search: Search, fs: float, label: str
) -> tuple[list[IntArray], list[IntArray]]:
    """Leave out the channels at most of whose events no pulse is seen, or only those of another channel; name them.

    `search` finds the onsets near frames of each segment. Each channel is searched alone, so that a camera's events do
    not stand between a pulse and its time.
    """
    channels = [_Channel(frames, sites, site, search, fs) for site in range(len(site_names))]
    unseen, by_chance = _not_the_stimulators(channels)
    _tell_left_out(label, ", ".join(site_names[site] for site in unseen), ", ".join(site_names[s] for s in by_chance))
    kept = [~np.isin(own, unseen + by_chance) for own in sites]
    return _chosen_of(frames, kept), _chosen_of(sites, kept)


def _not_the_stimulators(channels: list[_Channel]) -> tuple[list[int], list[int]]:
    """Return the channels near whose events nothing is seen, and those near which another's pulses are by chance."""
    unseen = [site for site, channel in enumerate(channels) if channel.seen < MOST]
    firm = [channel for channel in channels if channel.seen >= MOST and channel.spread_ms <= FIRM_MS]
    return unseen, [site for site, channel in enumerate(channels) if channel.sees_pulses_of(firm)]


def _tell_left_out(label: str, unseen: str, by_chance: str) -> None:
    if unseen:
        warn(f"{label}: nothing is seen in the traces at most events of {unseen}, which are not taken for pulses")
    if by_chance:
        warn(
            f"{label}: what is seen near the events of {by_chance} are pulses of another channel, at every distance: "
            "these events are not taken for pulses"
        )


def _chosen_of(values: list[IntArray], kept: Sequence[NDArray[np.bool_]]) -> list[IntArray]:
    return [own[keep] for own, keep in zip(values, kept, strict=True)]


class _Channel:
    """The events of one channel, searched without the others."""

    def __init__(
        self, frames: Sequence[IntArray], sites: Sequence[IntArray], site: int, search: Search, fs: float
    ) -> None:
        given = [own[of == site] for own, of in zip(frames, sites, strict=True)]
        found = search(given)
        self._onsets = {(i, frame) for i, own in enumerate(found) for frame in own[own >= 0].tolist()}
        late = np.concatenate([onsets - own for onsets, own in zip(found, given, strict=True)])
        late = late[np.concatenate(found) >= 0]
        self.seen = len(late) / max(1, sum(map(len, given)))  # share of the events
        low, high = np.quantile(late, [0.25, 0.75]) if len(late) else (0.0, 0.0)
        self.spread_ms = float(high - low) * 1000 / fs

    def sees_pulses_of(self, others: list[_Channel]) -> bool:
        """Tell whether pulses are seen near most of the events, at every distance, and are those of another channel."""
        by_chance = self.seen >= MOST and self.spread_ms > FIRM_MS
        return by_chance and any(self.shared(other) >= SHARED for other in others)

    def shared(self, other: _Channel) -> float:
        """Share of the pulses that are another channel's as well."""
        return len(self._onsets & other._onsets) / max(1, len(self._onsets))
