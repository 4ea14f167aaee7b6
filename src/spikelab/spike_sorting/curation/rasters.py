"""Activity over time as figures and report draw it: a raster, or a map of rates where spikes would fill the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spikedata import SpikeData

COLUMNS = 1200  # of a raster
FULL = 0.35  # share of filled columns from which single spikes cannot be told apart any more
SPIKES_PER_COLUMN = 5.0  # of a unit, on average, in a map of rates
FEWEST, MOST = 60, 400  # columns of a map of rates
TALL = 4.0  # ratio of height to width of a probe that is a column


@dataclass(frozen=True)
class ActivityMap:
    """Spikes of units over time."""

    order: list[int]  # positions of the units, from top to bottom
    darkness: NDArray[np.float64]  # 0 (no spike) to 1, shape (units, columns), in this order
    is_rate: bool  # whether a row shows its unit's rate, up to the fullest of its own columns, rather than spikes
    by_depth: bool  # whether the order is that of the places on the probe
    column_s: float


def activity_map(sd: SpikeData) -> ActivityMap:
    """Count the spikes of each unit in columns: as a raster, or as rates where a raster would be a grey area."""
    order, by_depth = row_order(sd)
    length = max(sd.length, 1.0)
    counts = sd.raster(length / COLUMNS)[order].astype(np.float64)
    is_rate = bool(counts.size) and float((counts > 0).mean()) > FULL
    if is_rate:
        columns = int(np.clip(counts.sum(axis=1).mean() / SPIKES_PER_COLUMN, FEWEST, MOST))
        counts = sd.raster(length / columns)[order].astype(np.float64)
        darkness = counts / np.maximum(counts.max(axis=1, keepdims=True), 1.0)
    else:
        darkness = _spikes(counts)
    return ActivityMap(order, darkness, is_rate, by_depth, length / 1000 / max(counts.shape[1], 1))


def _spikes(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shade the columns: a single spike is visible, the fullest ones are black."""
    filled = counts[counts > 0]
    full = max(float(np.percentile(filled, 99)) if len(filled) else 1.0, 1.0)
    return np.where(counts > 0, 0.45 + 0.55 * np.clip((counts - 1) / max(full - 1, 1), 0, 1), 0.0)


def row_order(sd: SpikeData) -> tuple[list[int], bool]:
    """Order the units from the top of the probe down where it is a column, else leave them; tells which it is."""
    locations = np.asarray(sd.metadata.get("channel_locations", ()), dtype=np.float64).reshape(-1, 2)
    rows = list(range(sd.N))
    heights = [float(unit.get("y", np.nan)) for unit in sd.unit_attributes]
    if len(locations) < 2 or not np.isfinite(heights).all():
        return rows, False
    width, height = np.ptp(locations, axis=0)
    if height <= TALL * width:
        return rows, False
    return sorted(rows, key=lambda row: -heights[row]), True
