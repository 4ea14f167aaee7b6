"""Load or run: the harness that gives every stage a key, a manifest and an atomic folder.

A stage's artifact is the folder ``<results>/stages/<stage>``. It is written under a temporary name, its
``manifest.json`` last, and then renamed, so a folder that exists is complete. The manifest holds the settings that
shaped the artifact, the run ids of its inputs, and size and checksum of its files; when all of those are what they
were, the artifact is loaded instead of made again.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from spikelab.spike_sorting._exceptions import FolderUnusableError
from spikelab.spike_sorting.failures.remembered import (
    REMEMBERED,
    failure_from_dict,
    failure_to_dict,
    no_longer_valid,
    point_at_copied_log,
)
from spikelab.spike_sorting.stages.checksums import Check, DamagedError, checks_below, damage
from spikelab.spike_sorting.stages.manifest import MANIFEST, STAGES_FOLDER, Key, Manifest
from spikelab.system import files as _files
from spikelab.system.progress import Progress
from spikelab.system.resources import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

T = TypeVar("T")
# Errors of loading a damaged artifact whose files nevertheless are as its manifest says.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class StageResult(Generic[T]):
    """Artifact of a stage."""

    value: T
    run_id: str  # identity of the artifact
    loaded: bool  # whether the artifact was on disk, rather than made in this call
    reason: str  # why the stage ran, or did not
    usage: Mapping[str, float]  # time and memory that the artifact took
    info: Mapping[str, Any]  # details that the stage gave


class _MustRun(Exception):  # noqa: N818 - no error, but the reason why an artifact cannot be loaded
    """Reason why no artifact can be loaded; `damaged` is the manifest of one with the same key."""

    def __init__(self, reason: str, damaged: Manifest | None = None) -> None:
        super().__init__(reason)
        self.reason, self.damaged = reason, damaged


class StageStore:
    """Artifacts of one recording, in the ``stages`` folder of its results folder.

    `versions` are recorded in every manifest, and not part of its key: a difference is logged. `on_start` is called
    with (stage, reason) before a stage runs.
    """

    def __init__(
        self,
        results: Path,
        versions: Mapping[str, str] | None = None,
        on_start: Callable[[str, str], None] | None = None,
    ) -> None:
        self.folder = results / STAGES_FOLDER
        self.read_only = is_read_only(results)
        self.versions = dict(versions or {})
        self.on_start = on_start

    def find(self, key: Key) -> Manifest | None:
        """Return the manifest that :meth:`load_or_run` would use, or None where it would run the stage."""
        try:
            return self._valid(key)
        except _MustRun:
            return None

    def load_or_run(
        self,
        key: Key,
        *,
        run: Callable[[Path, str], dict[str, Any] | None],
        load: Callable[[Path], T],
        retry_failure: bool = False,
        writes_outside: bool = False,
        durable: bool = False,
    ) -> StageResult[T]:
        """Load the artifact of a stage, or make and publish it.

        Parameters
        ----------
        key : Key
        run : callable
            ``run(folder, run_id)`` writes the artifact into an empty folder and may return details for the manifest.
        load : callable
            ``load(folder)`` reads the artifact; a FileNotFoundError means that it is incomplete.
        retry_failure : bool
            Run again a stage that ended in a remembered failure.
        writes_outside : bool
            The stage replaces files outside its folder, one by one: its old artifact is void from the start of a run,
            for a run that is cut short leaves a mixture.
        durable : bool
            Wait until the disk has the artifact, which takes hours to make.

        Raises
        ------
        BiologicalSortFailure
            If the stage ends in one, or an earlier run under the same key did: the outcome is remembered.
        FolderUnusableError
            If the stage would have to run, and the results folder cannot be written to.
        """
        try:
            return self._loaded(key, load, retry_failure=retry_failure)
        except _MustRun as must_run:
            reason, damaged = must_run.reason, must_run.damaged
        self._require_writable(key.stage, reason)
        if self.on_start is not None:
            self.on_start(key.stage, reason)
        folder = self.folder / key.stage
        if writes_outside:
            (folder / MANIFEST).unlink(missing_ok=True)
        with Progress(key.stage):
            manifest = self._run(key, damaged, run, durable=durable)
        return StageResult(load(folder), manifest.run_id, False, reason, manifest.usage, manifest.info)

    def _valid(self, key: Key) -> Manifest:
        """Return the manifest of an undamaged artifact, or of a remembered failure, that has this key."""
        folder = self.folder / key.stage
        if not self.read_only:
            _recover(folder)
        manifest = Manifest.read(folder)
        reason = key.why_run(manifest)
        if reason is not None or manifest is None:
            raise _MustRun(reason or "")
        if manifest.failure is not None:
            reason = no_longer_valid(manifest.versions, self.versions)
        else:
            reason = damage(folder, manifest.files or {})
        if reason is not None:
            raise _MustRun(reason, manifest)
        return manifest

    def _loaded(self, key: Key, load: Callable[[Path], T], *, retry_failure: bool) -> StageResult[T]:
        """Load the artifact that has this key, or raise the failure that is remembered in its place."""
        folder = self.folder / key.stage
        manifest = self._valid(key)
        if manifest.failure is not None:
            if retry_failure:
                raise _MustRun("it failed before and is to be tried again", manifest)
            raise failure_from_dict(manifest.failure, folder)
        try:
            value = load(folder)
        except FileNotFoundError as error:
            raise _MustRun(f"a file is missing ({error})", manifest) from error
        except DamagedError as error:
            raise _MustRun(str(error), manifest) from error
        except UNREADABLE as error:
            raise _MustRun(f"it cannot be read ({type(error).__name__}: {error})", manifest) from error
        for name, version in self.versions.items():
            before = manifest.versions.get(name)
            if before not in (None, version):
                logger.info("%s: made with %s %s, this is %s; kept", manifest.stage, name, before, version)
        return StageResult(value, manifest.run_id, True, "up to date", manifest.usage, manifest.info)

    def _require_writable(self, stage: str, reason: str) -> None:
        if self.read_only:
            raise FolderUnusableError(
                f"{self.folder.parent} cannot be written to, and the stage {stage} would have to run ({reason}): give "
                "a folder that can be written to as results_folders",
                unusable=self.folder.parent,
            )

    def _run(
        self,
        key: Key,
        damaged: Manifest | None,
        run: Callable[[Path, str], dict[str, Any] | None],
        *,
        durable: bool,
    ) -> Manifest:
        """Make and publish an artifact; one equal to the `damaged` one keeps its run id: later stages need not run."""
        manifest = Manifest(key.stage, uuid.uuid4().hex, dict(key.settings), dict(key.inputs), versions=self.versions)
        if damaged is not None and damaged.files is not None and damaged.failure is None:
            manifest.run_id = damaged.run_id
        folder = self.folder / manifest.stage
        temporary = _beside(folder, "new")
        temporary.mkdir(parents=True)
        usage = Usage()
        try:
            try:
                manifest.info = run(temporary, manifest.run_id) or {}
            except REMEMBERED as failure:
                manifest.failure = failure_to_dict(failure, temporary)
                manifest.usage = usage.so_far()
                _publish(temporary, folder, manifest, durable=durable)
                point_at_copied_log(failure, folder)
                raise
            manifest.usage = usage.so_far()
            if damaged is not None and not _equal(checks_below(temporary), damaged.files):
                manifest.run_id = uuid.uuid4().hex
            _publish(temporary, folder, manifest, durable=durable)
        finally:
            if Manifest.read(temporary) is None:
                _discard(temporary)
        return manifest


def _publish(temporary: Path, folder: Path, manifest: Manifest, *, durable: bool) -> None:
    """Complete the artifact in `temporary` by its manifest, and put it in the place of `folder`.

    Where `folder` cannot be moved away (OSError), the complete artifact stays in `temporary` for :func:`_recover`.
    """
    manifest.files = checks_below(temporary)
    manifest.write(temporary)
    if durable:
        _files.sync([*temporary.rglob("*"), temporary])
    try:
        _take_place(temporary, folder)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{folder} cannot be replaced: {error}. Check first whether a program has a file in it open. What was made "
            f"is complete in {temporary}; the same call puts it in its place",
        ) from error
    if durable:
        _files.sync([folder.parent])


def _take_place(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`; what was there is deleted, as far as it can be."""
    old = _beside(folder, "old")
    if not folder.exists():
        temporary.rename(folder)
        return
    folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    _discard(old)


