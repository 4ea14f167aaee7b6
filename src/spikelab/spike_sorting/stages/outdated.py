"""Files that an earlier run wrote where users look, and that a new run does not write."""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from itertools import count
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from spikelab.spike_sorting.stages.checksums import FILES, DamagedError, checks_of, inside, listed
from spikelab.system import files as _files
from spikelab.system.json_files import readable, sealed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

# In the results folder: what earlier runs wrote for users and a later one neither wrote again nor confirmed.
EARLIER = "earlier"
# In the results folder too: what users had written from finished results, by commands of their own.
EXPORT_FOLDER, PHY_UNITS = "export", "sorted_spikedata_phy"


def record_files(record: Path, before: Path, written: Iterable[Path], target: Path, results: Path) -> None:
    """List in the folder `record` the files written below `target`, a folder of `results`.

    Of the files that only the list `before` has, those that new ones of their kind replace, such as the page of a unit
    that there is no more, are deleted. A kind that is not written any more was asked for once: it is moved below
    ``<results>/earlier``. Nothing is touched that is not below `target`, or that a damaged list names.
    """
    checks = checks_of(sorted(written), target)
    set_aside(set(_known(before)) - set(checks), {_kind(name) for name in checks}, target, results)
    _files.write_text(record / FILES, readable(sealed({"files": checks})))


def set_aside(outdated: Collection[str], kinds: Collection[str], target: Path, results: Path) -> None:
    """Move files below `target` into a folder of ``<results>/earlier`` that says when they were made.

    Those of `kinds`, of which there are new ones, are deleted. Folders that are empty then go.
    """
    files = inside(target, sorted(outdated))
    kept = []
    for name, path in files.items():
        if path is None:
            logger.warning("%r of an earlier run is not below %s: it stays", name, target)
        elif _kind(name) in kinds:
            _files.remove(path)
        elif path.is_file():
            kept.append(path)
    if kept:
        _move(kept, results)
    for path in filter(None, files.values()):
        for folder in list(path.parents)[: len(path.relative_to(target).parts) - 1]:
            with suppress(OSError):  # not empty
                folder.rmdir()


def tell_outdated(results: Path) -> None:
    """Log which exports and imports in a results folder are of an earlier curation: they stay, being the user's."""
    paths = [*sorted(results.glob(f"{EXPORT_FOLDER}/[!.]*")), *sorted(results.glob(f"{PHY_UNITS}.*"))]
    if names := [path.relative_to(results).as_posix() for path in paths]:
        logger.info("%s: of an earlier curation; 'spikelab export --overwrite' exports the new one", ", ".join(names))


def _known(before: Path) -> list[str]:
    try:
        return list(listed(before))
    except FileNotFoundError:
        return []
    except DamagedError as error:
        logger.warning("%s; files of an earlier run that are out of date stay", error)
        return []


def _kind(name: str) -> str:
    """Name the kind of a file: its first folder and its name, without numbers."""
    path = PurePosixPath(name)
    first = path.parts[0] if len(path.parts) > 1 else ""
    return re.sub(r"\d+", "", f"{first}/{path.name}")


def _move(paths: Sequence[Path], results: Path) -> None:
    made = max(path.stat().st_mtime for path in paths)
    wanted = results / EARLIER / time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(made))
    folder = wanted
    names = [path.relative_to(results) for path in paths]
    for number in count(2):
        if not any((folder / name).exists() for name in names):
            break
        folder = wanted.with_name(f"{wanted.name}_{number}")
    for path, name in zip(paths, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        path.replace(folder / name)
    more = "" if len(names) == 1 else f" and {len(names) - 1} more"
    logger.info(
        "%s%s: of an earlier run, and not among what this call asks for; now in %s", names[0].as_posix(), more, folder
    )
