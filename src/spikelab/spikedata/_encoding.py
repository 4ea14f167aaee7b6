"""``SpikeData`` as plain arrays and one JSON text, and back, exactly.

The neuron attributes become columns: one array over all units where the values have one dtype and shape (``stack``),
one concatenation where only the first dimension differs (``ragged``), otherwise one JSON value per unit (``values``).
Columns that share their arrays with an earlier column are stored once; ``same_as`` names that column.
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from spikelab.spikedata._base import BaseSpikeData

    Arrays: TypeAlias = Mapping[str, NDArray[Any]]
    # A list holds arrays of one dtype and shape that are stored as one, without a copy of all of them in memory.
    Stored: TypeAlias = NDArray[Any] | list[NDArray[Any]]

FORMAT, VERSION = "spikelab.SpikeData", 1
STORABLE_KINDS = "biufcSUmM"
LARGE_ROW_BYTES = 4096
PYTHON_NUMBERS: dict[str, type] = {"bool": bool, "int": int, "float": float}


def encode(sd: BaseSpikeData) -> tuple[str, dict[str, Stored]]:
    """Return the JSON header and the arrays of `sd` by name."""
    writer = _Writer()
    # First, so that they get exactly these names.
    writer.array(np.concatenate([np.empty(0), *sd.train]), "spike_times")
    writer.array(sd.spike_counts, "spike_counts")
    writer.array(sd.raw_data, "raw_data")
    writer.array(sd.raw_time, "raw_time")
    header = {
        "format": FORMAT,
        "version": VERSION,
        "start_time": sd.start_time,
        "length": sd.length,
        "metadata": writer.value(sd.metadata, "metadata"),
        "neuron_attributes": sd.neuron_attributes and _encode_columns(writer, sd.neuron_attributes),
    }
    return json.dumps(header, allow_nan=False), writer.arrays


def decode(header: str, arrays: Arrays) -> dict[str, Any]:
    """Return the constructor arguments of what :func:`encode` encoded."""
    values = json.loads(header)
    if values.get("format") != FORMAT or values.get("version") != VERSION:
        raise ValueError(
            f"expected format {FORMAT!r} version {VERSION}, found {values.get('format')!r} {values.get('version')!r}"
        )
    counts, columns = arrays["spike_counts"], values["neuron_attributes"]
    return {
        "train": _split(arrays["spike_times"], counts),
        "length": values["length"],
        "start_time": values["start_time"],
        "neuron_attributes": None if columns is None else _decode_columns(columns, arrays, len(counts)),
        "metadata": _decode_value(values["metadata"], arrays),
        "raw_data": arrays["raw_data"],
        "raw_time": arrays["raw_time"],
    }


# ---- single values ---------------------------------------------------------------------------------------------------
# What JSON has no notation for is a dict with one key that starts with "$".


class _Writer:
    """Encoder of values that keeps each array once, beside the JSON text."""

    def __init__(self) -> None:
        self.arrays: dict[str, Stored] = {}
        self._known: dict[Any, str] = {}
        self._kept_alive: list[NDArray[Any]] = []

    def array(self, array: NDArray[Any], name: str) -> str:
        """Keep `array` and return the name under which it is kept."""
        if isinstance(array, np.ma.MaskedArray) or array.dtype.kind not in STORABLE_KINDS:
            raise TypeError(
                f"{name}: an array of type {type(array).__name__} and dtype {array.dtype} cannot be stored without "
                "pickling; convert it, or save as .pkl"
            )
        memory = _memory(array)
        if memory not in self._known:
            self._known[memory] = self._add(np.asarray(array, order="C"), name)
            self._kept_alive.append(array)  # or a later array may get its address
        return self._known[memory]

    def stack(self, arrays: list[NDArray[Any]], name: str) -> str:
        """Keep arrays of one dtype and shape as one array of all."""
        if arrays[0].nbytes < LARGE_ROW_BYTES or arrays[0].dtype.kind not in "biuf":
            return self.array(np.stack(arrays), name)
        return self._add(arrays, name)

    def _add(self, array: Stored, name: str) -> str:
        key = re.sub(r"[^A-Za-z0-9_]+", "_", name)
        if key in self.arrays:
            key = f"{key}_{len(self.arrays)}"
        self.arrays[key] = array
        return key

    def value(self, value: Any, name: str) -> Any:
        """Return `value` in terms of JSON; `name` names its place, for messages and for its arrays."""
        if value is None or type(value) in (bool, int, str):
            return value
        if isinstance(value, np.ndarray):
            return {"$array": self.array(value, name)}
        if isinstance(value, np.generic):
            return {"$scalar": self.array(np.asarray(value), name)}
        if isinstance(value, bytes):
            return {"$bytes": base64.b64encode(value).decode()}
        if type(value) not in _ENCODERS:
            raise TypeError(
                f"{name}: a value of type {type(value).__name__} cannot be stored without pickling; expected numbers, "
                "text, None, arrays, or lists, tuples and dicts of these; convert it, or save as .pkl"
            )
        return _ENCODERS[type(value)](self, value, name)

    def values(self, values: Sequence[Any], name: str) -> list[Any]:
        """Return each of `values` in terms of JSON."""
        return [self.value(value, f"{name}_{i}") for i, value in enumerate(values)]

    def mapping(self, values: Mapping[Any, Any], name: str) -> Any:
        """Return a dict as such where JSON can hold its keys, else as a list of pairs."""
        if all(type(key) is str and not key.startswith("$") for key in values):
            return {key: self.value(item, f"{name}_{key}") for key, item in values.items()}
        return {"$dict": [[self.value(k, f"{name}_key"), self.value(v, f"{name}_{k}")] for k, v in values.items()]}


_ENCODERS: dict[type, Callable[[_Writer, Any, str], Any]] = {
    float: lambda _writer, number, _name: number if math.isfinite(number) else {"$float": str(number)},
    list: _Writer.values,
    tuple: lambda writer, items, name: {"$tuple": writer.values(items, name)},
    dict: _Writer.mapping,
}


def _memory(array: NDArray[Any]) -> Any:
    """Identify the memory of an array: equal for two arrays that are the same view of the same memory."""
    if array.size == 0:
        return id(array)
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str


def _decode_value(value: Any, arrays: Arrays) -> Any:
    if isinstance(value, list):
        return [_decode_value(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    tag: str = next(iter(value), "")
    if not tag.startswith("$"):
        return {key: _decode_value(item, arrays) for key, item in value.items()}
    return _DECODERS[tag](value[tag], arrays)


_DECODERS: dict[str, Callable[[Any, Arrays], Any]] = {
    "$array": lambda key, arrays: arrays[key],
    "$scalar": lambda key, arrays: arrays[key][()],
    "$float": lambda text, _: float(text),
    "$bytes": lambda text, _: base64.b64decode(text),
    "$tuple": lambda items, arrays: tuple(_decode_value(items, arrays)),
    "$dict": lambda pairs, arrays: dict(_decode_value(pairs, arrays)),
}


# ---- columns ---------------------------------------------------------------------------------------------------------


def _encode_columns(writer: _Writer, units: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    encoded: list[dict[str, Any]] = []
    columns: dict[Any, int] = {}  # position of the first column with these arrays
    for name in dict.fromkeys(name for values in units for name in values):
        column = {unit: values[name] for unit, values in enumerate(units) if name in values}
        entry: dict[str, Any] = {"name": writer.value(name, "neuron_attributes")}
        if len(column) < len(units):
            entry["units"] = list(column)
        first = columns.setdefault(_column_memory(column), len(encoded))
        if first < len(encoded):
            entry |= {"kind": "same_as", "column": first}
        else:
            entry |= _encode_column(writer, list(column.values()), f"unit_{name}")
        encoded.append(entry)
    return encoded


def _column_memory(column: Mapping[int, Any]) -> Any:
    """Identify the memory of the arrays of a column; a column that holds anything else is like no other."""
    if not all(isinstance(value, np.ndarray) for value in column.values()):
        return object()
    return tuple((unit, _memory(value)) for unit, value in column.items())


def _encode_column(writer: _Writer, values: Sequence[Any], name: str) -> dict[str, Any]:
    of, arrays = _as_arrays(values)
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1:
        return {"kind": "stack", "of": of, "array": writer.stack(arrays, name)}
    if all(shapes) and len({shape[1:] for shape in shapes}) == 1:  # an empty shape is that of a single number
        lengths = np.array([len(array) for array in arrays], dtype=np.int64)
        return {
            "kind": "ragged",
            "array": writer.array(np.concatenate(arrays), name),
            "lengths": writer.array(lengths, f"{name}_lengths"),
        }
    return {"kind": "values", "values": writer.values(values, name)}


def _as_arrays(values: Sequence[Any]) -> tuple[str, list[NDArray[Any]]]:
    """Return what the values of a column are, and the values as arrays of one dtype; no arrays where that is lossy."""
    of = _common_type(values)
    arrays = [np.asarray(value) for value in values] if of else []
    is_one_dtype = len({array.dtype for array in arrays}) == 1
    return (of, arrays) if is_one_dtype and arrays[0].dtype.isnative else ("", [])


def _common_type(values: Sequence[Any]) -> str:
    """Name the type of all values; "" where they have several, or one that arrays do not keep."""
    kind = type(values[0])
    if set(map(type, values)) != {kind}:
        return ""
    if kind is np.ndarray:
        return "array"
    if issubclass(kind, np.generic):
        return "scalar"
    if kind is int and not -(2**63) <= min(values) <= max(values) < 2**63:
        return ""
    return kind.__name__ if kind in PYTHON_NUMBERS.values() else ""


def _decode_columns(entries: Sequence[Mapping[str, Any]], arrays: Arrays, n_units: int) -> list[dict[str, Any]]:
    units: list[dict[str, Any]] = [{} for _ in range(n_units)]
    columns: list[Sequence[Any]] = []
    for entry in entries:
        is_shared = entry["kind"] == "same_as"
        columns.append(columns[entry["column"]] if is_shared else _decode_column(entry, arrays))
        name = _decode_value(entry["name"], arrays)
        for unit, value in zip(entry.get("units", range(n_units)), columns[-1], strict=True):
            units[unit][name] = value
    return units


def _decode_column(entry: Mapping[str, Any], arrays: Arrays) -> Sequence[Any]:
    if entry["kind"] == "values":
        return [_decode_value(value, arrays) for value in entry["values"]]
    array = arrays[entry["array"]]
    if entry["kind"] == "ragged":
        return _split(array, arrays[entry["lengths"]])
    if entry["of"] == "array":
        return [array[i, ...] for i in range(len(array))]  # a single value stays an array
    if entry["of"] == "scalar":
        return list(array)
    return [PYTHON_NUMBERS[entry["of"]](value) for value in array.tolist()]


def _split(array: NDArray[Any], lengths: NDArray[np.int64]) -> list[NDArray[Any]]:
    ends = np.cumsum(lengths)
    return [array[end - length : end] for end, length in zip(ends, lengths, strict=True)]
