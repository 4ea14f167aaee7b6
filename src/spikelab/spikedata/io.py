"""Reading and writing :class:`~spikelab.spikedata.SpikeData`.

``.npz`` and ``.h5`` hold the same arrays and one JSON text, ``header``, that says how they belong together: no
pickled objects, and the same bytes for the same data. ``.pkl`` is Python's own format.
"""

from __future__ import annotations

import json
import math
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from spikelab.spikedata import _encoding
from spikelab.spikedata.spikedata import SpikeData
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["load", "save"]

HEADER = "header"
PICKLE_PROTOCOL = 5
CRC = "crc32"
TRAILER, TRAILER_WORDS = b"\nspikelab crc32 %08x\n", 16


def save(sd: SpikeData, path: str | Path) -> None:
    """Write `sd` to a file whose suffix says the format: ``.npz``, ``.h5`` or ``.pkl``.

    An existing file is replaced, and only when the new one is complete. Numbers, text, None, arrays (of anything but
    objects), and lists, tuples and dicts of these can be written to ``.npz`` and ``.h5``; they come back with the same
    types and values, and arrays that several attributes share are stored once and shared again.

    Parameters
    ----------
    sd : SpikeData
    path : str or Path

    Raises
    ------
    ValueError
        The suffix is unknown.
    TypeError
        ``.npz``, ``.h5``: an attribute or a metadata value is of a type that needs pickling.
    """
    path = Path(path)
    _, write = _format_of(path)
    with files.replacing(path, durable=True) as temporary:
        write(temporary, sd)


def load(path: str | Path) -> SpikeData:
    """Read what :func:`save` wrote.

    Reading a ``.pkl`` executes code that the file contains: open only those you trust. ``.npz`` and ``.h5`` are safe.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    SpikeData

    Raises
    ------
    ValueError
        The suffix is unknown, or the file is damaged or holds something else.
    OSError
        There is no such file, or it cannot be read.
    """
    path = Path(path)
    read, _ = _format_of(path)
    try:
        return read(path)
    except Exception as error:
        # A damaged file makes its reader raise anything, h5py OSErrors without a number.
        if (isinstance(error, OSError) and error.errno is not None) or str(path) in str(error):
            raise
        raise ValueError(
            f"{path} is damaged, or SpikeData.save did not write it: {type(error).__name__}: {error}. Load another "
            "copy or format of it; in a results folder the same 'spikelab sort' writes it again"
        ) from error


def _format_of(path: Path) -> tuple[Callable[[Path], SpikeData], Callable[[Path, SpikeData], None]]:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise ValueError(f"unknown suffix {path.suffix!r} of {path}; expected one of {', '.join(_FORMATS)}") from None


def _write_npz(path: Path, sd: SpikeData) -> None:
    header, arrays = _encoding.encode(sd)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in {HEADER: np.array(header), **arrays}.items():
            # A fixed date: the same data give the same bytes.
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(member, "w", force_zip64=True) as file:
                if isinstance(array, _encoding.Rows):
                    _write_rows(file, array)
                else:
                    np.lib.format.write_array(file, array, allow_pickle=False)


def _write_rows(file: IO[bytes], array: _encoding.Rows) -> None:
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for row in array.rows:
        file.write(np.ascontiguousarray(row).data)


