"""Read, check and complete the geometry of a recording, and keep it with the channels of a SpikeInterface recording."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data import Geometry
from spikelab.spike_sorting.recording.geometry.electrodes import read_electrodes
from spikelab.spike_sorting.recording.geometry.groups import GAP_UM, groups_of, laid_out, rows_of_labels
from spikelab.spike_sorting.recording.geometry.plane import in_plane
from spikelab.spike_sorting.recording.geometry.units import in_micrometres
from spikelab.spike_sorting.recording.metadata_checks import require_distinct
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import IntArray

logger = logging.getLogger(__name__)

PREFIX = "spikelab_"
TEXTS = ("probes", "shanks", "sides", "contacts")
# Channels of a named group without places are wires of one bundle, up to a tetrode twice over.
LARGEST_BUNDLE = 8
BUNDLE_PITCH_UM = 20.0
TOGETHER = "together"
FLIP_ABOUT_MAXIMUM = -1


def read_geometry(recording: BaseRecording, where: str, electrode_groups: str = "auto") -> Geometry:
    """Read where the electrodes of a recording are, check it, and complete what is missing.

    Parameters
    ----------
    recording : BaseRecording
        As it was opened.
    where : str
        Name of the recording, for messages.
    electrode_groups : {"auto", "together"}
        Whether probes, shanks and groups that are apart are sorted apart, or all channels as one group.

    Raises
    ------
    ValueError
        If positions are impossible or can be understood in two ways, or those of a shank are not known.

    Warns
    -----
    UserWarning
        If places or their unit of length were assumed, or groups laid side by side.
    """
    electrodes = read_electrodes(recording)
    sets = list(rows_of_labels(electrodes.labels).values())
    probes = list(rows_of_labels([label[:1] for label in electrodes.labels]).values())
    own = in_plane(in_micrometres(electrodes.places, sets, where), probes, where)
    if electrode_groups == TOGETHER:
        groups: IntArray = np.zeros(len(own), dtype=np.int64)
        names: tuple[str, ...] = ("",)
    else:
        groups, names = groups_of(electrodes, own)
    channels = np.asarray(recording.channel_ids)
    for number in range(len(names)):
        require_distinct(own[groups == number], channels[groups == number].tolist(), where)
    _require_places(own, groups, names, where)
    filled = _filled(own, groups, named=len(names) > 1, where=where)
    places = laid_out(filled, groups)
    if len(names) > 1:
        has_place = np.isfinite(own).all(axis=1)
        _tell_groups(where, groups, names, moved=not np.array_equal(places[has_place], filled[has_place]))
    return Geometry(
        places, own, groups, names, electrodes.probes, electrodes.shanks, electrodes.sides, electrodes.contacts
    )


def _tell_groups(where: str, groups: IntArray, names: tuple[str, ...], *, moved: bool) -> None:
    listed = ", ".join(f"{name} ({int((groups == number).sum())})" for number, name in enumerate(names))
    told = f"{where} has {len(names)} groups of channels, which are sorted apart: {listed}"
    if moved:
        warn(
            f"{told}. Their positions overlap, as each has coordinates of its own: they are laid side by side, "
            f"{GAP_UM:g} um apart. Set electrode_groups='{TOGETHER}' if the positions are those of one probe"
        )
    else:
        logger.info("%s", told)


def _require_places(places: NDArray[np.float64], groups: IntArray, names: tuple[str, ...], where: str) -> None:
    """Refuse groups of more channels than a bundle of wires has, of which no place is known."""
    missing = np.asarray(~np.isfinite(places).all(axis=1))
    sizes = {name: int((groups == number).sum()) for number, name in enumerate(names)}
    unknown = [name for number, name in enumerate(names) if missing[groups == number].all()]
    large = [f"{name} ({sizes[name]})" for name in unknown if sizes[name] > LARGEST_BUNDLE]
    if large and len(names) > 1:
        raise ValueError(
            f"{where} does not say where the electrodes of these groups of channels are: {', '.join(large)}; expected "
            f"places, as groups of more than {LARGEST_BUNDLE} are no bundles of wires, and neighbours on a shank see "
            f"the same neurons. Set probe_path to a probe file, or electrode_groups='{TOGETHER}' to sort each channel "
            "on its own"
        )


def _filled(places: NDArray[np.float64], groups: IntArray, *, named: bool, where: str) -> NDArray[np.float64]:
    """Give places to channels without one: near to each other in small named groups, else apart."""
    missing = np.asarray(~np.isfinite(places).all(axis=1))
    if not missing.any():
        return places
    filled, apart = places.copy(), missing.copy()
    for number in range(int(groups.max()) + 1):
        own = groups == number
        if named and missing[own].all() and 1 < own.sum() <= LARGEST_BUNDLE:
            step = np.arange(int(own.sum()))
            filled[own] = BUNDLE_PITCH_UM * np.column_stack([step % 2, step // 2])
            apart &= ~own
    if apart.any():
        known = filled[~apart]
        low = float(known[:, 1].max()) + GAP_UM if len(known) else 0.0
        filled[apart] = np.column_stack([np.zeros(int(apart.sum())), low + GAP_UM * np.arange(int(apart.sum()))])
    _warn_of_assumed(missing, apart, where)
    return filled


def _warn_of_assumed(missing: NDArray[np.bool_], apart: NDArray[np.bool_], where: str) -> None:
    n_channels = len(missing)
    some = "its electrodes are" if missing.all() else f"{int(missing.sum())} of its {n_channels} electrodes are"
    if apart.any():
        assumed = f"{GAP_UM:g} um apart, so that each channel is sorted on its own"
        unless = "they are closer"
    else:
        assumed = f"the wires of one bundle in each group, {BUNDLE_PITCH_UM:g} um apart"
        unless = "not"
    warn(
        f"{where} does not say where {some}: they are taken to be {assumed}. Set probe_path to a probe file if {unless}"
    )


def flipped(geometry: Geometry, mea_y_max: float | None) -> Geometry:
    """Turn the array upside down: y becomes ``mea_y_max - y``; -1 is the largest y, None is no flip."""
    if mea_y_max is None:
        return geometry
    top = float(geometry.places[:, 1].max()) if mea_y_max == FLIP_ABOUT_MAXIMUM else mea_y_max
    return replace(geometry, places=np.column_stack([geometry.places[:, 0], top - geometry.places[:, 1]]))


def place(recording: BaseRecording, geometry: Geometry) -> None:
    """Set the geometry of a recording, in place: it stays with the channels where some are selected."""
    properties = {
        "place": geometry.places,
        "own_place": geometry.own_places,
        "group": np.array(geometry.names_of_channels()),
        **{name: np.array(getattr(geometry, name)) for name in TEXTS},
    }
    for name, values in properties.items():
        recording.set_property(PREFIX + name, values)


def geometry_of(recording: BaseRecording) -> Geometry:
    """Return the geometry that :func:`place` set; without one, the positions of the recording as one group."""
    places = recording.get_property(PREFIX + "place")
    if places is None:
        return Geometry.of(np.asarray(recording.get_channel_locations(), dtype=np.float64)[:, :2])
    of_channels = [str(name) for name in recording.get_property(PREFIX + "group")]
    names = tuple(dict.fromkeys(of_channels))
    return Geometry(
        places,
        recording.get_property(PREFIX + "own_place"),
        np.array([names.index(name) for name in of_channels], dtype=np.int64),
        names,
        *(tuple(map(str, recording.get_property(PREFIX + name))) for name in TEXTS),
    )
