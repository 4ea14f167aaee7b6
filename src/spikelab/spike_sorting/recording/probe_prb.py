"""Read the contacts of a prb file, of klusta and SpyKING CIRCUS, which is a Python program, without running it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.geometry.attach import BUNDLE_PITCH_UM, LARGEST_BUNDLE
from spikelab.system.runlog import warn
from spikelab.system.texts import brief, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

GROUPS = "channel_groups"
LONGEST_RANGE = 100_000
# Imports are not run, and no value that is read comes from them; constants are comments.
HARMLESS = (ast.Import, ast.ImportFrom, ast.Pass, ast.Constant)
CONVERT = (
    "prb files are Python programs, which are not run here. If you trust it, convert it: "
    'python -c "from probeinterface import read_prb, write_probeinterface; '
    "write_probeinterface('probe.json', read_prb('{name}'))\""
)


class _NotAValueError(Exception):
    """Expression that is more than a value."""

    def __init__(self, node: ast.AST) -> None:
        super().__init__(getattr(node, "lineno", 0))


def read_prb(path: Path) -> Any:
    """Return a ``ProbeGroup`` with a probe for each channel group, wired to its channels.

    Lists, numbers and ``range`` are understood; a ValueError names the line of anything else.
    """
    from probeinterface import Probe, ProbeGroup

    groups = _channel_groups(path)
    group = ProbeGroup()
    bundles = False
    for name, values in groups.items():
        channels, places, is_bundle = _contacts(path, name, values)
        bundles |= is_bundle
        probe = Probe(ndim=2, si_units="um", name=str(name))
        probe.set_contacts(places, shapes="circle", shape_params={"radius": 5})
        probe.set_device_channel_indices(channels)
        group.add_probe(probe)
    if bundles:
        warn(
            f"{path} has groups without a geometry: their channels are taken to be wires of one bundle, "
            f"{BUNDLE_PITCH_UM:g} um apart"
        )
    return group


def _channel_groups(path: Path) -> dict[Any, Any]:
    """Return the value of ``channel_groups``."""
    text = read_text(path, "a prb file")
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise ValueError(f"{path}{f', line {line}' if line else ''}: no valid prb file, which is Python") from error
    try:
        value = _assigned(statements)
    except _NotAValueError as error:
        advice = CONVERT.format(name=path.name)
        raise ValueError(f"{path}, line {error}: more than lists and numbers; {advice}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no valid prb file: {error}") from error
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{path} has no {GROUPS}; expected {GROUPS} = {{0: {{'channels': [...], 'geometry': ...}}}}")
    return value


def _assigned(statements: list[ast.stmt]) -> Any:
    names: dict[str, ast.expr] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if not isinstance(target, ast.Name):
                    raise _NotAValueError(statement)
                names[target.id] = statement.value
        elif not isinstance(getattr(statement, "value", statement), HARMLESS):
            raise _NotAValueError(statement)
    return _value(names[GROUPS], names, 0) if GROUPS in names else None


def _value(node: ast.expr | None, names: Mapping[str, ast.expr], depth: int) -> Any:
    """Compute the value of an expression of literals."""
    compute = _VALUES.get(type(node))
    if node is None or compute is None or depth > 50:
        raise _NotAValueError(node or ast.Constant(None))
    return compute(node, names, depth + 1)


def _number(node: Any, names: Mapping[str, ast.expr], depth: int) -> Any:
    value = _value(node.operand, names, depth)
    if not isinstance(node.op, ast.USub | ast.UAdd) or not isinstance(value, int | float):
        raise _NotAValueError(node)
    return -value if isinstance(node.op, ast.USub) else value


def _list(node: Any, names: Mapping[str, ast.expr], depth: int) -> Any:
    return tuple(_value(item, names, depth) for item in node.elts)


def _dict(node: Any, names: Mapping[str, ast.expr], depth: int) -> Any:
    keys = [_value(key, names, depth) for key in node.keys]
    return dict(zip(keys, (_value(value, names, depth) for value in node.values), strict=True))


def _named(node: Any, names: Mapping[str, ast.expr], depth: int) -> Any:
    return _value(names.get(node.id), names, depth)


def _call(node: Any, names: Mapping[str, ast.expr], depth: int) -> Any:
    """Compute ``range(...)``, ``list(...)`` and ``tuple(...)``."""
    called = getattr(node.func, "id", "")
    if called not in ("range", "list", "tuple") or node.keywords:
        raise _NotAValueError(node)
    values = [_value(argument, names, depth) for argument in node.args]
    counted = range(*values) if called == "range" else tuple(*values)
    if len(counted) > LONGEST_RANGE:
        raise _NotAValueError(node)
    return tuple(counted)


_VALUES: dict[type[Any], Callable[[Any, Mapping[str, ast.expr], int], Any]] = {
    ast.Constant: lambda node, _, __: node.value,
    ast.UnaryOp: _number,
    ast.List: _list,
    ast.Tuple: _list,
    ast.Dict: _dict,
    ast.Name: _named,
    ast.Call: _call,
}


def _contacts(path: Path, name: Any, values: Any) -> tuple[Any, Any, bool]:
    """Return channels and places of a group, and whether the places of its wires were assumed."""
    channels = values.get("channels") if isinstance(values, dict) else None
    if not isinstance(channels, tuple) or not channels or not all(type(channel) is int for channel in channels):
        raise ValueError(f"{path}: group {name!r} has the channels {brief(channels)}; expected a list of whole numbers")
    geometry = values.get("geometry")
    if geometry:
        return np.array(channels), _places(path, name, channels, geometry), False
    if len(channels) > LARGEST_BUNDLE:
        raise ValueError(
            f"{path}: group {name!r} has {len(channels)} channels and no geometry; expected 'geometry': {{channel: "
            "(x, y), ...}, in micrometres"
        )
    step = np.arange(len(channels))
    return np.array(channels), BUNDLE_PITCH_UM * np.column_stack([step % 2, step // 2]), True


def _places(path: Path, name: Any, channels: tuple[int, ...], geometry: Any) -> NDArray[np.float64]:
    """Return the places of the channels of a group; a list is in the order of the channels."""
    by_channel = dict(zip(channels, geometry, strict=False)) if isinstance(geometry, tuple) else geometry
    places = [by_channel.get(channel) if isinstance(by_channel, dict) else None for channel in channels]
    for channel, place in zip(channels, places, strict=True):
        if not _is_place(place):
            raise ValueError(
                f"{path}: channel {channel} of group {name!r} has the place {brief(place)}; expected (x, y)"
            )
    return np.array(places, dtype=np.float64)


def _is_place(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(number) in (int, float) for number in value)
