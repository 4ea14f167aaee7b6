"""MaxWell files: wells, recordings, and which row of the file belongs to which channel.

Two layouts exist. Legacy MaxOne files (version 20160704) have ``sig`` and ``mapping`` at the top; newer MaxOne and
MaxTwo files have ``wells/<well>/<recording>/groups/routed/raw``. A 24-well plate has one recording per row of wells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

    from spikelab.spike_sorting._types import IntArray

LEGACY_WELL, LEGACY_RECORDING = "well000", "rec0000"
LEGACY_SAMPLING_FREQUENCY = 20_000.0
DEFAULT_AMPLIFIER_GAIN = 512.0


@dataclass(frozen=True)
class MaxwellLayout:
    """One recording of one well, and how to read it.

    Attributes
    ----------
    dataset : str
        Path of the raw counts inside the file, shape (rows, frames).
    rows : numpy.ndarray of int64, shape (channels,)
        Row of each channel.
    channels, electrodes : numpy.ndarray of int64, shape (channels,)
        Numbers of the amplifier channels and of the electrodes routed to them.
    locations : numpy.ndarray, shape (channels, 2)
        In micrometres.
    n_frames : int
        Length.
    sampling_frequency : float
        In Hz.
    gain_uv : float
        Microvolts per count.
    """

    dataset: str
    rows: IntArray
    channels: IntArray
    electrodes: IntArray
    locations: NDArray[np.float64]
    n_frames: int
    sampling_frequency: float
    gain_uv: float


def is_maxwell(file: Any) -> bool:
    """Say whether the open HDF5 file is MaxWell's."""
    return "wells" in file or {"mapping", "sig"} <= set(file)


def list_recordings(file: Any) -> dict[str, list[str]]:
    """Return the recordings of each well, ``{well: [recording, ...]}``, named as in the file."""
    if "wells" not in file:
        return {LEGACY_WELL: [LEGACY_RECORDING]}
    return {well: sorted(file["wells"][well]) for well in sorted(file["wells"])}


def choose(
    path: Path, recordings: dict[str, list[str]], stream_id: str | None, rec_name: str | None
) -> tuple[str, str]:
    """Choose the one well and recording that are meant.

    Parameters
    ----------
    path : Path
        For messages.
    recordings : dict
        From :func:`list_recordings`.
    stream_id, rec_name : str or None
        What was asked for; None where there is only one.

    Raises
    ------
    ValueError
        If there are several and none was asked for, or if there is no such well or recording.
    """
    if not recordings:
        raise ValueError(f"{path} has no wells")
    table = "; ".join(f"{well}: {', '.join(names) or 'nothing'}" for well, names in recordings.items())
    wells = [well for well, names in recordings.items() if rec_name is None or rec_name in names]
    if stream_id is None and len(wells) == 1:
        stream_id = wells[0]
    elif stream_id is None and not wells:
        raise ValueError(f"{path} has no recording {rec_name!r}. It has {table}")
    elif stream_id is None:
        raise ValueError(
            f"{path} has several wells; set stream_id to one of them, or use sort_multistream. It has {table}"
        )
    elif stream_id not in recordings:
        raise ValueError(f"{path} has no well {stream_id!r}. It has {table}")
    names = recordings[stream_id]
    if rec_name is None and len(names) == 1:
        return stream_id, names[0]
    if rec_name is None:
        raise ValueError(f"{path} has {len(names)} recordings of {stream_id}; set rec_name to one of {names}")
    if rec_name not in names:
        raise ValueError(f"{path} has no recording {rec_name!r} of {stream_id}. It has {table}")
    return stream_id, rec_name


