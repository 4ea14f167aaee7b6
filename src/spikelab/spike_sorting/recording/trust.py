"""Vet an input before a reader follows it: no code, and no files outside of its own folder.

Descriptions of SpikeInterface name the classes that read them, properties and old caches may be pickles, HDF5 files may
link to other files. ``trust_input`` skips these checks.
"""

from __future__ import annotations

import json
import os
import pickle
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

# Modules of SpikeInterface whose recordings only read files or change traces. Extractors that evaluate text of the
# recording, read from the net or load models are left out.
CORE = (
    "binaryfolder", "binaryrecordingextractor", "zarrextractors", "zarrrecordingextractor", "channelslice", "base",
    "channelsaggregationrecording", "frameslicerecording", "segmentutils", "operatorrecordings", "generate",
)  # fmt: skip
PREPROCESSING = (
    "astype", "average_across_direction", "clip", "common_reference", "correct_lsb", "decimate", "depth_order",
    "directional_derivative", "filter", "filter_gaussian", "highpass_spatial_filter", "interpolate_bad_channels",
    "normalize_scale", "phase_shift", "rectify", "remove_artifacts", "resample", "scale", "silence_periods",
    "unsigned_to_signed", "whiten", "zero_channel_pad",
)  # fmt: skip
EXTRACTORS = ("nwbextractors", "mdaextractors", "cbin_ibl", "mcsh5extractors", "whitematterrecordingextractor")
OWN = (
    "recording.maxwell_recording",
    "recording.pieces",
    "recording.prepared",
    "filters.bandpass",
    "filters.across_channels",
)
MODULES = frozenset(
    [f"spikeinterface.core.{name}" for name in CORE]
    + [f"spikeinterface.preprocessing.{name}" for name in PREPROCESSING]
    + [f"spikeinterface.extractors.{name}" for name in EXTRACTORS]
    + [f"spikelab.spike_sorting.{name}" for name in OWN]
)
NEO = "spikeinterface.extractors.neoextractors."
DESCRIPTIONS = ("si_folder.json", "cached.json")
LARGEST_DESCRIPTION = 64 << 20
MOST_NESTED = 64
HOW_TO_TRUST = (
    "Nothing of it was run or followed. If you know who made it, set trust_input=True (`--trust` of "
    "`spikelab inspect` and `spikelab sort`)"
)


def read_description(path: Path) -> tuple[Path, dict[str, Any]]:
    """Read the description of a SpikeInterface folder; return its file and its content."""
    file = next((path / name for name in DESCRIPTIONS if (path / name).is_file()), None)
    if file is None:
        raise ValueError(f"{path} has no {' or '.join(DESCRIPTIONS)}: it is no recording of SpikeInterface")
    return file, json_of(file)


