"""Draw electrodes as text, for a terminal: one letter for each group of channels that is sorted apart."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.recording.geometry.units import median_pitch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Geometry

COLUMNS, ROWS = 60, 14
NAMED = 8  # groups that the legend names
LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
SEVERAL = "*"  # groups in one cell


def text_map(geometry: Geometry) -> str:
    """Draw where electrodes are, y upwards, in at most 20 lines of 80 characters; the axes have scales of their own."""
    places, groups = geometry.places, geometry.groups
    pitch = median_pitch(places) or 1.0
    column, n_columns = _cells(places[:, 0], pitch, COLUMNS)
    row, n_rows = _cells(places[:, 1], pitch, ROWS)
    grid = np.full((n_rows, n_columns), " ")
    for x, y, group in zip(column.tolist(), row.tolist(), groups.tolist(), strict=True):
        letter = letter_of(group)
        grid[y, x] = letter if grid[y, x] in (" ", letter) else SEVERAL
    (left, low), (right, high) = places.min(axis=0), places.max(axis=0)
    lines = [f"  |{''.join(line).rstrip()}" for line in grid[::-1]]
    scale = f"x {left:g} to {right:g} um, y {low:g} (below) to {high:g} um"
    return "\n".join([*lines, f"  +{'-' * n_columns}", f"   {scale}", *_legend(geometry)])


def letter_of(group: int) -> str:
    """Return the letter of a group; after 62 groups letters come again."""
    return LETTERS[group % len(LETTERS)]


def _cells(values: NDArray[np.float64], pitch: float, most: int) -> tuple[NDArray[np.int64], int]:
    """Return the cell of each value along an axis, and the number of cells: one for each place, if they fit."""
    different = np.unique(np.round(values, 3))
    extent = float(different[-1] - different[0])
    if not extent:
        return np.zeros(len(values), dtype=np.int64), 1
    n_cells = min(most, round(extent / min(pitch, float(np.diff(different).min()))) + 1)
    return np.rint((values - different[0]) / extent * (n_cells - 1)).astype(np.int64), n_cells


def _legend(geometry: Geometry) -> list[str]:
    if geometry.n_groups < 2:
        return [f"   {LETTERS[0]}: {len(geometry.groups)} electrodes, sorted together"]
    sizes = np.bincount(geometry.groups).tolist()
    named = [
        f"{letter_of(group)}: {name} ({size})"
        for group, (name, size) in enumerate(zip(geometry.group_names, sizes, strict=True))
    ]
    more = f", and {len(named) - NAMED} more" if len(named) > NAMED else ""
    halves = [named[:NAMED][: NAMED // 2], named[:NAMED][NAMED // 2 :]]
    lines = [f"   {', '.join(half)}" for half in halves if half]
    return [f"   {geometry.n_groups} groups, sorted apart:", *lines[:-1], lines[-1] + more]