def rows_of_channels(n_rows: int, mapped: IntArray, stored: IntArray | None = None) -> IntArray:
    """Return the row of the raw dataset for each connected channel.

    Parameters
    ----------
    n_rows : int
        Rows of the dataset.
    mapped : numpy.ndarray of int64
        ``mapping["channel"]``; negative where an electrode is not connected.
    stored : numpy.ndarray of int64, optional
        Channel of each row, where the file says so.

    Notes
    -----
    Files cut down after the recording have one row per entry of the mapping, in its order. Files as the device writes
    them have a row per amplifier channel (1024, and four with frame numbers), whatever is connected: there the row is
    the channel number.
    """
    connected = mapped[mapped >= 0]
    if stored is not None and len(stored) == n_rows and np.isin(connected, stored).all():
        order = np.argsort(stored, kind="stable")
        return np.asarray(order[np.searchsorted(stored, connected, sorter=order)], dtype=np.int64)
    if n_rows == len(mapped):
        return np.flatnonzero(mapped >= 0).astype(np.int64)
    if n_rows == len(connected):
        return np.arange(n_rows, dtype=np.int64)
    if len(connected) and connected.max() >= n_rows:
        raise ValueError(f"the mapping names channel {connected.max()}, but the data have {n_rows} rows")
    return connected


def read_layout(path: Path, file: Any, well: str, rec_name: str) -> MaxwellLayout:
    """Say where the data of one recording are, and what they mean.

    Raises
    ------
    ValueError
        If the recording has no raw traces (only spikes were stored), no connected channel, or lacks a part.
    """
    try:
        settings, mapping, dataset, stored = _parts(path, file, well, rec_name)
        raw = file[dataset]
    except KeyError as error:
        raise ValueError(f"{path} ({well}, {rec_name}) is incomplete: {error.args[0]}") from error
    mapped = np.asarray(mapping["channel"], dtype=np.int64)
    connected = mapping[mapped >= 0]
    if not len(connected):
        raise ValueError(f"{path} ({well}, {rec_name}) has no channel that is connected to an electrode")
    # A channel that is listed twice is one channel: its first electrode stands for it.
    first = np.sort(np.unique(connected["channel"], return_index=True)[1])
    try:
        rows = rows_of_channels(raw.shape[0], mapped, stored)[first]
    except ValueError as error:
        raise ValueError(f"{path} ({well}, {rec_name}): {error}") from error
    connected = connected[first]
    return MaxwellLayout(
        dataset=dataset,
        rows=rows,
        channels=connected["channel"].astype(np.int64),
        electrodes=connected["electrode"].astype(np.int64),
        locations=np.column_stack([connected["x"], connected["y"]]).astype(np.float64),
        n_frames=int(raw.shape[1]),
        sampling_frequency=float(settings["sampling"][0]) if "sampling" in settings else LEGACY_SAMPLING_FREQUENCY,
        gain_uv=_gain_uv(settings),
    )


def _parts(path: Path, file: Any, well: str, rec_name: str) -> tuple[Any, Any, str, IntArray | None]:
    """Return settings, mapping, path of the raw dataset, and the channel of each row where the file says so."""
    if "wells" not in file:
        return file.get("settings", {}), file["mapping"][()], "sig", None
    where = f"wells/{well}/{rec_name}"
    groups = file[where].get("groups", {})
    if "routed" not in groups or "raw" not in groups["routed"]:
        raise ValueError(
            f"{path} ({well}, {rec_name}) has no raw traces of routed channels, only {list(groups) or 'spikes'}"
        )
    routed = groups["routed"]
    stored = np.asarray(routed["channels"], dtype=np.int64) if "channels" in routed else None
    settings = file[where]["settings"]
    return settings, settings["mapping"][()], f"{where}/groups/routed/raw", stored


def _gain_uv(settings: Any) -> float:
    """Return microvolts per count: the file's LSB, else that of the 10-bit converter (3.3 V) behind the amplifier."""
    if "lsb" in settings:
        return float(settings["lsb"][0]) * 1e6
    gain = float(settings["gain"][0]) if "gain" in settings else DEFAULT_AMPLIFIER_GAIN
    return 3.3 / (1024 * gain) * 1e6


def raw_dataset(file: Any, layout: MaxwellLayout) -> h5py.Dataset:
    """Return the dataset behind `layout`."""
    return file[layout.dataset]
