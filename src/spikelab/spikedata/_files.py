"""The files of spike data, by suffix: how each format is written, checked and read."""

from __future__ import annotations

import json
import math
import pickle
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from spikelab.spikedata import _encoding
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spikelab.spikedata._base import BaseSpikeData, Data

    Reader = Callable[[type[Any], Path], Any]
    Writer = Callable[[Path, BaseSpikeData], None]

HEADER = "header"
PICKLE_PROTOCOL = 5
CRC = "crc32"
TRAILER, TRAILER_WORDS = b"\nspikelab crc32 %08x\n", 16


def save(sd: BaseSpikeData, path: str | Path) -> None:
    """Write to a file in the format of its suffix: ``.npz``, ``.h5`` or ``.pkl``.

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

    Examples
    --------
    >>> import os, tempfile
    >>> from spikelab import SpikeData
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     SpikeData([[10, 30], [35]], length=100).save(f"{folder}/units.h5")
    ...     os.listdir(folder)
    ['units.h5']
    """
    path = Path(path)
    _, write = _format_of(path)
    with files.replacing(path, durable=True) as temporary:
        write(temporary, sd)


def load(kind: type[Data], path: str | Path) -> Data:
    """Read an object of the class `kind`; see :meth:`.SpikeData.load`."""
    path = Path(path)
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if "spikedata" in file.name and file.suffix in _FORMATS)
        raise ValueError(f"{path} is a folder; expected a file, such as {', '.join(inside) or 'neurons.npz'}")
    read, _ = _format_of(path)
    try:
        content: Data = read(kind, path)
    except Exception as error:
        # A damaged file makes its reader raise anything, h5py OSErrors without a number.
        if (isinstance(error, OSError) and error.errno is not None) or str(path) in str(error):
            raise
        raise ValueError(
            f"{path} is not a file of SpikeData.save, or is damaged: {type(error).__name__}: {error}. Load another "
            "copy or format of it; in a results folder the same 'spikelab sort' writes it again"
        ) from error
    return content


def _format_of(path: Path) -> tuple[Reader, Writer]:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise ValueError(f"unknown suffix {path.suffix!r} of {path}; expected one of {', '.join(_FORMATS)}") from None


def _write_npz(path: Path, sd: BaseSpikeData) -> None:
    import zipfile

    header, arrays = _encoding.encode(sd)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in {HEADER: np.array(header), **arrays}.items():
            # The date is fixed, so that the same data give the same bytes.
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(member, "w", force_zip64=True) as file:
                if isinstance(array, list):
                    _write_rows(file, array)
                else:
                    np.lib.format.write_array(file, array, allow_pickle=False)


def _write_rows(file: IO[bytes], rows: list[NDArray[Any]]) -> None:
    header = {"descr": rows[0].dtype.str, "fortran_order": False, "shape": (len(rows), *rows[0].shape)}
    np.lib.format.write_array_header_1_0(file, header)
    for row in rows:
        file.write(np.ascontiguousarray(row).data)


def _require_npz_sizes(path: Path) -> None:
    """Require that each array has the size that its header states, before memory is allocated for it."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                size = file.tell() + math.prod(shape) * dtype.itemsize
            if size != member.file_size or member.file_size > path.stat().st_size:
                raise ValueError(f"{member.filename} has {member.file_size} bytes, expected {size}")


def _read_npz(kind: type[Data], path: Path) -> Data:
    _require_npz_sizes(path)
    with np.load(path, allow_pickle=False) as data:
        if HEADER not in data:
            raise ValueError(f"{path} was not written by SpikeData.save: it has no {HEADER!r}")
        arrays = {name: data[name] for name in data.files}
    return kind(**_encoding.decode(str(arrays.pop(HEADER)), arrays))


def _write_h5(path: Path, sd: BaseSpikeData) -> None:
    import h5py

    header, arrays = _encoding.encode(sd)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(HEADER, data=header, track_times=False)
        dataset.attrs[CRC] = zlib.crc32(header.encode())
        for name, array in arrays.items():
            if isinstance(array, list):
                _write_rows_h5(file, name, array)
            else:
                _write_array_h5(file, name, array)


def _write_rows_h5(file: Any, name: str, rows: list[NDArray[Any]]) -> None:
    dataset, crc = file.create_dataset(name, (len(rows), *rows[0].shape), rows[0].dtype, track_times=False), 0
    for index, row in enumerate(rows):
        dataset[index] = row
        crc = zlib.crc32(np.ascontiguousarray(row).data, crc)
    dataset.attrs[CRC] = crc


def _write_array_h5(file: Any, name: str, array: NDArray[Any]) -> None:
    native = array.dtype.kind in "biufc" and array.dtype.isnative
    # h5py does not return text, dates and foreign byte orders as they were: their bytes are stored instead.
    stored = array if native else np.frombuffer(array.tobytes(), dtype=np.uint8)
    dataset = file.create_dataset(name, data=stored, track_times=False)
    dataset.attrs[CRC] = zlib.crc32(np.ascontiguousarray(stored).data)
    if not native:
        dataset.attrs["numpy"] = json.dumps([array.dtype.str, array.shape])


def _read_h5(kind: type[Data], path: Path) -> Data:
    import h5py

    with h5py.File(path, "r") as file:
        if HEADER not in file:
            raise ValueError(f"{path} was not written by SpikeData.save: it has no {HEADER!r}")
        header = file[HEADER].asstr()[()]
        _require_crc(file[HEADER], header.encode())
        arrays = {name: _read_dataset(dataset) for name, dataset in file.items() if name != HEADER}
    return kind(**_encoding.decode(header, arrays))


def _require_crc(dataset: Any, content: bytes | memoryview) -> None:
    """Require that a dataset has the checksum written with it; files of earlier versions have no checksums."""
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


def _write_pickle(path: Path, sd: BaseSpikeData) -> None:
    with path.open("wb") as file:
        pickle.dump(sd, file, protocol=PICKLE_PROTOCOL)
    # The checksum follows the end of the pickle, where unpickling stops.
    trailer = TRAILER % files.checksum(path)[1]
    with path.open("ab") as file:
        file.write(trailer)


def _read_pickle(kind: type[Data], path: Path) -> Data:
    _require_undamaged_pickle(path)
    with path.open("rb") as file:
        value = pickle.load(file)
    if not isinstance(value, kind):
        raise ValueError(f"{path} holds a {type(value).__name__}, not a SpikeData")  # noqa: TRY004  wrong file
    return value


def _require_undamaged_pickle(path: Path) -> None:
    """Require that a pickle has the checksum written behind it, before the pickle is executed."""
    size = path.stat().st_size - len(TRAILER % 0)
    with path.open("rb") as file:
        file.seek(max(size, 0))
        trailer = file.read()
    if trailer.startswith(TRAILER[:TRAILER_WORDS]) and trailer != TRAILER % files.checksum(path, size)[1]:
        raise ValueError("its checksum is not that of its content")


_FORMATS: dict[str, tuple[Reader, Writer]] = {
    ".npz": (_read_npz, _write_npz),
    ".h5": (_read_h5, _write_h5),
    ".pkl": (_read_pickle, _write_pickle),
}
