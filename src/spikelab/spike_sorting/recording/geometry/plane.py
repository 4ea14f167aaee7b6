"""Find the plane of contacts that have three coordinates."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

logger = logging.getLogger(__name__)

AXES = "xyz"
# Positions are given in tenths of a micrometre at best.
FLAT_UM = 0.05
# Thickness of what counts as a plane, as a fraction of its extent: contacts measured in a scan.
FLAT_FRACTION = 0.01


def in_plane(places: NDArray[np.float64], parts: Sequence[IntArray], where: str) -> NDArray[np.float64]:
    """Return two coordinates of each contact, shape (channels, 2), in the plane that the contacts span.

    Axes that all contacts share are left out; contacts of a plane that is tilted are turned into it, distances kept.
    Probes that lie in planes of their own have coordinates of their own after that.

    Raises
    ------
    ValueError
        If the contacts of a probe do not lie in one plane.
    """
    if places.shape[1] == 2:
        return places
    plane = _common_plane(places, where)
    if plane is not None:
        return plane
    turned = np.full((len(places), 2), np.nan)
    for rows in parts:
        own = _common_plane(places[rows], where)
        if own is None or len(parts) == 1:
            raise ValueError(_no_plane(places, where))
        # The corner of each part is the origin, so that coordinates of different planes overlap and say they differ.
        known = own[np.isfinite(own).all(axis=1)]
        turned[rows] = own - (known.min(axis=0) if len(known) else 0.0)
    logger.info("%s has %d probes in planes of their own: positions are in those", where, len(parts))
    return turned


def _no_plane(places: NDArray[np.float64], where: str) -> str:
    known = places[np.isfinite(places).all(axis=1)]
    shown = ", ".join(f"{size:g} um along {axis}" for size, axis in zip(np.ptp(known, axis=0), AXES, strict=True))
    return (
        f"{where} has contacts that lie in no plane: they extend {shown}. Spikes are located in a plane: set "
        "probe_path to a probe file with two coordinates, or with the contacts of each plane as a probe"
    )


def _common_plane(places: NDArray[np.float64], where: str) -> NDArray[np.float64] | None:
    """Return coordinates in the plane of the contacts; None where they lie in none."""
    known = places[np.isfinite(places).all(axis=1)]
    extent = np.ptp(known, axis=0) if len(known) else np.zeros(3)
    moving = np.flatnonzero(extent > FLAT_UM)
    if len(moving) <= 2:
        kept = sorted({*moving.tolist(), *[axis for axis in range(3) if axis not in moving][: 2 - len(moving)]})
        if kept != [0, 1]:
            logger.info("%s has contacts in the plane %s", where, "-".join(AXES[axis] for axis in kept))
        return places[:, kept]
    middle = known.mean(axis=0)
    _, sizes, axes = np.linalg.svd(known - middle, full_matrices=False)
    if len(sizes) == 3 and sizes[2] > FLAT_FRACTION * sizes[0]:
        return None
    logger.info("%s has contacts in a tilted plane: positions are in that plane", where)
    # The axes point as the source's do, so that up stays up.
    plane = axes[:2] * np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    if np.abs(plane[0]).argmax() > np.abs(plane[1]).argmax():
        plane = plane[::-1]
    turned: NDArray[np.float64] = (places - middle) @ plane.T
    return turned
