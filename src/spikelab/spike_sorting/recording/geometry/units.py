"""Bring positions to micrometres where the source's unit of length cannot be true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

# Distances between neighbouring electrodes of the probes and arrays there are: 5 um (high density) to 2 mm (ECoG).
PITCHES_UM = (5.0, 2000.0)
# Below this no two electrodes of one probe lie.
CLOSEST_UM = 1.0
# Slack for pitches of 5 um whose positions were measured or rounded.
PITCH_ERROR_UM = 1.0
OTHER_UNITS = {"mm": 1e3, "m": 1e6}


def in_micrometres(places: NDArray[np.float64], parts: Sequence[IntArray], where: str) -> NDArray[np.float64]:
    """Return positions in micrometres: as given, or converted where only another unit can be meant.

    Parameters
    ----------
    places : numpy.ndarray of float64, shape (channels, 2 or 3)
        In what the source calls micrometres; NaN where unknown.
    parts : sequence of numpy.ndarray
        Channels of each part of the array that may have coordinates of its own.
    where : str
        Name of the recording, for messages.

    Raises
    ------
    ValueError
        If no unit, or more than one, gives distances that electrodes have.

    Warns
    -----
    UserWarning
        If they are converted, or nearer to each other than those of any probe.
    """
    pitch = _pitch_in(places, parts)
    if pitch is None or pitch >= PITCHES_UM[0] - PITCH_ERROR_UM:
        return places
    if pitch >= CLOSEST_UM:
        warn(
            f"{where} has electrodes {pitch:g} um apart, nearer than those of any probe: their positions are used as "
            "they are. If they are in mm, or only numbers, set probe_path to a probe file with positions and si_units"
        )
        return places
    likely = [unit for unit, factor in OTHER_UNITS.items() if PITCHES_UM[0] <= pitch * factor <= PITCHES_UM[1]]
    if len(likely) != 1:
        readings = ", or ".join(f"{pitch * factor:g} um in {unit}" for unit, factor in OTHER_UNITS.items())
        raise ValueError(
            f"{where} has electrodes {pitch:g} um apart, which none are. It would be {readings}: set probe_path to a "
            "probe file whose si_units say which"
        )
    warn(
        f"{where} has electrodes {pitch:g} um apart, which none are: their positions are taken to be in {likely[0]}, "
        f"which makes it {pitch * OTHER_UNITS[likely[0]]:g} um. Set probe_path to a probe file with si_units if not"
    )
    return places * OTHER_UNITS[likely[0]]


def _pitch_in(places: NDArray[np.float64], parts: Sequence[IntArray]) -> float | None:
    pitches = [pitch for rows in parts if (pitch := median_pitch(places[rows])) is not None]
    return float(np.median(pitches)) if pitches else median_pitch(places)


def median_pitch(places: NDArray[np.float64]) -> float | None:
    """Return the median distance of an electrode to the nearest at another place; None with fewer than two places."""
    from scipy.spatial import cKDTree

    known = np.unique(places[np.isfinite(places).all(axis=1)], axis=0)
    if len(known) < 2:
        return None
    distances = np.asarray(cKDTree(known).query(known, k=2)[0])
    return float(np.median(distances[:, 1]))