def json_of(file: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; the ValueError for any other content names the file."""
    if file.stat().st_size > LARGEST_DESCRIPTION:
        raise ValueError(f"{file} has {file.stat().st_size} bytes, far more than a description of a recording")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read as spikeinterface's JSON: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(  # noqa: TRY004  the input is wrong
            f"{file} cannot be read as spikeinterface: it holds a {type(content).__name__}, not a description"
        )
    return content


def vet_folder(path: Path) -> None:
    """Refuse a SpikeInterface folder that names a class, holds a pickle or points to a file that could do harm."""
    file, description = read_description(path)
    _Vetting(path).description(description, file, path)


def vet_description(file: Path, content: dict[str, Any] | None = None) -> None:
    """Refuse a description, of its own `content` or that of the file, by its classes and pickles.

    The files that it names may be anywhere: whoever names the description asks for them.
    """
    _Vetting(file, anywhere=True).description(json_of(file) if content is None else content, file, file.parent)


def vet_store(path: Path) -> None:
    """Refuse a zarr store with values that are pickles."""
    for file in [path / ".zmetadata", *(folder / ".zarray" for folder in zarr_arrays(path))]:
        for _, node in _nodes(json_of(file) if file.is_file() else {}):
            if isinstance(node, dict) and node.get("id") == "pickle":
                raise ValueError(
                    f"{path} holds pickled values ({file.relative_to(path)}), and a pickle can run any program. "
                    f"{HOW_TO_TRUST}"
                )


def zarr_arrays(store: Path) -> Iterator[Path]:
    """Yield the folders of the arrays in a zarr store; folders below an array hold its chunks."""
    waiting = [store]
    while waiting:
        folder = waiting.pop()
        if (folder / ".zarray").is_file():
            yield folder
        else:
            waiting += [entry for entry in folder.iterdir() if entry.is_dir()]


def vet_links(path: Path) -> None:
    """Refuse an HDF5 file with links or data in files outside of its folder."""
    _Vetting(path).hdf5(path)


def vet_array(file: Path) -> None:
    """Refuse a ``.npy`` file whose pickle names anything but the parts of an array of text or numbers."""
    with file.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if not dtype.hasobject:
            if needed > file.stat().st_size:
                raise ValueError(f"{file} is cut: it claims {needed} bytes, and has {file.stat().st_size}")
            return
        try:
            _Syntax(stream).load()
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{file} is a pickle that {error}, and a pickle can run any program. {HOW_TO_TRUST}"
            ) from error


class _Inert:
    """Stand-in for every object of a pickle that is vetted."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


class _Syntax(pickle.Unpickler):
    """Parses a pickle without making the objects that it names."""

    HARMLESS = frozenset(
        (module, name)
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar", "ndarray", "dtype")
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.HARMLESS:
            raise pickle.UnpicklingError(f"names {module}.{name}")
        return _Inert


class _Vetting:
    """Vets an input and every file that it leads to, each once; files in the folder of `root` may be followed."""

    def __init__(self, root: Path, *, anywhere: bool = False) -> None:
        self._root = root
        self._anywhere = anywhere
        self._inside = root.absolute().parent
        self._seen: set[Path] = set()

    def description(self, content: dict[str, Any], file: Path, base: Path, depth: int = 0) -> None:
        """Vet a description that was read from `file`, with paths relative to `base`."""
        if depth > MOST_NESTED:
            raise ValueError(f"{file} nests more than {MOST_NESTED} recordings")
        nodes = list(_nodes(content.get("kwargs")))
        for _, node in (("", content), *nodes):
            if isinstance(node, dict) and "class" in node:
                self._class(node["class"], file)
        for key, node in nodes:
            if isinstance(node, str) and any(word in key for word in ("path", "file", "folder", "dir")):
                self._path(node, file, base, depth)

    def _class(self, name: Any, file: Path) -> None:
        from spikeinterface import BaseRecording

        (module, _, attribute), found = str(name).rpartition("."), None
        if module in MODULES or module.startswith(NEO):
            with suppress(ImportError):  # of a module that this version of SpikeInterface lacks
                found = getattr(import_module(module), attribute, None)
        if isinstance(found, type) and issubclass(found, BaseRecording):
            return
        what = "a sorting, not a recording" if attribute.endswith(("Sorting", "SortingExtractor")) else "what to call"
        raise ValueError(
            f"{self._root}: {file.name} names {str(name)[:200]!r} as {what}, which is none of the recordings of "
            f"SpikeInterface or spikelab that are opened from files. {HOW_TO_TRUST}, or open it with SpikeInterface "
            "and hand it over as a recording in memory"
        )

    def _path(self, text: str, file: Path, base: Path, depth: int) -> None:
        if "://" in text:
            raise ValueError(f"{self._root}: {file.name} leads to {text!r}, which is not a file here. {HOW_TO_TRUST}")
        target = _place(base, text)
        self._refuse_elsewhere(target, f"{file.name} names the file {text!r}")
        if target in self._seen:
            return
        self._seen.add(target)
        if target.is_dir():
            self._folder(target, depth)
        elif target.is_file() and h5py.is_hdf5(target):
            self.hdf5(target)

    def _folder(self, folder: Path, depth: int) -> None:
        if (folder / ".zgroup").exists() or (folder / ".zarray").exists():
            vet_store(folder)
        for array in sorted((folder / "properties").glob("*.npy")):
            vet_array(array)
        for name in (*DESCRIPTIONS, "binary.json"):
            if (folder / name).is_file():
                self.description(json_of(folder / name), folder / name, folder, depth + 1)

    def _refuse_elsewhere(self, target: Path, how: str) -> None:
        allowed = (self._inside, self._inside.resolve())
        if not (self._anywhere or any(target.is_relative_to(folder) for folder in allowed)):
            raise ValueError(
                f"{self._root}: {how}, which is outside of {self._inside}, the folder that it is in. {HOW_TO_TRUST}"
            )

    def hdf5(self, path: Path) -> None:
        """Vet the links of an HDF5 file, and of the files that it links to."""
        self._seen.add(path.absolute())
        for target, how in _leads(path):
            place = _place(path.parent, target)
            self._refuse_elsewhere(place, how)
            if place not in self._seen and place.is_file():
                self.hdf5(place)


def _leads(path: Path) -> list[tuple[str, str]]:
    """Return the files that the links of an HDF5 file lead to, each with a description of the link."""
    from spikelab.spike_sorting.recording.hdf5 import open_hdf5

    found: list[tuple[str, str]] = []
    with open_hdf5(path) as file:

        def visit(name: bytes, info: Any) -> None:
            if info.type == h5py.h5l.TYPE_EXTERNAL:
                target, inside = file.id.links.get_val(name)
                text = name.decode(errors="replace")
                found.append((target.decode(errors="surrogateescape"), f"{text} is a link to {target!r} ({inside!r})"))

        file.id.links.visit(visit, info=True)
    return found


def refuse_foreign_storage(path: Path, dataset: Any) -> None:
    """Refuse a dataset whose values lie in other files than `path`."""
    properties = dataset.id.get_create_plist()
    files = [properties.get_external(i)[0] for i in range(properties.get_external_count())]
    if dataset.is_virtual:
        files += [source.file_name.encode() for source in dataset.virtual_sources() if source.file_name != "."]
    inside = path.absolute().parent
    for name in files:
        place = _place(inside, name.decode(errors="surrogateescape"))
        if not place.is_relative_to(inside) or not place.is_file():
            raise ValueError(
                f"{path}: the values of {dataset.name} are in the file {name.decode(errors='replace')!r}, which is not "
                f"in the folder {inside}. {HOW_TO_TRUST}"
            )


def _place(base: Path, text: str) -> Path:
    """Resolve `text` from `base`; symbolic links are followed only where ``..`` makes that necessary."""
    if ".." in Path(text).parts:
        return (base / text).resolve()
    return Path(os.path.normpath((base / text).absolute()))


def _nodes(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield `value` and every value in it, each with the name of the entry that it is, or is listed, in."""
    waiting = [("", value)]
    while waiting:
        key, value = waiting.pop()
        yield key, value
        if isinstance(value, dict):
            waiting += [(str(name), child) for name, child in value.items()]
        elif isinstance(value, list):
            waiting += [(key, child) for child in value]
