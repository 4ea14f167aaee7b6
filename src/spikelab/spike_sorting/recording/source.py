"""Classify an input: a recording in memory, a file, a folder that is a recording, or a folder of files."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spikelab.spike_sorting.recording.formats import (
    HEADERLESS,
    IN_MEMORY,
    SUFFIXES,
    Format,
    file_format,
    folder_format,
    intan_header,
    known_formats,
)
from spikelab.spike_sorting.recording.read_errors import list_some, reading
from spikelab.system.files import tidy

if TYPE_CHECKING:
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.settings.schema import RecordingConfig

HEADERLESS_FIELDS = ("probe_path", "sampling_frequency", "num_channels", "dtype")
BLOCK_BYTES, N_BLOCKS, MAX_SAMPLED_FILES = 1 << 16, 16, 64
BLOCK_FRAMES = 256
LONGEST_NAME = 180  # bytes; file systems allow 255, and the names of folders have a few words more


@dataclass(frozen=True)
class Source:
    """An input that is classified but not opened."""

    kind: Literal["memory", "file", "folder", "files"]  # a folder is a recording; files are those of a folder
    files: tuple[Path, ...]  # to open, in order; none in memory
    stem: str  # fit for a file name; ends in the names of stream and recording where these were chosen
    format: str
    recording: BaseRecording | None = field(default=None, repr=False)


def resolve_source(source: Any, config: RecordingConfig | None = None) -> Source:
    """Classify `source`, a path or a SpikeInterface recording in memory, opening no more than the head of its files.

    `config` has the names of stream and recording, and the fields that headerless binary files need.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is nothing at the path, or no recording: of an unknown format, corrupt, in a folder with several
        formats, or without the fields that describe a headerless file.
    """
    if isinstance(source, Source):
        return source
    if not isinstance(source, str | os.PathLike):
        stem = safe_name(source.get_annotation("name") or "recording")
        return Source("memory", (), _with_names(stem, config), IN_MEMORY, source)
    path = Path(source)
    require_name(path)
    if not _exists(path):
        raise FileNotFoundError(f"there is no file or folder {path}")
    with reading(path):
        kind, files, known = _classify(tidy(path))
    if known is HEADERLESS and config is not None:
        require_headerless_fields(files[0], config)
    return Source(kind, files, _with_names(stem_of(path), config), known.name)


def require_name(path: Path) -> None:
    """Check that a path is text (UTF-8), as it is written into logs, reports and JSON."""
    name = str(path.absolute())
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode(errors="backslashreplace")
        raise ValueError(
            f"the name {shown} has bytes that are no text (UTF-8): rename it, as it goes into logs, reports and JSON"
        ) from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ValueError(f"{path} cannot be the name of a file here: it is too long ({error.strerror})") from error


def refuse_special(path: Path) -> None:
    """Refuse pipes, sockets and devices, which may have no end: `path`, or a file anywhere in that folder."""
    waiting = [path]
    while waiting:
        here = waiting.pop()
        mode = here.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            inside = f": {path} holds it" if here != path else ""
            raise ValueError(f"{here} is a pipe, a socket or a device, not a file{inside}. Copy it into a file first")
        if stat.S_ISDIR(mode):
            with os.scandir(here) as entries:
                waiting += [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False) or not _is_plain(e)]


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file, or a link to a file, a folder or nothing; linked folders are not entered."""
    return entry.is_file() or (entry.is_symlink() and (entry.is_dir() or not os.path.exists(entry)))  # noqa: PTH110


def _classify(path: Path) -> tuple[Literal["file", "folder", "files"], tuple[Path, ...], Format]:
    if not path.is_dir():
        refuse_special(path)
        known = file_format(path)
        if known is None:
            raise ValueError(
                f"the format of {path} is not known. Known are: {known_formats()}. Anything else that SpikeInterface "
                "opens can be opened with it and handed over as a recording in memory"
            )
        if intan_header(path.parent) == path:  # its data are in the files beside it
            return "folder", (path.parent,), known
        return "file", (path,), known
    known = folder_format(path)
    if known is not None:
        refuse_special(path)
        return "folder", (path,), known
    files, known = _files_of_folder(path)
    return "files", files, known


def _files_of_folder(folder: Path) -> tuple[tuple[Path, ...], Format]:
    """Return the recordings in `folder` in natural order, and their one format."""
    found: dict[Path, Format] = {}
    others = []
    for entry in _visible(folder):
        known = _format_of(entry)
        if known is None:
            others.append(entry.name + ("/" if entry.is_dir() else ""))
        else:
            found[entry] = known
    if not found:
        raise ValueError(f"{folder} has no recordings. It holds {list_some(others) or 'nothing'}")
    kinds: dict[str, list[str]] = {}
    for entry, known in found.items():
        kinds.setdefault(known.name, []).append(entry.name)
    if len(kinds) > 1:
        table = "; ".join(f"{name}: {list_some(names)}" for name, names in kinds.items())
        raise ValueError(f"{folder} has recordings of several formats, which cannot be concatenated: {table}")
    return tuple(found), next(iter(found.values()))


def entries_of_folder(folder: Path) -> list[tuple[Path, Format | Exception]]:
    """List what is a recording in `folder` by its name or content, with its format, or why that cannot be told."""
    found: list[tuple[Path, Format | Exception]] = []
    for entry in _visible(folder):
        try:
            known = _format_of(entry)
        except (OSError, ValueError) as error:
            found.append((entry, error))
        else:
            found += [] if known is None else [(entry, known)]
    return found


def _visible(folder: Path) -> list[Path]:
    """List the entries of `folder` in natural order, without hidden ones."""
    entries = sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    return [entry for entry in entries if not entry.name.startswith(".")]


def _format_of(entry: Path) -> Format | None:
    """Return the format of an entry of a folder; None for a broken link and anything else that is no recording."""
    known = folder_format(entry) if entry.is_dir() else None
    if entry.is_dir() and known is None:
        return None
    if not entry.exists():
        return None
    require_name(entry)
    refuse_special(entry)
    return known or file_format(entry)


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Make a sort key that puts ``rec2`` before ``rec10``, whatever the case of the letters."""
    parts = re.split(r"(\d+)", name.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def require_headerless_fields(path: Path, config: RecordingConfig) -> None:
    """Check that the fields that describe a headerless binary file are set."""
    missing = [name for name in HEADERLESS_FIELDS if getattr(config, name) is None]
    if missing:
        raise ValueError(f"{path} is a binary file without a header: set {', '.join(missing)} to say what it holds")


def stem_of(path: Path) -> str:
    """Return the file name without the suffixes of its format, in characters that every file system takes."""
    name = path.name if path.name not in ("", "..") else path.resolve().name
    if path.is_file() or path.suffix.lower() == ".zarr":
        suffix = next((s for s in SUFFIXES if name.lower().endswith(s) and len(name) > len(s)), "")
        name = name[: len(name) - len(suffix)]
    return safe_name(name)


def safe_name(text: str) -> str:
    """Turn `text` into a file name that Linux, macOS and Windows accept."""
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "-", text).rstrip(". ") or "recording"
    encoded = name.encode(errors="surrogateescape")
    if len(encoded) <= LONGEST_NAME:
        return name
    digest = hashlib.blake2b(encoded, digest_size=4).hexdigest()
    return f"{encoded[: LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"


def _with_names(stem: str, config: RecordingConfig | None) -> str:
    chosen = () if config is None else (config.stream_id, config.rec_name)
    return "_".join([stem, *(safe_name(str(name)) for name in chosen if name is not None)])
