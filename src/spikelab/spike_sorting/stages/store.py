"""Load or run: the harness that gives every stage a key, a manifest and an atomic folder.

A stage's artifact is the folder ``<results>/stages/<stage>``. It is written under a temporary name, its
``manifest.json`` last, and then renamed, so a folder that exists is complete. The manifest holds the settings that
shaped the artifact, the run ids of its inputs, and size and checksum of its files; when all of those are what they
were, the artifact is loaded instead of made again.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
import zipfile
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from spikelab.spike_sorting._exceptions import BiologicalSortFailure, FolderUnusableError
from spikelab.spike_sorting.failures.remembered import (
    failure_from_dict,
    failure_to_dict,
    is_failure,
    point_at_copied_log,
)
from spikelab.spike_sorting.stages.checksums import Check, DamagedError, checks_below, damage, is_checks
from spikelab.system import files as _files
from spikelab.system.json_files import read_sealed, readable, sealed
from spikelab.system.resources import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

T = TypeVar("T")
MANIFEST = "manifest.json"
STAGES_FOLDER = "stages"
REMEDY = "the same 'spikelab sort' makes it again"
# What loading an artifact raises that is damaged in a way which its manifest does not tell.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass
class Manifest:
    """What made an artifact; equality of `settings` and `inputs` means that it can be used again.

    Attributes
    ----------
    stage, run_id : str
    settings : dict
    inputs : dict of str to str
        Run ids of the artifacts that it was made from.
    usage : dict of str to float
    versions : dict of str to str
    info : dict
    failure : dict or None
        A biological outcome.
    files : dict of str to dict, or None
        Size and checksum of every file of the artifact; None where an earlier version wrote the manifest.
    """

    stage: str
    run_id: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    usage: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    failure: dict[str, Any] | None = None
    files: dict[str, Check] | None = None

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of a stage folder, or None where there is no complete artifact."""
        try:
            manifest = cls(**read_sealed(folder / MANIFEST, since="files"))
            manifest.require_types()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, IsADirectoryError) as error:
            logger.warning("%s is unreadable; the stage will run again (%s)", folder / MANIFEST, error)
            return None
        return manifest

    def require_types(self) -> None:
        """TypeError where an attribute, read from a file, is not of its type."""
        kinds = {"stage": str, "run_id": str, "failure": dict | None, "files": dict | None}
        for attribute in fields(self):
            value = getattr(self, attribute.name)
            if not isinstance(value, kinds.get(attribute.name, dict)):
                raise TypeError(f"{attribute.name} is {value!r:.50}")
        if self.files is not None and not is_checks(self.files):
            raise TypeError(f"files is {self.files!r:.50}")
        if self.failure is not None and not is_failure(self.failure):
            raise TypeError(f"failure is {self.failure!r:.50}")

    def write(self, folder: Path) -> None:
        """Write the manifest into a folder, as its last file."""
        _files.write_text(folder / MANIFEST, readable(sealed(asdict(self))))


@dataclass(frozen=True)
class Done(Generic[T]):
    """A stage's outcome in this call."""

    value: T
    run_id: str
    loaded: bool
    reason: str
    usage: Mapping[str, float]
    info: Mapping[str, Any]