def _beside(folder: Path, kind: str) -> Path:
    # A unique name: a folder of an earlier time may still be there because it could not be deleted.
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.{kind}")


def _discard(folder: Path) -> None:
    """Delete a folder as far as possible, its manifest first: what is left is not taken for a complete artifact."""
    with suppress(OSError):
        (folder / MANIFEST).unlink(missing_ok=True)
    _files.remove(folder)


def _recover(folder: Path) -> None:
    """Put the newest complete artifact that a killed run left in its place, and delete the rest."""
    new, old = (sorted(folder.parent.glob(f".{folder.name}.*{kind}")) for kind in ("new", "old"))
    leftovers = new + old
    complete = _complete(new) or ([] if folder.exists() else _complete(old))
    if complete:
        newest = max(complete, key=lambda path: (path / MANIFEST).stat().st_mtime)
        try:
            _take_place(newest, folder)
        except OSError as error:
            logger.warning("%s, which is complete, cannot take the place of %s: %s", newest, folder, error)
            leftovers = old
    for path in leftovers:
        _discard(path)


def _complete(folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if Manifest.read(folder) is not None]


def _equal(made: Mapping[str, Check], before: Mapping[str, Check] | None) -> bool:
    """Whether an artifact has the files that it had before; the content of logs, which have times, is left out."""
    logs = dict.fromkeys(name for name in (*made, *(before or {})) if name.endswith(".log"))
    return before is not None and {**made, **logs} == {**before, **logs}


def is_read_only(results: Path) -> bool:
    """Whether a results folder exists and cannot be written to: archived, or of another user."""
    return results.is_dir() and not os.access(results, os.W_OK)


def now() -> str:
    """Return the local time for records, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
