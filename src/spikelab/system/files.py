"""Atomic writing: a file is written under a temporary name beside the target, then renamed.

The temporary name identifies the process that writes: ``.{name}.{host}-{process}-{start}-{n}.new{suffix}``. Two
processes or threads that write the same file do not collide, and leftovers of killed processes can be recognised: they
are removed by the next process that writes into the folder, and at the start of a sort (:func:`sweep`).
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import zlib
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from spikelab.system.process import machine, pid_namespace, started_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Leftovers of another host, whose processes cannot be seen from here, are removed when they are this old.
FOREIGN_AGE_S = 86_400.0
LONGEST_NAME = 150  # bytes of the target's name that a temporary name repeats: a file system allows 255 in all
LONGEST_SUFFIX = 10
BLOCK = 1 << 20  # bytes that are read at a time: they stay in the processor's cache
LEFTOVER = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-\d+\.new(\.[^.]*)?", re.DOTALL)

_count = itertools.count()
_swept: set[tuple[int, Path]] = set()


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with the same suffix, that replaces that file at the end of the block.

    After an error the temporary is removed, and `path` is as it was. With `durable`, the disk has the file before it
    replaces the old one, so that a power cut leaves one of them: for files that took long to make, or cannot be made
    again.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise FileExistsError(f"{path} cannot be written: there is a folder of that name; move it away")
    temporary = temporary_name(path)
    try:
        yield temporary
        if durable:
            sync([temporary])
        temporary.replace(path)
        if durable:
            sync([path.parent])
    finally:
        temporary.unlink(missing_ok=True)
    _sweep_once(path.parent)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, removed at the end: move its finished content into place before."""
    _sweep_once(path.parent)
    temporary = temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        remove(temporary)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write `text` as UTF-8 into `path`, which holds the old text or the new one at any time."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def temporary_name(path: Path) -> Path:
    """Make a name beside `path` that no other process or thread uses, and that identifies this process."""
    name, suffix, pid = path.name, path.suffix, os.getpid()
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = _digest(os.fsencode(name), 8)
    if len(os.fsencode(suffix)) > LONGEST_SUFFIX:
        suffix = ""
    return path.with_name(f".{name}.{_this_host()}-{pid}-{_start_of(pid)}-{next(_count)}.new{suffix}")


def checksum(path: Path, end: int | None = None) -> tuple[int, int]:
    """Compute size and CRC-32 of a file, or of its first `end` bytes.

    A CRC finds damage, not malice: whoever can change a file can change its recorded CRC.
    """
    crc, size, buffer = 0, 0, memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(buffer[: BLOCK if end is None else min(BLOCK, end - size)]):
            crc, size = zlib.crc32(buffer[:n], crc), size + n
    return size, crc


def sync(paths: Iterable[Path]) -> None:
    """Wait until the disk has the content of these files, and the names in these folders."""
    for path in paths:
        if os.name != "posix" and path.is_dir():
            continue  # Windows opens no folders, and keeps their names by itself
        descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path, *, below: bool = False) -> None:
    """Remove temporary files of killed processes from `folder`, and with `below` from every folder in it.

    Files of this host are removed when their process has ended; files of another host, when they are older than a day
    by the clock that dates files in `folder`.
    """
    folders = [Path(place) for place, _, _ in os.walk(folder)] if below else [folder]
    for place in folders:
        with suppress(OSError):
            for name in os.listdir(place):  # noqa: PTH208  a hundred thousand names need no Path each
                match = LEFTOVER.fullmatch(name)
                if match is not None and _is_dead(place / name, match):
                    remove(place / name)


def now_of(folder: Path) -> float:
    """Read the clock that dates files in `folder`: on a network drive, that of the file server."""
    probe = temporary_name(folder / "clock")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _sweep_once(folder: Path) -> None:
    """Sweep `folder` when this process first writes there; listing it each time would take as long as writing."""
    if (os.getpid(), folder) not in _swept:
        _swept.add((os.getpid(), folder))
        sweep(folder)


def _is_dead(path: Path, match: re.Match[str]) -> bool:
    """Whether the process that wrote the temporary `path` has ended."""
    if match["host"] == _this_host():
        return _as_text(started_at(int(match["pid"]))) != match["start"]
    return now_of(path.parent) - path.stat().st_mtime > FOREIGN_AGE_S


def existing(path: Path) -> Path:
    """Find the nearest path that exists: `path` itself or a folder above it."""
    return next((folder for folder in (path, *path.parents) if folder.exists()), Path(path.anchor))


def tidy(path: Path) -> Path:
    """Make a path absolute, without ``..`` in it where that names the same place."""
    absolute = path.absolute()
    if ".." not in absolute.parts:
        return absolute
    tidied = Path(os.path.normpath(absolute))
    return tidied if tidied.resolve() == absolute.resolve() else absolute  # behind a link .. is elsewhere


def why_unusable(folder: Path) -> str:
    """Say why no file can be made in a folder, which may be still to be made; "" where one can, as far as is seen."""
    place = existing(folder)
    if not place.is_dir():
        return f"{place} is no folder but a file"
    if shutil.disk_usage(place).total == 0:
        return f"{place} is no disk: it belongs to the system, and holds no files"
    if place != folder and not os.access(place, os.W_OK):
        return f"you cannot write to {place}"
    return ""


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)


@cache
def _this_host() -> str:
    """Identify this host since its start, and this container: process numbers are unique within these only."""
    return _digest(f"{machine()}/{pid_namespace()}".encode(), 4)


def _digest(content: bytes, n_bytes: int) -> str:
    import hashlib  # takes 10 ms, and spike data are imported without writing a file

    return hashlib.blake2b(content, digest_size=n_bytes).hexdigest()


@cache
def _start_of(pid: int) -> str:
    """Return when this process, number `pid`, was started: the number may be given to another process later."""
    return _as_text(started_at(pid))


def _as_text(start: float | None) -> str:
    return "" if start is None else f"{start:.0f}"
