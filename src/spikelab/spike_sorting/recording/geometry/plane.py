"""Find the plane of contacts that have three coordinates."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

AXES = "xyz"
# Positions are given in tenths of a micrometre at best.
FLAT_UM = 0.05
# Thickness of what counts as a plane, as a fraction of its extent: contacts measured in a scan.
FLAT_FRACTION = 0.01


def in_plane(places: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """Return two coordinates of each contact, shape (channels, 2), in the plane that the contacts span.

    Axes that all contacts share are left out; contacts of a plane that is tilted are turned into it, distances kept.

    Raises
    ------
    ValueError
        If the contacts do not lie in one plane.
    """
    if places.shape[1] == 2:
        return places
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
    if sizes[2] > FLAT_FRACTION * sizes[1]:
        shown = ", ".join(f"{size:g} um along {axis}" for size, axis in zip(extent, AXES, strict=True))
        raise ValueError(
            f"{where} has contacts that lie in no plane: they extend {shown}. Spikes are located in a plane: give each "
            "probe or shank a group of its own, or set probe_path to a probe file with two coordinates"
        )
    logger.info("%s has contacts in a tilted plane: positions are in that plane", where)
    # The axes point as the source's do, so that up stays up.
    plane = axes[:2] * np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    if np.abs(plane[0]).argmax() > np.abs(plane[1]).argmax():
        plane = plane[::-1]
    turned: NDArray[np.float64] = (places - middle) @ plane.T
    return turned
