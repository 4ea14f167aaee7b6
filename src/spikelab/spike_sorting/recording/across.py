"""What follows the band-pass of a recording: channels interpolated, columns high-passed, references subtracted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.filters.steps import Steps
from spikelab.spike_sorting.recording.geometry import geometry_of
from spikelab.spike_sorting.recording.geometry.columns import along, by_shank, depths, in_columns, is_known
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import Geometry, IntArray
    from spikelab.spike_sorting.settings.schema import RecordingConfig

# A local reference is taken over the electrodes in a ring, as CatGT's -loccar_um=40,140: outside the neuron that is
# largest on the channel, and near. Where it has few electrodes, so many of the nearest beyond its inner edge are taken.
RING_UM, FEWEST_IN_RING = (40.0, 140.0), 5
INTERPOLATED = "spikelab_interpolated"
# Exponent of SpikeInterface's weights, with the usual distance between rows as their unit.
INTERPOLATION_POWER = 1.3


def across_channels(
    filtered: BaseRecording, config: RecordingConfig, interpolated: Collection[str], where: str
) -> BaseRecording:
    """Interpolate channels, high-pass along columns and subtract the reference, as far as the settings ask for it.

    Raises
    ------
    ValueError
        If the electrodes do not lie as a step needs; the message says what was found and which setting to change.
    """
    geometry = geometry_of(filtered)
    rows = np.flatnonzero([str(channel) in interpolated for channel in filtered.channel_ids])
    steps = Steps(
        order=along(geometry).tolist(),
        interpolated=rows.tolist(),
        weights=interpolation_weights(geometry, rows).tolist(),
        columns=_columns(geometry, where) if config.spatial_filter else [],
        references=_references(geometry, config.reference_by, where) if config.common_reference else [],
        operator=config.common_reference or "median",
    )
    if not (steps.interpolated or steps.columns or steps.references):
        return filtered
    from spikelab.spike_sorting.filters.across_channels import AcrossChannelsRecording

    across = AcrossChannelsRecording.of(filtered, steps)
    across.set_property(INTERPOLATED, np.isin(np.arange(len(geometry.groups)), rows))
    return across


def interpolable(geometry: Geometry, names: list[str], bad: Collection[str]) -> frozenset[str]:
    """Return those of the bad channels that have good ones near enough; ValueError where places are unknown."""
    if not is_known(geometry):
        raise ValueError(
            "bad_channels_action='interpolate' needs to know where the electrodes are: set probe_path to a probe file, "
            "or bad_channels_action to 'drop'"
        )
    rows = np.flatnonzero([name in bad for name in names])
    near = interpolation_weights(geometry, rows).any(axis=1)
    return frozenset(names[row] for row in rows[near])


def interpolation_weights(geometry: Geometry, rows: IntArray) -> NDArray[np.float32]:
    """Return the weights of all channels for each of `rows`, shape (rows, channels), by distance, as SpikeInterface.

    Only channels of its group count that are not in `rows` themselves; all weights are zero where none is near enough.
    """
    from spikeinterface.preprocessing.preprocessing_tools import get_kriging_channel_weights

    weights = np.zeros((len(rows), len(geometry.groups)), dtype=np.float32)
    in_order = along(geometry)
    for channels in (in_order[geometry.groups[in_order] == group] for group in range(geometry.n_groups)):
        bad = channels[np.isin(channels, rows)]
        good = channels[~np.isin(channels, rows)]
        if len(bad) and len(good):
            pitch = _usual_step(geometry.places[channels])
            near = get_kriging_channel_weights(geometry.places[good], geometry.places[bad], pitch, INTERPOLATION_POWER)
            weights[np.ix_(np.searchsorted(rows, bad), good)] = near.T
    return weights


def _usual_step(places: NDArray[np.float64]) -> float:
    """Return the most common distance between rows of electrodes."""
    rows = np.unique(np.round(depths(places), 3))
    steps, counts = np.unique(np.round(np.diff(rows), 3), return_counts=True)
    return float(steps[np.argmax(counts)]) if len(steps) else 1.0


def _columns(geometry: Geometry, where: str) -> list[list[int]]:
    shanks = by_shank(geometry)
    if not is_known(geometry):
        raise ValueError(
            f"{where} does not say where its electrodes are, which spatial_filter needs: set probe_path to a probe "
            "file, or spatial_filter to None"
        )
    found = in_columns(shanks)
    if not found.any():
        raise ValueError(
            f"the electrodes of {where} do not lie in columns, along which spatial_filter works: set it to None; "
            "common_reference='median' removes what all electrodes have in common"
        )
    short = [name for name, column in zip(shanks.group_names, found, strict=True) if not column]
    if short:
        warn(f"spatial_filter leaves out what forms no column, too short or too wide: {', '.join(short)} of {where}")
    return [channels for channels, column in zip(_in_order(shanks), found, strict=True) if column]


def _in_order(geometry: Geometry) -> list[list[int]]:
    """Return the channels of each group, along it."""
    order = along(geometry)
    return [order[geometry.groups[order] == group].tolist() for group in range(geometry.n_groups)]


def _references(geometry: Geometry, by: str, where: str) -> list[tuple[list[int], list[int]]]:
    """Return channels, and those whose median or average is subtracted from them."""
    geometry = _grouped(geometry, by, where)
    sets = _in_order(geometry)
    for name, channels in zip(geometry.group_names, sets, strict=True):
        if len(channels) == 1:
            only = f"the only channel of {name}" if name else "the only channel"
            raise ValueError(f"common_reference would leave nothing of {only}: set it to None")
    if by != "local":
        return [(channels, channels) for channels in sets]
    return [([channel], _ring(geometry.places, channel, channels)) for channels in sets for channel in channels]


def _grouped(geometry: Geometry, by: str, where: str) -> Geometry:
    """Return a geometry whose groups have a reference each; ValueError where it does not say enough."""
    if by == "shank":
        if not all(geometry.shanks):
            raise ValueError(
                f"reference_by='shank', but {where} does not say on which shank its electrodes are: set reference_by "
                "to 'group' or 'all', or probe_path to a probe file that has shanks"
            )
        return by_shank(geometry)
    if by == "local" and not is_known(geometry):
        raise ValueError(
            f"reference_by='local', but {where} does not say where its electrodes are: set probe_path to a probe file"
        )
    return type(geometry).of(geometry.places) if by == "all" else geometry


def _ring(places: NDArray[np.float64], channel: int, group: list[int]) -> list[int]:
    """Return the channels of a group in the ring around one of them, or the nearest beyond its inner edge."""
    inner, outer = RING_UM
    distances = np.linalg.norm(places[group] - places[channel], axis=1)
    beyond = distances > inner
    in_ring = beyond & (distances <= outer)
    if in_ring.sum() < FEWEST_IN_RING:
        farthest = np.sort(distances[beyond])[:FEWEST_IN_RING]
        in_ring = beyond & (distances <= (farthest[-1] if len(farthest) else 0.0))
    return [other for other, taken in zip(group, in_ring, strict=True) if taken]
