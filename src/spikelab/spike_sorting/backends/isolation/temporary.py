"""Give a sorter's process a folder of its own for temporary files, inside the run folder, and empty it afterwards.

A killed sorter would leave gigabytes in the system's temporary folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from spikelab.system.process import machine

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER, PREFIX = "tmp", "spikelab-"
VARIABLES = ("TMPDIR", "TEMP", "TMP")  # the last two are Windows'


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Name a folder inside `folder` for temporary files; emptied with the run, however the child ends.

    The name is a short link where the system has them: sockets must have a path of less than about 100 characters.
    """
    inside = folder / FOLDER
    inside.mkdir(exist_ok=True)
    base, prefix = Path(tempfile.gettempdir()), f"{PREFIX}{visible_files()}-"
    for old in base.glob(prefix + "*"):
        with suppress(OSError):  # left by a run that was killed: its folder is gone, or it is this one
            if old.is_symlink() and (not old.exists() or old.readlink() == inside.absolute()):
                old.unlink()
    link = base / f"{prefix}{uuid.uuid4().hex[:12]}"
    try:
        link.symlink_to(inside.absolute(), target_is_directory=True)
    except OSError:  # Windows, without the right to
        link = inside
    try:
        yield link
    finally:
        if link.is_symlink():
            link.unlink()
        shutil.rmtree(inside, ignore_errors=True)


@cache
def visible_files() -> str:
    """Name the file system of this process: a link that leads nowhere here may be in use in another container."""
    try:
        files = str(Path("/proc/self/ns/mnt").readlink())
    except OSError:
        files = ""
    return hashlib.blake2b(f"{machine()} {files}".encode(), digest_size=3).hexdigest()


def remove_own_link() -> None:
    """Remove the link that the parent made for this process, after the parent was killed."""
    link = Path(os.environ.get(VARIABLES[0], ""))
    if link.name.startswith(PREFIX) and link.is_symlink():
        link.unlink(missing_ok=True)
