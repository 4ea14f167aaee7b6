"""Reading of sortings and analyzers of SpikeInterface: folders, zarr stores, npz and json files."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.backends.imported.units import ImportedUnits
from spikelab.spike_sorting.data import rows_of_each
from spikelab.spike_sorting.recording.read_errors import reading
from spikelab.spike_sorting.recording.trust import HOW_TO_TRUST, json_of, vet_array, vet_store
from spikelab.system.json_files import scalar

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from spikeinterface import BaseSorting

SORTING, ANALYZER = "a sorting of SpikeInterface", "an analyzer of SpikeInterface"
INFO, NPZ_INFO, CACHED, DESCRIPTION = "numpysorting_info.json", "npz.json", "sorting_cached.npz", "si_folder.json"
ANALYZER_INFO = "spikeinterface_info.json"
# Modules whose sortings only read files or hold spikes; of other classes some run code that a folder holds.
MODULES = tuple(
    f"spikeinterface.core.{name}"
    for name in (
        "numpyextractors", "sortingfolder", "npzsortingextractor", "zarrextractors", "unitsselectionsorting",
        "unitsaggregationsorting", "frameslicesorting", "segmentutils",
    )
)  # fmt: skip


def is_spikeinterface(path: Path) -> bool:
    """Whether a path is a sorting or an analyzer of SpikeInterface."""
    if path.is_file():
        return _is_npz(path) or (path.suffix.lower() == ".json" and "class" in json_of(path))
    names = (INFO, NPZ_INFO, f"sorting/{INFO}", "unit_ids/.zarray", "sorting/unit_ids/.zarray")
    return any((path / name).is_file() for name in names)


def _is_npz(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "num_segment.npy" in archive.namelist()


def is_analyzer(path: Path) -> bool:
    """Whether a folder is an analyzer, which may know its recording."""
    return path.is_dir() and ((path / "sorting" / INFO).is_file() or (path / "sorting/unit_ids/.zarray").is_file())


def read_spikeinterface(path: Path, *, trust: bool = False) -> ImportedUnits:
    """Read units, spikes and properties; ValueError where the source cannot be read, or could run a program."""
    kind = ANALYZER if is_analyzer(path) else SORTING
    with reading(path, f"as {kind}"):
        sorting = _sorting(path, trust=trust)
        return _units(sorting, kind, path)


def _sorting(path: Path, *, trust: bool) -> BaseSorting:
    from spikeinterface.core import NpzSortingExtractor, NumpyFolderSorting
    from spikeinterface.core.sortingfolder import NpzFolderSorting
    from spikeinterface.core.zarrextractors import ZarrSortingExtractor

    if path.is_file() and _is_npz(path):
        return NpzSortingExtractor(path)
    if path.is_file():
        return _described(path, trust=trust)
    if not trust:
        _vet(path)
    if (path / INFO).is_file():
        return NumpyFolderSorting(path)
    if (path / NPZ_INFO).is_file():
        return NpzFolderSorting(path)
    if (path / "sorting" / INFO).is_file():
        return NumpyFolderSorting(path / "sorting")
    return ZarrSortingExtractor(path, zarr_group="sorting" if is_analyzer(path) else None)


def _vet(path: Path) -> None:
    """Refuse pickles among the properties of the units."""
    if not (path / ".zgroup").exists():
        for folder in (path / "properties", path / "sorting" / "properties"):
            for array in sorted(folder.glob("*.npy")):
                vet_array(array)
        return
    for group in ("unit_ids", "spikes", "properties"):
        for base in (path, path / "sorting"):
            if (base / group).is_dir():
                vet_store(base / group)


def _described(path: Path, *, trust: bool) -> BaseSorting:
    """Load a sorting from its description in JSON."""
    from spikeinterface.core import BaseSorting, load

    content = json_of(path)
    if not trust:
        _vet_classes(content, path)
    found = load(content, base_folder=path.parent)
    if not isinstance(found, BaseSorting):
        raise ValueError(f"{path} describes a {type(found).__name__}; expected a sorting")  # noqa: TRY004
    return found


def _vet_classes(content: Any, path: Path) -> None:
    """Refuse a description of anything but sortings that read files, whose pickles are refused too."""
    if isinstance(content, dict) and "class" in content:
        _require_sorting(str(content["class"]), path)
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, item in items:
        if isinstance(item, str) and name in ("folder_path", "file_path"):
            _vet(path.parent / item)
        _vet_classes(item, path)


def _require_sorting(name: str, path: Path) -> None:
    from spikeinterface import BaseSorting

    module, _, attribute = name.rpartition(".")
    named = getattr(import_module(module), attribute, None) if module in MODULES else None
    if not (isinstance(named, type) and issubclass(named, BaseSorting)):
        raise ValueError(  # noqa: TRY004  the input is wrong
            f"{path} names {name[:200]!r}, which is none of the sortings of SpikeInterface that only read files. "
            f"{HOW_TO_TRUST}"
        )


def _units(sorting: BaseSorting, kind: str, path: Path) -> ImportedUnits:
    spikes = sorting.to_spike_vector()
    ids = [str(unit) for unit in sorting.unit_ids]
    rows = rows_of_each(spikes["unit_index"], range(len(ids)))
    frames, segments = np.asarray(spikes["sample_index"]).astype(np.int64), None
    if sorting.get_num_segments() > 1:
        segments = tuple(np.asarray(spikes["segment_index"])[own].astype(np.int64) for own in rows)
    units = ImportedUnits(
        kind,
        path,
        tuple(ids),
        tuple(frames[own] if segments else np.sort(frames[own]) for own in rows),
        float(sorting.sampling_frequency),
        segments,
        {name: values for name, values in _properties(sorting) if values is not None},
    )
    return without_empty(units)


def without_empty(units: ImportedUnits) -> ImportedUnits:
    """Leave out units without spikes, and name them."""
    rows = [row for row, train in enumerate(units.times) if len(train)]
    empty = tuple(name for name, train in zip(units.ids, units.times, strict=True) if not len(train))
    return replace(units.take(rows), empty=(*units.empty, *empty))


def _properties(sorting: BaseSorting) -> list[tuple[str, tuple[Any, ...] | None]]:
    return [(name, one_value_each(sorting.get_property(name))) for name in sorted(sorting.get_property_keys())]


def one_value_each(values: NDArray[Any]) -> tuple[Any, ...] | None:
    """Return texts, numbers and truth values, one of each unit, None for an unknown one; None for anything else."""
    values = np.asarray(values)
    if values.ndim != 1:
        return None
    plain = [value.decode(errors="replace") if isinstance(value, bytes) else scalar(value) for value in values.tolist()]
    if not all(value is None or isinstance(value, str | int | float | bool) for value in plain):
        return None
    return tuple(None if value == "" or value != value else value for value in plain)
