"""Heavy folders: marked when the pipeline makes them; only marked folders are emptied or deleted."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import FolderUnusableError
from spikelab.spike_sorting.stages.checksums import checks_of, damage, is_checks, sampled_check_of
from spikelab.system import files as _files
from spikelab.system.json_files import read_sealed, readable, sealed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

logger = logging.getLogger(__name__)

# Marks a folder of the pipeline; names the run whose artifact the content belongs to, once the content is complete.
OWNER = "owner.json"
FOLDERS = ("recording", "sorting", "waveforms")
APART = ("validation", "again")  # scratch folders of further sorts, with the same folders in them


def empty_folder(folder: Path) -> None:
    """Make `folder`, or empty it; FolderUnusableError if it holds something that the pipeline did not write."""
    if folder.exists() and not may_empty(folder):
        raise FolderUnusableError(
            f"{folder} holds something that spikelab did not write, and would be overwritten: give another folder as "
            "intermediate_folders",
            unusable=folder,
        )
    _remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWNER).write_bytes(b"")  # in one step: a folder that holds anything holds the mark


def set_owner(folder: Path, run_id: str, files: Iterable[Path]) -> None:
    """Note the run id of the artifact that the complete content of `folder` belongs to, and checks of its `files`."""
    checks = checks_of(files, folder, sampled_check_of)
    _files.write_text(folder / OWNER, readable(sealed({"run_id": run_id, "files": checks})))


def owner(folder: Path) -> str | None:
    """Return the run id that the content of `folder` belongs to; None if incomplete, damaged or not the pipeline's."""
    try:
        content = read_sealed(folder / OWNER)
    except (OSError, ValueError):
        return None
    run_id, files = content.get("run_id"), content.get("files", {})
    if not isinstance(run_id, str) or not is_checks(files):
        return None
    if (wrong := damage(folder, files)) is not None:
        logger.warning("%s: %s", folder, wrong)
        return None
    return run_id


def may_empty(folder: Path) -> bool:
    """Whether the pipeline made `folder`, or it is empty."""
    return (folder / OWNER).is_file() or (folder.is_dir() and not any(folder.iterdir()))


def delete_scratch(intermediate: Path) -> None:
    """Delete the pipeline's folders in `intermediate`, those of sorts apart too, and nothing else."""
    for name in APART:
        if (apart := intermediate / name).is_dir():
            delete_scratch(apart)
            with suppress(OSError):  # it holds something else
                apart.rmdir()
    for name in FOLDERS:
        folder = intermediate / name
        if may_empty(folder):
            _remove(folder)


def _remove(folder: Path) -> None:
    """Delete `folder`, its mark last: what is left when this process is killed still has the mark."""
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != OWNER:
                entry.unlink()
        if [entry.name for entry in folder.iterdir()] in ([], [OWNER]):
            shutil.rmtree(folder, ignore_errors=True)
