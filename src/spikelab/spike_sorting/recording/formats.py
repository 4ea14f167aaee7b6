"""Table of formats: how each is recognised; :mod:`.readers` opens them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.recording.hdf5 import open_hdf5
from spikelab.spike_sorting.recording.read_errors import reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IN_MEMORY = "in-memory"
HEADERLESS_SUFFIXES = (".dat", ".bin", ".raw")
HDF5_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class Format:
    """Marks of a format."""

    name: str  # also the key in SpikeInterface's table of extractors, where :mod:`.readers` has no function of its own
    suffixes: tuple[str, ...] = ()  # lower case; none where files are recognised by content
    has_streams: bool = False  # beside MaxWell and NWB
    marks: tuple[str, ...] = ()  # of a folder: glob patterns, one of which matches inside


def _neo(name: str, *suffixes: str) -> Format:
    return Format(name, suffixes=suffixes, has_streams=True)


MAXWELL = Format("maxwell")
NWB = Format("nwb", suffixes=(".nwb",))
HEADERLESS = Format("headerless binary", suffixes=HEADERLESS_SUFFIXES)
BIOCAM = _neo("biocam", ".brw")
MEAREC = Format("mearec")
MCS_H5 = Format("mcsh5", has_streams=True)
MCS_RAW = Format("mcsraw", has_streams=True)
NIX = _neo("nix", ".nix")
NEUROSCOPE = Format("neuroscope", has_streams=True)
BLACKROCK = _neo("blackrock", *(f".ns{i}" for i in range(1, 7)))
EDF = _neo("edf", ".edf", ".bdf")
INTAN = _neo("intan", ".rhd", ".rhs")

FILE_FORMATS = (
    MAXWELL,
    NWB,
    BIOCAM,
    MEAREC,
    MCS_H5,
    MCS_RAW,
    NIX,
    NEUROSCOPE,
    _neo("axon", ".abf"),
    Format("axona", suffixes=(".set",)),
    BLACKROCK,
    _neo("ced", ".smr", ".smrx"),
    EDF,
    INTAN,
    _neo("neuroexplorer", ".nex"),
    _neo("neuronexus", ".xdat.json"),
    _neo("plexon", ".plx"),
    _neo("spikegadgets", ".rec"),
    HEADERLESS,
)

SPIKEINTERFACE = Format("spikeinterface", marks=("si_folder.json", "cached.json"))
OPEN_EPHYS = Format(
    "openephysbinary",
    has_streams=True,
    marks=("structure.oebin", "*/structure.oebin", "*/*/structure.oebin", "*/*/*/structure.oebin"),
)
ZARR = Format("zarr", suffixes=(".zarr",), marks=("channel_ids/.zarray",))

# Folders that are themselves one recording; the first format whose mark matches is taken.
FOLDER_FORMATS = (
    SPIKEINTERFACE,
    ZARR,
    Format("mda", marks=("raw.mda",)),
    OPEN_EPHYS,
    Format("openephyslegacy", has_streams=True, marks=("*.continuous",)),
    Format(
        "spikeglx",
        has_streams=True,
        marks=("*.ap.meta", "*.lf.meta", "*.nidq.meta", "*_imec*/*.ap.meta"),
    ),
    Format("compressedbinaryibl", marks=("*.cbin",)),
    Format("tdt", has_streams=True, marks=("*.tbk", "*.tsq")),
    Format("neuralynx", has_streams=True, marks=("*.ncs",)),
    Format("alphaomega", has_streams=True, marks=("*.mpx",)),
)

# Suffixes of files that are parts of a folder recording.
FOLDER_PARTS = {
    ".oebin": "Open Ephys",
    ".continuous": "Open Ephys",
    ".cbin": "compressed IBL",
    ".ncs": "Neuralynx",
    ".tbk": "TDT",
    ".tsq": "TDT",
    ".tev": "TDT",
    ".mpx": "Alpha Omega",
    ".mda": "MDA",
}

SUFFIXES = tuple(
    sorted(
        {s for f in FILE_FORMATS for s in f.suffixes} | set(HDF5_SUFFIXES) | {".raw.h5", ".zarr"}, key=len, reverse=True
    )
)


def known_formats() -> str:
    """Name all formats, for messages."""
    files = [f"{f.name} ({', '.join(f.suffixes)})" if f.suffixes else f"{f.name}" for f in FILE_FORMATS]
    folders = [f"{f.name} folders" for f in FOLDER_FORMATS]
    return ", ".join(files + folders)


def intan_header(folder: Path) -> Path | None:
    """Return the header of an Intan folder with a file per signal or per channel, else None."""
    found = (folder / f"info{suffix}" for suffix in INTAN.suffixes)
    return next((file for file in found if file.is_file() and (folder / "time.dat").is_file()), None)


def folder_format(folder: Path) -> Format | None:
    """Return the format of a folder that is itself a recording, else None."""
    if intan_header(folder) is not None:
        return INTAN
    for known in FOLDER_FORMATS:
        if any(next(folder.glob(mark), None) is not None for mark in known.marks):
            return known
    return None


def file_format(path: Path) -> Format | None:
    """Return the format of a file, by suffix or content; None where it is no recording.

    A ValueError names an HDF5 file that is corrupt, and a file that is a part of a recording that is a folder.
    """
    name = path.name.lower()
    if path.suffix.lower() in FOLDER_PARTS or _is_spikeglx(path):
        what = FOLDER_PARTS.get(path.suffix.lower(), "SpikeGLX")
        raise ValueError(f"{path} is part of a {what} recording: give its folder, {path.parent} (and stream_id)")
    if name.endswith(HDF5_SUFFIXES):
        return _hdf5_format(path)
    if name.endswith(HEADERLESS_SUFFIXES):
        return _binary_format(path)
    found = next((known for known in FILE_FORMATS if name.endswith(known.suffixes or ("\0",))), None)
    if found in (NWB, BIOCAM, NIX):
        open_hdf5(path).close()  # raises the error for a damaged file
    return found


def _is_spikeglx(path: Path) -> bool:
    return path.suffix.lower() == ".bin" and path.with_suffix(".meta").is_file()


def _hdf5_format(path: Path) -> Format | None:
    with reading(path, "as HDF5"), open_hdf5(path) as file:
        names = set(file)
        tests: tuple[tuple[Format, Callable[[], bool]], ...] = (
            (MAXWELL, lambda: "wells" in names or {"mapping", "sig"} <= names),
            (NWB, lambda: "nwb_version" in file.attrs),
            (BIOCAM, lambda: "3BData" in names or "ExperimentSettings" in names | set(file.attrs)),
            (MCS_H5, lambda: _is_own_group(file, "Data") and "Recording_0" in set(file["Data"])),
            (MEAREC, lambda: {"recordings", "channel_positions"} <= names),
            (NIX, lambda: file.attrs.get("format") in ("nix", b"nix")),
        )
        return next((known for known, test in tests if test()), None)


def _is_own_group(file: Any, name: str) -> bool:
    """Return whether the file itself has a group `name`; links are not followed before they are vetted."""
    return (
        name in set(file) and type(file.get(name, getlink=True)).__name__ == "HardLink" and hasattr(file[name], "keys")
    )


def _binary_format(path: Path) -> Format:
    """Distinguish binary files with a header, in the file or beside it, from headerless ones."""
    if path.suffix.lower() == ".raw":
        with path.open("rb") as file:
            if file.read(10) == b"MC_DataToo":
                return MCS_RAW
    if path.suffix.lower() == ".dat" and path.with_suffix(".xml").is_file():
        return NEUROSCOPE
    return HEADERLESS
