"""Reading of ``params.py`` of a Kilosort or phy folder: what it says of the recording. It is parsed, never run."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.texts import brief, read_text

if TYPE_CHECKING:
    from collections.abc import Callable

PARAMS = "params.py"
WHAT = "lines such as sample_rate = 30000., as Kilosort and phy write them"
FOLDERS_ABOVE = 2  # in which a recording is looked for, whose path is of another machine


@dataclass(frozen=True)
class PhyParams:
    """What ``params.py`` says; None for what it does not say."""

    dat_paths: tuple[str, ...] = ()
    n_channels: int | None = None
    dtype: str | None = None
    offset: int = 0
    sample_rate: float | None = None


def read_params(folder: Path) -> PhyParams:
    """Read ``params.py`` of a folder; without one nothing is known. ValueError for a value that cannot be."""
    path = folder / PARAMS
    if not path.is_file():
        return PhyParams()
    values = _assigned(path)
    paths = values.get("dat_path", ())
    return PhyParams(
        dat_paths=tuple(map(str, [paths] if isinstance(paths, str) else paths or ())),
        n_channels=_checked(path, values, "n_channels_dat", int, lambda n: n > 0, "a number of channels"),
        dtype=_checked(path, values, "dtype", lambda name: np.dtype(name).name, bool, "a type such as 'int16'"),
        offset=_checked(path, values, "offset", int, lambda n: n >= 0, "a number of bytes") or 0,
        sample_rate=_checked(path, values, "sample_rate", float, lambda rate: 0 < rate < np.inf, "a rate in Hz"),
    )


def _assigned(path: Path) -> dict[str, Any]:
    """Collect the values that are written out; what is computed is left out."""
    text = read_text(path, WHAT)
    try:
        lines = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path} is no Python ({error}); expected {WHAT}") from error
    found: dict[str, Any] = {}
    for line in lines:
        if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
            try:
                found[line.targets[0].id] = ast.literal_eval(_text_of_path(line.value))
            except (ValueError, TypeError, RecursionError, MemoryError):
                continue
    return found


def _text_of_path(value: ast.expr) -> ast.expr:
    """Return what a path is made of: of ``PosixPath('rec.dat')`` the text, of any other value the value."""
    is_path = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id.endswith("Path")
    return value.args[0] if isinstance(value, ast.Call) and is_path and len(value.args) == 1 else value


def _checked(
    path: Path,
    values: dict[str, Any],
    name: str,
    convert: Callable[[Any], Any],
    accept: Callable[[Any], bool],
    expected: str,
) -> Any:
    """Return a value of ``params.py``; None where there is none."""
    if name not in values or values[name] is None:
        return None
    try:
        value = convert(values[name])
    except (TypeError, ValueError, OverflowError):
        value = None
    if value is None or not accept(value):
        raise ValueError(f"{path}: {name} is {brief(values[name])}; expected {expected}")
    return value


def places_of(folder: Path, named: str) -> list[Path]:
    """List where a file may be that ``params.py`` names: there, or by its name in the folder or close above it.

    The path may be of another machine, and of another system.
    """
    windows = "\\" in named or PureWindowsPath(named).drive
    parts = (PureWindowsPath(named) if windows else PurePosixPath(named)).parts
    above = [folder, *folder.absolute().parents[:FOLDERS_ABOVE]]
    places = [] if windows else [folder / named]
    places += [above_it.joinpath(*parts[-n:]) for n in (2, 1) if len(parts) >= n for above_it in above]
    return list(dict.fromkeys(places))
