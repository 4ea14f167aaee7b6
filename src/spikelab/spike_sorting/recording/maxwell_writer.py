"""Write a recording in MaxWell's format, as MaxOne and MaxTwo devices have done since 2017."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from spikelab.system import files

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FORMAT_VERSION = "20190530"
AMPLIFIER_GAIN = 512.0
FRAMES_PER_BLOCK = 200_000


def write_maxwell(
    path: str | Path,
    traces_counts: NDArray[np.uint16],
    sampling_frequency: float,
    locations: ArrayLike,
    lsb_uv: float = 6.294,
    electrodes: ArrayLike | None = None,
    well: str = "well000",
) -> None:
    """Write `traces_counts` as a ``.raw.h5`` file with one well and one recording, ``rec0000``.

    Parameters
    ----------
    path : str or Path
        The file; it appears when it is complete.
    traces_counts : numpy.ndarray of uint16, shape (channels, frames)
        Counts of the converter; 512 is the middle of its range.
    sampling_frequency : float
        In Hz.
    locations : array_like, shape (channels, 2)
        Electrode positions in micrometres.
    lsb_uv : float
        Microvolts per count.
    electrodes : array_like of int, shape (channels,), optional
        Electrode numbers; 0, 1, 2, ... by default.
    well : str
        Name of the well.
    """
    target = Path(path)
    with files.replacing(target) as temporary, h5py.File(temporary, "w") as file:
        write_header(file)
        add_well(file, traces_counts, sampling_frequency, locations, lsb_uv, electrodes, well)


def write_header(file: Any) -> None:
    """Write what comes before the first well."""
    file["version"] = np.array([FORMAT_VERSION.encode()])
    file["hdf_version"] = np.array([h5py.version.hdf5_version.encode()])


def add_well(
    file: Any,
    traces_counts: NDArray[np.uint16],
    sampling_frequency: float,
    locations: ArrayLike,
    lsb_uv: float = 6.294,
    electrodes: ArrayLike | None = None,
    well: str = "well000",
    rec_name: str = "rec0000",
) -> None:
    """Add one recording of one well to an open file; parameters as for :func:`write_maxwell`."""
    counts = np.asarray(traces_counts)
    positions = np.asarray(locations, dtype=np.float64)
    n_channels, n_frames = counts.shape
    if counts.dtype != np.uint16 or positions.shape != (n_channels, 2):
        raise ValueError(
            f"expected uint16 counts (channels, frames) and locations (channels, 2), "
            f"got {counts.dtype} {counts.shape} and {positions.shape}"
        )
    group = file.create_group(f"data_store/data{len(file.get('data_store', ())):04d}")
    routed = group.create_group("groups/routed")
    routed["channels"] = np.arange(n_channels, dtype=np.uint16)
    routed["frame_nos"] = np.arange(n_frames, dtype=np.uint64)
    raw = routed.create_dataset("raw", shape=counts.shape, dtype=np.uint16)
    for start in range(0, n_frames, FRAMES_PER_BLOCK):
        raw[:, start : start + FRAMES_PER_BLOCK] = counts[:, start : start + FRAMES_PER_BLOCK]
    settings = group.create_group("settings")
    for name, value in (
        ("gain", AMPLIFIER_GAIN),
        ("hpf", 1.0),
        ("lsb", lsb_uv * 1e-6),
        ("sampling", sampling_frequency),
        ("spike_threshold", 5.0),
    ):
        settings[name] = np.array([value], dtype=np.float64)
    settings["mapping"] = _mapping(positions, electrodes)
    file[f"wells/{well}/{rec_name}"] = h5py.SoftLink(group.name)
    file[f"recordings/{rec_name}/{well}"] = h5py.SoftLink(group.name)


def _mapping(positions: NDArray[np.float64], electrodes: ArrayLike | None) -> NDArray[np.void]:
    mapping = np.zeros(len(positions), dtype=[("channel", "<i4"), ("electrode", "<i4"), ("x", "<f8"), ("y", "<f8")])
    mapping["channel"] = np.arange(len(positions))
    mapping["electrode"] = np.arange(len(positions)) if electrodes is None else np.asarray(electrodes)
    mapping["x"], mapping["y"] = positions.T
    return mapping
