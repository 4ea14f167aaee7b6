"""Read and tidy the log that has all output of a sorter's process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.system import files

if TYPE_CHECKING:
    from pathlib import Path

TAIL_BYTES = 4096
SHOWN_CHARACTERS = 200


def tail(path: Path) -> str:
    """Read the end of a log; "" where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, size(path) - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def last_line(path: Path) -> str:
    """Read the last line that is not empty, or the last state of a progress bar."""
    lines = tail(path).replace("\r", "\n").splitlines()
    return next((line.strip()[:SHOWN_CHARACTERS] for line in reversed(lines) if line.strip()), "")


def size(path: Path) -> int:
    """Get the bytes of a file; 0 of one that was removed meanwhile."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def clean_log(path: Path) -> None:
    """Keep the last state of lines that were drawn over and over (progress bars)."""
    text = path.read_bytes()
    if b"\r" not in text:
        return
    lines = [line.rstrip(b"\r").rpartition(b"\r")[2] for line in text.split(b"\n")]
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"\n".join(lines))
