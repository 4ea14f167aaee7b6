"""Files that a stage writes into the results folder: replaced one by one, and listed with size and checksum.

By the list, files of others are not touched, outdated files are deleted, and a damaged file is no result.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from spikelab.spike_sorting.stages.checksums import Check, DamagedError, check_of, damage, inside, is_checks
from spikelab.system import files
from spikelab.system.json_files import read_sealed, readable, sealed

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

FILES = "files.json"


def record_published(record: Path, before: Path, written: list[Path], target: Path) -> None:
    """List in the folder `record` the files written below `target`; delete those that only the list `before` has.

    Nothing is deleted that is not below `target`, or that a damaged list names.
    """
    checks = {path.relative_to(target).as_posix(): check_of(path) for path in sorted(written)}
    try:
        outdated = set(_checks(before)) - set(checks)
    except (FileNotFoundError, DamagedError) as error:
        outdated = set()
        if not isinstance(error, FileNotFoundError):
            logger.warning("%s; files of an earlier run that are out of date are not deleted", error)
    for name, path in inside(target, outdated).items():
        if path is None:
            logger.warning("%s lists %r, which is not below %s: it stays", before / FILES, name, target)
            continue
        files.remove(path)
        for folder in list(path.parents)[: len(path.relative_to(target).parts) - 1]:
            with suppress(OSError):  # not empty
                folder.rmdir()
    files.write_text(record / FILES, readable(sealed({"files": checks})))


def published(record: Path, target: Path) -> list[Path]:
    """Return the files that `record` lists.

    Raises
    ------
    FileNotFoundError
        If there is no list.
    DamagedError
        If one of them, or the list, is damaged or gone.
    """
    checks = _checks(record)
    if (wrong := damage(target, checks)) is not None:
        raise DamagedError(wrong)
    return [target / name for name in checks]


def move_into(folder: Path, target: Path) -> list[Path]:
    """Move every file below `folder` to the same place below `target`; returns where they are now."""
    moved = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            destination = target / path.relative_to(folder)
            destination.parent.mkdir(parents=True, exist_ok=True)
            path.replace(destination)
            moved.append(destination)
    return moved


def _checks(record: Path) -> dict[str, Check]:
    try:
        checks = read_sealed(record / FILES).get("files")
    except ValueError as error:
        raise DamagedError(str(error)) from error
    if not is_checks(checks):
        raise DamagedError(f"{record / FILES} is damaged: it lists no files")
    return checks
