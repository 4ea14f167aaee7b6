"""Table of what can be read: how each is recognised, and what reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikelab.spike_sorting.backends.imported import nwb, phy, spikeinterface_units
from spikelab.spike_sorting.backends.imported.units import some

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from spikelab.spike_sorting.backends.imported.units import ImportedUnits


@dataclass(frozen=True)
class Kind:
    """One kind of folder or file with units."""

    name: str
    recognised: Callable[[Path], bool]
    read: Callable[..., ImportedUnits]  # of the path, and whether it is trusted


KINDS = (
    Kind("a folder of Kilosort or phy (spike_times.npy)", phy.is_phy, phy.read_phy),
    Kind(
        "a sorting or an analyzer of SpikeInterface (folder, zarr, npz, json)",
        spikeinterface_units.is_spikeinterface,
        spikeinterface_units.read_spikeinterface,
    ),
    Kind("an NWB file with units", nwb.is_nwb, nwb.read_nwb_units),
)


def kind_of(path: Path) -> Kind:
    """Recognise what a folder or file is; FileNotFoundError and ValueError say what was found and expected."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    found = next((kind for kind in KINDS if kind.recognised(path)), None)
    if found is not None:
        return found
    inside = f"it holds {some(sorted(entry.name for entry in path.iterdir()))}" if path.is_dir() else "it is a file"
    raise ValueError(
        f"{path} is nothing that units are read from: {inside}. Expected {', '.join(kind.name for kind in KINDS)}"
        f"{_nested(path)}"
    )


def _nested(path: Path) -> str:
    """Return a hint where the units may be: sorters write into folders of their own."""
    if not path.is_dir():
        return ""
    below = (entry for pattern in ("*", "*/*") for entry in sorted(path.glob(pattern)) if entry.is_dir())
    found = next((entry for entry in below if any(kind.recognised(entry) for kind in KINDS)), None)
    return "" if found is None else f". Did you mean {found}?"


def read_units(path: Path, *, trust: bool = False) -> ImportedUnits:
    """Read the units that another program wrote; errors as of :func:`kind_of` and of the reader."""
    return kind_of(path).read(path, trust=trust)
