"""Files that a stage writes where users look: replaced one by one, and remembered, so that none that is not ours is
touched and none that is out of date stays.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

FILES = "files.json"


def record_published(record: Path, before: Path, written: list[Path], target: Path) -> None:
    """Remember in the folder `record` what was written below `target`; delete what `before` lists and this does not."""
    names = sorted(path.relative_to(target).as_posix() for path in written)
    for name in set(_names(before)) - set(names):
        (target / name).unlink(missing_ok=True)
        for folder in list((target / name).parents)[: len(Path(name).parts) - 1]:
            with suppress(OSError):  # not empty
                folder.rmdir()
    (record / FILES).write_text(json.dumps(names, indent=1), encoding="utf-8")


def published(record: Path, target: Path) -> list[Path]:
    """The files that `record` lists.

    Raises
    ------
    FileNotFoundError
        If one of them is gone.
    """
    paths = [target / name for name in _names(record)]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(path)
    return paths


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


def _names(record: Path) -> list[str]:
    try:
        names: list[str] = json.loads((record / FILES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return names