class StageStore:
    """The artifacts of one recording.

    Parameters
    ----------
    results : Path
        Results folder; artifacts live in its ``stages`` folder.
    versions : mapping of str to str
        Recorded in every manifest. Versions are recorded, not keyed: a difference is logged.
    on_start : callable, optional
        Called with (stage, reason) before a stage runs.
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

    def look(
        self, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str], forced_by: str | None = None
    ) -> Manifest | None:
        """The manifest that :meth:`load_or_run` would use, or None where it would run the stage."""
        settings = json.loads(json.dumps(settings))
        manifest, reason = self._choose(stage, settings, inputs, forced_by)
        return manifest if reason is None else None

    def _choose(
        self, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str], forced_by: str | None
    ) -> tuple[Manifest | None, str | None]:
        """The manifest there is, and why the stage has to run; None if its artifact, or failure, can be used."""
        folder = self.folder / stage
        if not self.read_only:
            _recover(folder)
        manifest = Manifest.read(folder)
        reason = _why_run(manifest, settings, inputs, forced_by)
        if reason is None and manifest is not None:
            failed = manifest.failure is not None
            reason = self._expired(manifest) if failed else damage(folder, manifest.files or {})
        return manifest, reason

    def _expired(self, manifest: Manifest) -> str | None:
        """Why a remembered failure means nothing any more: this version may sort what that one could not."""
        before, this = manifest.versions.get("spikelab"), self.versions.get("spikelab")
        if before == this:
            return None
        return f"it failed with spikelab {before}, this is {this}"

    def load_or_run(
        self,
        stage: str,
        *,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        run: Callable[[Path, str], dict[str, Any] | None],
        load: Callable[[Path], T],
        forced_by: str | None = None,
        retry_failure: bool = False,
        writes_outside: bool = False,
        durable: bool = False,
    ) -> Done[T]:
        """Load the artifact of `stage`, or make and publish it.

        Parameters
        ----------
        stage : str
            Name of the stage and of its folder.
        settings : mapping
            The stage's own slice of the configuration, JSON-able.
        inputs : mapping of str to str
            Run ids of the artifacts it reads.
        run : callable
            ``run(folder, run_id)`` writes the artifact into an empty folder and may return details for the manifest.
        load : callable
            ``load(folder)`` reads the artifact; a FileNotFoundError means that it is incomplete.
        forced_by : str, optional
            Name of the setting that demands a new run.
        retry_failure : bool
            Run again what ended in a remembered failure.
        writes_outside : bool
            The stage replaces files outside its folder, one by one: its old artifact is void from the start of a run,
            for a run that is cut short leaves a mixture.
        durable : bool
            Wait until the disk has the artifact: it takes hours to make.

        Raises
        ------
        BiologicalSortFailure
            Also when an earlier run under the same key ended in one: such an outcome is remembered.
        FolderUnusableError
            If the stage would have to run, and the results folder cannot be written to.
        """
        settings = json.loads(json.dumps(settings))
        folder = self.folder / stage
        manifest, reason = self._choose(stage, settings, inputs, forced_by)
        if reason is None and manifest is not None and manifest.failure is not None:
            if not retry_failure:
                raise failure_from_dict(manifest.failure, folder)
            reason = "it failed before and is to be tried again"
        if reason is None and manifest is not None:
            try:
                value = load(folder)
            except FileNotFoundError as error:
                reason = f"a file is missing ({error})"
            except DamagedError as error:
                reason = str(error)
            except UNREADABLE as error:
                reason = f"it cannot be read ({type(error).__name__}: {error})"
            else:
                self._log_other_versions(manifest)
                return Done(value, manifest.run_id, True, "up to date", manifest.usage, manifest.info)
        assert reason is not None
        self._start(stage, reason)
        if writes_outside:
            (folder / MANIFEST).unlink(missing_ok=True)
        same = manifest if _why_run(manifest, settings, inputs, forced_by) is None else None
        manifest = self._run(
            Manifest(stage, uuid.uuid4().hex, dict(settings), dict(inputs)), same, run, durable=durable
        )
        return Done(load(folder), manifest.run_id, False, reason, manifest.usage, manifest.info)

    def _start(self, stage: str, reason: str) -> None:
        """Tell that a stage starts; refuse where its artifact cannot be written."""
        if self.read_only:
            raise FolderUnusableError(
                f"{self.folder.parent} cannot be written to, and the stage {stage} would have to run ({reason}): give "
                "a folder that can be written to as results_folders",
                unusable=self.folder.parent,
            )
        if self.on_start is not None:
            self.on_start(stage, reason)

    def _run(
        self,
        manifest: Manifest,
        damaged: Manifest | None,
        run: Callable[[Path, str], dict[str, Any] | None],
        *,
        durable: bool,
    ) -> Manifest:
        """Make the artifact that `manifest` describes, and publish it.

        One that replaces a `damaged` one, and is equal to what that was, keeps its run id: what was made from it stays.
        """
        manifest.versions = self.versions
        if damaged is not None and damaged.files is not None and damaged.failure is None:
            manifest.run_id = damaged.run_id
        folder = self.folder / manifest.stage
        temporary = _beside(folder, "new")
        temporary.mkdir(parents=True)
        usage = Usage()
        try:
            try:
                manifest.info = run(temporary, manifest.run_id) or {}
            except BiologicalSortFailure as failure:
                # A biological outcome is a result: it is recorded, so that the same call raises it again at once.
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

    def _log_other_versions(self, manifest: Manifest) -> None:
        for name, version in self.versions.items():
            before = manifest.versions.get(name)
            if before is not None and before != version:
                logger.info("%s: made with %s %s, this is %s; kept", manifest.stage, name, before, version)


def _publish(temporary: Path, folder: Path, manifest: Manifest, *, durable: bool) -> None:
    """Complete the artifact in `temporary` by its manifest, and put it in the place of `folder`.

    Raises
    ------
    OSError
        If `folder` cannot be moved away; the complete artifact stays in `temporary` for :func:`_recover`.
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
    # Unique: one of an earlier time that could not be deleted is in nobody's way.
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.{kind}")


