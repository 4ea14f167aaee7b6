"""Read and write the dictionaries of tensors that ``torch.save`` makes, without torch.

Such a file is a zip archive: ``data.pkl`` is a pickle of the dictionary in which every tensor refers to a storage by
name, and ``data/<name>`` are the raw numbers. A pickle that asks for any class but those of such a dictionary is
refused, so that reading a file never runs code from it.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

STORAGE_TYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8"}
LARGEST_BYTES = 2**28  # a detection model has less than one megabyte
DATE = (1980, 1, 1, 0, 0, 0)  # of every file: the same weights make the same bytes


def read_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the tensors by name, as float32; any of `DAMAGE` is raised where the file is damaged or another."""
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > LARGEST_BYTES:
            raise ValueError(f"it unpacks to more than {LARGEST_BYTES // 2**20} MB")
        pickles = [name for name in archive.namelist() if name.split("/")[-1] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError("it is a zip archive, but not one that torch.save made: there is no data.pkl in it")
        folder = pickles[0].removesuffix("data.pkl")
        content = _Unpickler(archive, folder).load()
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a dictionary of tensors")  # noqa: TRY004
    return {str(name): value for name, value in content.items() if isinstance(value, np.ndarray)}


# Errors of reading a damaged or foreign file; NotImplementedError: a zip that is encrypted, or compressed otherwise.
DAMAGE = (
    OSError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, NotImplementedError, RuntimeError, EOFError,
    AttributeError, LookupError, TypeError, ValueError, OverflowError, MemoryError,
)  # fmt: skip


class _State(OrderedDict[str, Any]):
    """A state dictionary; the pickle also sets an attribute ``_metadata`` on it."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")))
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _State
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGE_TYPES:
            return np.dtype(STORAGE_TYPES[name])
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a dictionary of tensors has no use for")

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        _, dtype, name, _, size = pid
        values = np.frombuffer(self._archive.read(f"{self._folder}data/{name}"), dtype=dtype)
        if len(values) != size:
            raise ValueError(f"storage {name} holds {len(values)} numbers where {size} are announced")
        return values


def _rebuild_tensor(
    storage: NDArray[Any], offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> NDArray[np.float32]:
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if min((offset, *shape, *stride)) < 0 or (0 not in shape and last >= len(storage)):
        raise ValueError("a tensor reaches beyond its storage")
    steps = [step * storage.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
    return np.ascontiguousarray(view, dtype=np.float32)


def write_tensors(path: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Write what :func:`read_tensors` and ``torch.load(weights_only=True)`` read; same tensors, same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "data.pkl", _pickle(tensors))
        _add(archive, "byteorder", b"little")
        for index, values in enumerate(tensors.values()):
            _add(archive, f"data/{index}", np.ascontiguousarray(values, dtype="<f4").tobytes())
        _add(archive, "version", b"3\n")


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(f"archive/{name}", DATE), content)


def _pickle(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Write the opcodes by hand, since pickle itself only writes names that it can import."""
    parts = [b"\x80\x02}("]
    for index, (name, values) in enumerate(tensors.items()):
        contiguous = np.ascontiguousarray(values)
        strides = [step // contiguous.itemsize for step in contiguous.strides]
        storage = _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(index)) + _text("cpu") + _int(values.size)
        parts += [
            _text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n(",
            b"(" + storage + b"tQ" + _int(0),
            b"(" + b"".join(map(_int, values.shape)) + b"t(" + b"".join(map(_int, strides)) + b"t",
            b"\x89ccollections\nOrderedDict\n)RtR",
        ]
    return b"".join([*parts, b"u."])


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def _int(value: int) -> bytes:
    return b"J" + int(value).to_bytes(4, "little", signed=True)
