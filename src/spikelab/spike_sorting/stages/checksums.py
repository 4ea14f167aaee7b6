"""Size and checksum of files: noted when a file is written, and compared before the file is read.

A list of files with their checks tells which files in the results folder a stage wrote: a damaged file is no result.
"""

from __future__ import annotations

import logging
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from spikelab.system import files as _files
from spikelab.system.json_files import read_sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

logger = logging.getLogger(__name__)

FILES = "files.json"
# {"size": bytes, "crc32": eight hexadecimal digits}
Check: TypeAlias = "dict[str, Any]"
# Number and bytes of the blocks that are read of a heavy file, which may have hundreds of gigabytes.
SAMPLES, SAMPLE = 256, 4096


class DamagedError(ValueError):
    """A file is not what was written: the message names the file, what was expected and what was found."""


def check_of(path: Path) -> Check:
    """Compute size and checksum of a file."""
    size, crc = _files.checksum(path)
    return {"size": size, "crc32": f"{crc:08x}"}


def sampled_check_of(path: Path) -> Check:
    """Compute size and checksum of blocks at equal distances of a heavy file; of up to a megabyte, of all of it."""
    crc, size = 0, path.stat().st_size
    last = max(size - SAMPLE, 0)
    starts = sorted({last * index // (SAMPLES - 1) for index in range(SAMPLES)})
    if size <= SAMPLES * SAMPLE:
        starts = list(range(0, size, SAMPLE))
    with path.open("rb", buffering=0) as file:
        for start in starts:
            file.seek(start)
            crc = zlib.crc32(file.read(SAMPLE), crc)
    return {"size": size, "crc32": f"{crc:08x}", "sampled": True}


def checks_of(paths: Iterable[Path], folder: Path, check: Callable[[Path], Check] = check_of) -> dict[str, Check]:
    """Compute the checks of files by their names relative to `folder`."""
    return {path.relative_to(folder).as_posix(): check(path) for path in paths}


def checks_below(folder: Path) -> dict[str, Check]:
    """Compute the checks of all files below `folder`."""
    return checks_of(sorted(path for path in folder.rglob("*") if path.is_file()), folder)


def damage(folder: Path, expected: Mapping[str, Check]) -> str | None:
    """Describe the first damaged file of `expected` below `folder`; None if all are intact."""
    for name, path in inside(folder, expected).items():
        if path is None:
            return f"{name!r} does not name a file in {folder}"
        if (wrong := damage_of(path, expected[name])) is not None:
            return f"{name} {wrong}"
    return None


def damage_of(path: Path, expected: Check) -> str | None:
    """Describe how a file differs from its check, in words that follow its name; OSError if it cannot be read."""
    try:
        size = path.stat().st_size
        if size != expected.get("size"):
            return f"is damaged (size {size}, expected {expected.get('size')})"
        found = sampled_check_of(path) if expected.get("sampled") else check_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except IsADirectoryError:
        return "is damaged (a folder, expected a file)"
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, f"{path} cannot be read: {error.strerror}") from error
        raise
    if found != expected:
        return f"is damaged (checksum {found['crc32']}, expected {expected.get('crc32')})"
    return None


def is_checks(value: Any) -> TypeGuard[dict[str, Check]]:
    """Whether `value`, read from a file, is a dict of checks by name."""
    return isinstance(value, dict) and all(isinstance(check, dict) for check in value.values())


def inside(folder: Path, names: Iterable[str]) -> dict[str, Path | None]:
    """Return the paths of `names` in `folder`; None for a name that leads out of it, or is none."""
    base = folder.resolve()
    return {name: folder / name if _is_inside(base, name) else None for name in names}


def _is_inside(base: Path, name: str) -> bool:
    for parts in (PurePosixPath(name), PureWindowsPath(name)):
        if parts.is_absolute() or parts.drive or not parts.parts or ".." in parts.parts or "\0" in name:
            return False
    try:
        return (base / name).resolve().is_relative_to(base)
    except (OSError, RuntimeError):  # links in a circle
        return False


def recorded_files(record: Path, target: Path) -> list[Path]:
    """Return the files that `record` lists; DamagedError if one of them, or the list, is damaged or gone."""
    checks = listed(record)
    if (wrong := damage(target, checks)) is not None:
        raise DamagedError(wrong)
    return [target / name for name in checks]


def listed(record: Path) -> dict[str, Check]:
    """Return the files that `record` lists, by their names below where users look."""
    try:
        checks = read_sealed(record / FILES).get("files")
    except ValueError as error:
        raise DamagedError(str(error)) from error
    if not is_checks(checks):
        raise DamagedError(f"{record / FILES} is damaged: it lists no files")
    return checks