def _discard(folder: Path) -> None:
    """Delete a folder as far as that is possible, its manifest first: what is left of it is not complete."""
    with suppress(OSError):
        (folder / MANIFEST).unlink(missing_ok=True)
    _files.remove(folder)


def _recover(folder: Path) -> None:
    """Finish, or undo, what a killed run left half done."""
    left = {kind: sorted(folder.parent.glob(f".{folder.name}.*{kind}")) for kind in ("new", "old")}
    complete = [path for path in left["new"] if Manifest.read(path) is not None]
    if not complete and not folder.exists():
        complete = [path for path in left["old"] if Manifest.read(path) is not None]
    if complete:
        newest = max(complete, key=lambda path: (path / MANIFEST).stat().st_mtime)
        try:
            _take_place(newest, folder)
        except OSError as error:
            logger.warning("%s, which is complete, cannot take the place of %s: %s", newest, folder, error)
            left = {"old": left["old"]}
    for path in (path for paths in left.values() for path in paths):
        _discard(path)


def _equal(made: Mapping[str, Check], before: Mapping[str, Check] | None) -> bool:
    """Whether an artifact has the files that it had before; logs, which tell of times, are left out."""
    logs = {name for name in (*made, *(before or {})) if name.endswith(".log")}
    return before is not None and {**made, **dict.fromkeys(logs)} == {**before, **dict.fromkeys(logs)}


def intact(folder: Path) -> Manifest:
    """The manifest of a stage folder whose files are what was written.

    Raises
    ------
    FileNotFoundError
        If there is no complete artifact.
    ValueError
        If a file of the artifact is damaged; the message names the file.
    """
    manifest = Manifest.read(folder)
    if manifest is None:
        raise FileNotFoundError(f"{folder} is missing or damaged; {REMEDY}")
    if (wrong := damage(folder, manifest.files or {})) is not None:
        raise ValueError(f"{folder}/{wrong}; {REMEDY}")
    return manifest


def is_read_only(results: Path) -> bool:
    """Whether a results folder that is there cannot be written to: archived, or somebody else's."""
    return results.is_dir() and not os.access(results, os.W_OK)


def _why_run(
    manifest: Manifest | None, settings: Mapping[str, Any], inputs: Mapping[str, str], forced_by: str | None
) -> str | None:
    """Why the stage has to run, in words for the log; None if its artifact can be used."""
    if manifest is None:
        return "not done yet"
    if forced_by is not None:
        return f"{forced_by} is set"
    if changed := changes(manifest.settings, settings):
        return "; ".join(changed)
    if redone := [name for name, run_id in inputs.items() if manifest.inputs.get(name) != run_id]:
        return f"{', '.join(redone)} changed"
    return None


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings that differ, in words: ``snr_min changed from 5.0 to 8.0``."""
    return [
        f"{name} changed from {before.get(name)!r} to {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def now() -> str:
    """Local time for records, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
