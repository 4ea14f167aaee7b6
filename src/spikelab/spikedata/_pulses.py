"""Stimulation pulses: ``metadata["stim_times_s"]``, and ``metadata["stim_sites"]`` where they have names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from spikelab.spikedata._base import BaseSpikeData

STIM_TIMES_KEY = "stim_times_s"  # onsets in seconds, on the clock of the data
STIM_SITES_KEY = "stim_sites"  # which site each was at


def stim_times(sd: BaseSpikeData, site: str | None = None) -> NDArray[np.float64]:
    """Return the onsets of the stimulation pulses.

    Parameters
    ----------
    sd : SpikeData
        Pulses are in its metadata where it was sorted with ``stim_times_s``.
    site : str, optional
        Those of one site only; without, a pulse of several sites at once counts once.

    Returns
    -------
    numpy.ndarray, shape (pulses,)
        In ms, on the clock of the data; empty where there are none.

    Raises
    ------
    ValueError
        No pulse has this site.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> about = {"stim_times_s": [0.1, 0.2, 0.3], "stim_sites": ["A", "B", "A"]}
    >>> sd = SpikeData([[110, 215, 309]], length=1000, metadata=about)
    >>> sd.stim_times().tolist(), sd.stim_times("A").tolist()
    ([100.0, 200.0, 300.0], [100.0, 300.0])
    """
    times = 1000 * np.asarray(sd.metadata.get(STIM_TIMES_KEY, ()), dtype=np.float64)
    if site is None:
        return np.unique(times)
    sites = [str(name) for name in sd.metadata.get(STIM_SITES_KEY, ())]
    if site not in sites:
        known = ", ".join(map(repr, sorted(set(sites)))) or "none"
        raise ValueError(f"no pulse has the site {site!r}; the sites are: {known}")
    return times[[name == site for name in sites]]


def cut_pulses(metadata: Mapping[str, Any], start: float, end: float, shift: float) -> dict[str, Any]:
    """Return the entries of the metadata for the time from `start` to `end`, moved by `shift` (ms)."""
    times = np.asarray(metadata.get(STIM_TIMES_KEY, ()), dtype=np.float64)
    kept = np.flatnonzero((1000 * times >= start) & (1000 * times < end))
    return _entries(
        (1000 * times[kept] + shift) / 1000, [metadata[STIM_SITES_KEY][i] for i in kept] if _named(metadata) else []
    )


def joined_pulses(first: Mapping[str, Any], second: Mapping[str, Any], shift: float) -> dict[str, Any]:
    """Return the entries for two recordings in a row, the second of which is moved by `shift` (ms)."""
    times = [np.asarray(part.get(STIM_TIMES_KEY, ()), dtype=np.float64) for part in (first, second)]
    sites = [
        list(part[STIM_SITES_KEY]) if _named(part) else [""] * len(own)
        for part, own in zip((first, second), times, strict=True)
    ]
    return _entries(np.concatenate([times[0], (1000 * times[1] + shift) / 1000]), sites[0] + sites[1])


def _named(metadata: Mapping[str, Any]) -> bool:
    return len(metadata.get(STIM_SITES_KEY, ())) == len(metadata.get(STIM_TIMES_KEY, ())) > 0


def _entries(times: NDArray[np.float64], sites: list[Any]) -> dict[str, Any]:
    if not len(times):
        return {}
    return {STIM_TIMES_KEY: times.tolist()} | ({STIM_SITES_KEY: sites} if any(sites) else {})