def _require_npz_sizes(path: Path) -> None:
    """ValueError where an array claims another size than its file has: nothing is allocated for it then."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                size = file.tell() + math.prod(shape) * dtype.itemsize
            if size != member.file_size or member.file_size > path.stat().st_size:
                raise ValueError(f"{member.filename} has {member.file_size} bytes, expected {size}")


def _read_npz(path: Path) -> SpikeData:
    _require_npz_sizes(path)
    with np.load(path, allow_pickle=False) as data:
        if HEADER not in data:
            raise ValueError(f"{path} was not written by SpikeData.save: it has no {HEADER!r}")
        arrays = {name: data[name] for name in data.files}
    return _encoding.decode(str(arrays.pop(HEADER)), arrays)


def _write_h5(path: Path, sd: SpikeData) -> None:
    import h5py

    header, arrays = _encoding.encode(sd)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(HEADER, data=header, track_times=False)
        dataset.attrs[CRC] = zlib.crc32(header.encode())
        for name, array in arrays.items():
            if isinstance(array, _encoding.Rows):
                dataset, crc = file.create_dataset(name, array.shape, array.dtype, track_times=False), 0
                for index, row in enumerate(array.rows):
                    dataset[index] = row
                    crc = zlib.crc32(np.ascontiguousarray(row, dtype=array.dtype).data, crc)
                dataset.attrs[CRC] = crc
                continue
            native = array.dtype.kind in "biufc" and array.dtype.isnative
            # h5py does not return text, dates and foreign byte orders as they were: their bytes are stored instead.
            stored = array if native else np.frombuffer(array.tobytes(), dtype=np.uint8)
            dataset = file.create_dataset(name, data=stored, track_times=False)
            dataset.attrs[CRC] = zlib.crc32(np.ascontiguousarray(stored).data)
            if not native:
                dataset.attrs["numpy"] = json.dumps([array.dtype.str, array.shape])


def _read_h5(path: Path) -> SpikeData:
    import h5py

    with h5py.File(path, "r") as file:
        if HEADER not in file:
            raise ValueError(f"{path} was not written by SpikeData.save: it has no {HEADER!r}")
        header = file[HEADER].asstr()[()]
        _require_crc(file[HEADER], header.encode())
        arrays = {name: _read_dataset(dataset) for name, dataset in file.items() if name != HEADER}
    return _encoding.decode(header, arrays)


def _require_crc(dataset: Any, content: bytes | memoryview) -> None:
    """ValueError where a dataset is not what was written; a file of an earlier version does not say what that was."""
    expected = dataset.attrs.get(CRC)
    if expected is not None and expected != (found := zlib.crc32(content)):
        raise ValueError(f"the checksum of {dataset.name} is {found}, expected {expected}")


def _read_dataset(dataset: Any) -> NDArray[Any]:
    values = np.asarray(dataset[()])
    _require_crc(dataset, np.ascontiguousarray(values).data)
    if "numpy" not in dataset.attrs:
        return values
    dtype, shape = json.loads(dataset.attrs["numpy"])
    return np.frombuffer(values.tobytes(), dtype=dtype).reshape(shape).copy()


def _write_pickle(path: Path, sd: SpikeData) -> None:
    with path.open("wb") as file:
        pickle.dump(sd, file, protocol=PICKLE_PROTOCOL)
    # Behind the end of the pickle, where nobody reads on.
    trailer = TRAILER % files.checksum(path)[1]
    with path.open("ab") as file:
        file.write(trailer)


def _read_pickle(path: Path) -> SpikeData:
    _require_undamaged_pickle(path)
    with path.open("rb") as file:
        value = pickle.load(file)
    if not isinstance(value, SpikeData):
        raise ValueError(f"{path} holds a {type(value).__name__}, not a SpikeData")  # noqa: TRY004  wrong file
    return value


def _require_undamaged_pickle(path: Path) -> None:
    """ValueError where a pickle is not what was written: it is not executed then."""
    size = path.stat().st_size - len(TRAILER % 0)
    with path.open("rb") as file:
        file.seek(max(size, 0))
        trailer = file.read()
    if trailer.startswith(TRAILER[:TRAILER_WORDS]) and trailer != TRAILER % files.checksum(path, size)[1]:
        raise ValueError("its checksum is not that of its content")


_FORMATS: dict[str, tuple[Callable[[Path], SpikeData], Callable[[Path, SpikeData], None]]] = {
    ".npz": (_read_npz, _write_npz),
    ".h5": (_read_h5, _write_h5),
    ".pkl": (_read_pickle, _write_pickle),
}
