"""Heavy folders: made by us, marked as ours, and only then emptied or deleted."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from spikelab import _files
from spikelab.spike_sorting._exceptions import FolderUnusableError

if TYPE_CHECKING:
    from pathlib import Path

# Says that a folder is ours, and which run's artifact its content belongs to once it is complete.
OWNER = "owner.json"
FOLDERS = ("recording", "sorting", "waveforms")


def empty_folder(folder: Path) -> None:
    """Make `folder`, or empty it where it is ours.

    Raises
    ------
    FolderUnusableError
        If there is something in it that we did not write.
    """
    if folder.exists() and not is_ours(folder):
        raise FolderUnusableError(
            f"{folder} holds something that spikelab did not write, and would be overwritten: give another folder as "
            "intermediate_folders",
            path=folder,
        )
    _remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWNER).write_bytes(b"")  # in one step: a folder that holds anything holds the mark


def set_owner(folder: Path, run_id: str) -> None:
    """Note the run id of the artifact that the content of `folder`, which is complete, belongs to."""
    _files.write_text(folder / OWNER, json.dumps({"run_id": run_id}))


def owner(folder: Path) -> str | None:
    """Run id of the artifact that the content of `folder` belongs to; None where it is not complete or not ours."""
    try:
        run_id: str | None = json.loads((folder / OWNER).read_text(encoding="utf-8"))["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return run_id


def is_ours(folder: Path) -> bool:
    """Whether we made `folder`; an empty one is anybody's."""
    return (folder / OWNER).is_file() or (folder.is_dir() and not any(folder.iterdir()))


def delete_scratch(intermediate: Path) -> None:
    """Delete our folders in `intermediate`, and nothing else."""
    for name in FOLDERS:
        folder = intermediate / name
        if is_ours(folder):
            _remove(folder)


def _remove(folder: Path) -> None:
    """Delete `folder`, our mark last: what is left of it when this process is killed is still known as ours."""
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != OWNER:
                entry.unlink()
        if [entry.name for entry in folder.iterdir()] in ([], [OWNER]):
            shutil.rmtree(folder, ignore_errors=True)
