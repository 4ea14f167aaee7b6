"""Layout of MaxWell files: wells, recordings, and the row of each channel.

Two layouts exist. Legacy MaxOne files (version 20160704) have ``sig`` and ``mapping`` at the top; newer MaxOne and
MaxTwo files have ``wells/<well>/<recording>/groups/routed/raw``. A 24-well plate has one recording per row of wells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.completeness import read_table, require_plain_numbers, require_written
from spikelab.spike_sorting.recording.metadata_checks import require_distinct, require_rate
from spikelab.spike_sorting.recording.read_errors import list_some
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

LEGACY_WELL, LEGACY_RECORDING = "well000", "rec0000"
LEGACY_SAMPLING_FREQUENCY = 20_000.0
DEFAULT_AMPLIFIER_GAIN = 512.0
# Amplifiers of gain 1 to 10 000 have 3222 to 0.3 uV per count; simulations are finer.
POSSIBLE_GAIN_UV = (1e-4, 1e5)
MAPPING = {"channel": "iu", "electrode": "iu", "x": "iuf", "y": "iuf"}


@dataclass(frozen=True)
class MaxwellLayout:
    """Layout of one recording of one well; arrays have one row per channel."""

    dataset: str  # path of the raw counts inside the file, shape (rows, frames)
    rows: IntArray  # of the dataset
    channels: IntArray  # numbers in the amplifier
    electrodes: IntArray  # numbers of the electrodes routed to the channels
    locations: NDArray[np.float64]  # x and y in micrometres
    n_frames: int
    sampling_frequency: float
    gain_uv: float  # microvolts per count


def list_recordings(file: Any) -> dict[str, list[str]]:
    """Return the recordings of each well, ``{well: [recording, ...]}``, named as in the file."""
    if "wells" not in file:
        return {LEGACY_WELL: [LEGACY_RECORDING]}
    return {well: sorted(file["wells"][well]) for well in sorted(file["wells"])}


def raw_dataset(file: Any, well: str, rec_name: str) -> Any:
    """Return the dataset of raw counts of one recording, or None where there is none."""
    found = file.get(f"wells/{well}/{rec_name}/groups/routed/raw" if "wells" in file else "sig")
    return found if hasattr(found, "id") and hasattr(found, "dtype") else None


def choose(
    path: Path, recordings: dict[str, list[str]], stream_id: str | None, rec_name: str | None
) -> tuple[str, str]:
    """Choose one well and one of its recordings; a ValueError lists them where the choice is not clear or possible."""
    if not recordings:
        raise ValueError(f"{path} has no wells")
    table = "; ".join(f"{well}: {', '.join(names) or 'nothing'}" for well, names in recordings.items())
    well = _only_well(path, recordings, rec_name, table) if stream_id is None else stream_id
    if well not in recordings:
        raise ValueError(f"{path} has no well {well!r}. It has {table}")
    names = recordings[well]
    if rec_name is None and len(names) != 1:
        raise ValueError(f"{path} has {len(names)} recordings of {well}; set rec_name to one of {names}")
    chosen = names[0] if rec_name is None else rec_name
    if chosen not in names:
        raise ValueError(f"{path} has no recording {rec_name!r} of {well}. It has {table}")
    return well, chosen


def _only_well(path: Path, recordings: dict[str, list[str]], rec_name: str | None, table: str) -> str:
    """Return the only well that has the recording `rec_name`, or any recording where that is None."""
    wells = [well for well, names in recordings.items() if rec_name is None or rec_name in names]
    if not wells:
        raise ValueError(f"{path} has no recording {rec_name!r}. It has {table}")
    if len(wells) > 1:
        raise ValueError(
            f"{path} has several wells; set stream_id to one of them, or use sort_multistream. It has {table}"
        )
    return wells[0]


def rows_of_channels(n_rows: int, mapped: IntArray, stored: IntArray | None = None) -> IntArray:
    """Return the row of the raw dataset, which has `n_rows`, for each connected channel.

    `mapped` is ``mapping["channel"]``, negative where an electrode is not connected; `stored` the channel of each row,
    where the file has that table, with all of the connected ones in it. Files cut down after the recording have one row
    per entry of the mapping, in its order. Files as the device writes them have a row per amplifier channel (1024, and
    four with frame numbers), connected or not: there the row is the channel number.
    """
    connected = mapped[mapped >= 0]
    if stored is not None:
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
    """Read the layout of one recording.

    A ValueError says that there are no raw traces (only spikes were stored), no connected channel, not all parts, or a
    part that cannot be true.
    """
    where = f"{path} ({well}, {rec_name})"
    try:
        settings, mapping, raw, stored = _parts(path, file, well, rec_name)
    except KeyError as error:
        raise ValueError(f"{where} is incomplete: {error.args[0]}") from error
    _require_raw(path, raw)
    _warn_of_length(path, raw)
    mapping = _routed(mapping, stored, where)
    connected = mapping[mapping["channel"] >= 0]
    if not len(connected):
        raise ValueError(f"{where} has no channel that is connected to an electrode")
    # A channel that is listed twice keeps its first electrode.
    first = np.sort(np.unique(connected["channel"], return_index=True)[1])
    try:
        rows = rows_of_channels(raw.shape[0], mapping["channel"].astype(np.int64), stored)[first]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    connected = connected[first]
    places = np.column_stack([connected["x"], connected["y"]]).astype(np.float64)
    require_distinct(places, connected["channel"].tolist(), where)
    rate = _number(path, settings, "sampling", LEGACY_SAMPLING_FREQUENCY)
    require_rate(rate, where)
    return MaxwellLayout(
        dataset=raw.name,
        rows=rows,
        channels=connected["channel"].astype(np.int64),
        electrodes=connected["electrode"].astype(np.int64),
        locations=places,
        n_frames=int(raw.shape[1]),
        sampling_frequency=rate,
        gain_uv=_gain_uv(path, settings, where),
    )


def _parts(path: Path, file: Any, well: str, rec_name: str) -> tuple[Any, NDArray[Any], Any, IntArray | None]:
    """Return settings, mapping, the raw dataset, and the channel of each row or None."""
    if "wells" not in file:
        return file.get("settings", {}), _mapping(path, file["mapping"]), file["sig"], None
    where = f"wells/{well}/{rec_name}"
    groups = file[where].get("groups", {})
    if "routed" not in groups or "raw" not in groups["routed"]:
        raise ValueError(
            f"{path} ({well}, {rec_name}) has no raw traces of routed channels, only {list(groups) or 'spikes'}"
        )
    routed = groups["routed"]
    settings, raw = file[where]["settings"], routed["raw"]
    return settings, _mapping(path, settings["mapping"]), raw, _stored(path, routed, raw)


def _routed(mapping: NDArray[Any], stored: IntArray | None, where: str) -> NDArray[Any]:
    """Leave out electrodes whose channel was not recorded, such as those that stimulated."""
    absent = np.zeros(len(mapping), dtype=bool)
    if stored is not None:
        absent = (mapping["channel"] >= 0) & ~np.isin(mapping["channel"], stored)
    if not absent.any():
        return mapping
    named = [f"{row['electrode']} (channel {row['channel']})" for row in mapping[absent]]
    if not ((mapping["channel"] >= 0) & ~absent).any():
        raise ValueError(
            f"{where} contradicts itself: of the electrodes in its mapping, {list_some(named)}, none is on a recorded "
            f"channel; those are {list_some([str(channel) for channel in (() if stored is None else stored)])}"
        )
    warn(
        f"{where}: the mapping lists {len(named)} electrodes that were not recorded (for stimulation?), which are left "
        f"out: {list_some(named)}"
    )
    return mapping[~absent]


def _warn_of_length(path: Path, raw: Any) -> None:
    """Warn if the numbers of frames and of frame numbers differ."""
    numbers = raw.parent.get("frame_nos")
    if numbers is not None and getattr(numbers, "shape", None) != raw.shape[1:]:
        warn(
            f"{path} contradicts itself: {raw.name} has {raw.shape} values, and there are "
            f"{getattr(numbers, 'shape', None)} frame numbers: was the recording interrupted, or is the file damaged?"
        )


def _stored(path: Path, routed: Any, raw: Any) -> IntArray | None:
    """Read the channel of each row; None where the file has no such table."""
    if "channels" not in routed:
        return None
    stored = read_table(path, routed["channels"])
    if stored.dtype.kind not in "iu" or stored.shape != raw.shape[:1]:
        raise ValueError(
            f"{path} contradicts itself: {raw.name} has {raw.shape} values, and channels has {stored.shape} of "
            f"{stored.dtype}, where one whole number for each row is expected"
        )
    return np.asarray(stored, dtype=np.int64)


def _mapping(path: Path, dataset: Any) -> NDArray[Any]:
    """Read the table of channels, electrodes and places."""
    mapping = read_table(path, dataset)
    fields = mapping.dtype.fields or {}
    wrong = [name for name, kinds in MAPPING.items() if name not in fields or fields[name][0].kind not in kinds]
    if wrong or mapping.ndim != 1:
        raise ValueError(
            f"{path}: {dataset.name} is no table with a number for each of {', '.join(MAPPING)}: it has "
            f"{mapping.dtype} {mapping.shape}"
        )
    return np.asarray(mapping)


def _require_raw(path: Path, raw: Any) -> None:
    """Check the dataset of traces: counts of rows and frames, in this file, all of them written."""
    if getattr(raw, "ndim", None) != 2 or raw.dtype.kind not in "iuf":
        found = f"{raw.dtype} {raw.shape}" if hasattr(raw, "dtype") else type(raw).__name__
        raise ValueError(f"{path}: {raw.name} is {found}, and counts of shape (rows, frames) are expected")
    require_plain_numbers(path, raw)
    if raw.dtype.byteorder == ">" or raw.dtype.kind == "f":
        raise ValueError(
            f"{path}: {raw.name} has {raw.dtype.str} counts, and MaxWell writes whole numbers, little-endian"
        )
    require_written(path, raw)


def _gain_uv(path: Path, settings: Any, where: str) -> float:
    """Return microvolts per count: the file's LSB, else that of the 10-bit converter (3.3 V) behind the amplifier."""
    if "lsb" in settings:
        gain_uv = _number(path, settings, "lsb", 0.0) * 1e6
    else:
        amplifier = _number(path, settings, "gain", DEFAULT_AMPLIFIER_GAIN)
        gain_uv = 3.3 / (1024 * amplifier) * 1e6 if amplifier else np.inf
    low, high = POSSIBLE_GAIN_UV
    if not low <= gain_uv <= high:
        raise ValueError(
            f"{where} has {gain_uv:g} uV per count (settings lsb, gain), and MaxWell's amplifiers have between {low:g} "
            f"and {high:g}: the settings are damaged"
        )
    return gain_uv


def _number(path: Path, settings: Any, name: str, default: float) -> float:
    """Return the first value of a setting."""
    if name not in settings:
        return default
    values = np.ravel(read_table(path, settings[name]))
    if not len(values) or values.dtype.kind not in "iuf":
        raise ValueError(f"{path}: {settings[name].name} holds {values.dtype} {values.shape}, and a number is expected")
    return float(values[0])
