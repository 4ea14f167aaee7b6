"""Load or run: the harness that gives every stage a key, a manifest and an atomic folder.

A stage's artifact is the folder ``<results>/stages/<stage>``. It is written under a temporary name, its
``manifest.json`` last, and then renamed, so a folder that exists is complete. The manifest holds the settings that
shaped the artifact and the run ids of its inputs; when all of those are what they were, the artifact is loaded instead
of made again.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from spikelab import _files
from spikelab.spike_sorting._exceptions import BiologicalSortFailure
from spikelab.spike_sorting._json import readable
from spikelab.spike_sorting._resources import Usage
from spikelab.spike_sorting.stages.failures import failure_from_dict, failure_to_dict, point_at_copied_log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

T = TypeVar("T")
MANIFEST = "manifest.json"
STAGES_FOLDER = "stages"


@dataclass
class Manifest:
    """What made an artifact; equality of `settings` and `inputs` means that it can be used again."""

    stage: str
    run_id: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    usage: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    failure: dict[str, Any] | None = None

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of a stage folder, or None where there is no complete artifact."""
        try:
            return cls(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError):
            logger.warning("%s is unreadable; the stage will run again", folder / MANIFEST)
            return None


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
        self.versions = dict(versions or {})
        self.on_start = on_start

    def look(
        self, stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str], forced_by: str | None = None
    ) -> Manifest | None:
        """The manifest that :meth:`load_or_run` would use, or None where it would run the stage."""
        settings = json.loads(json.dumps(settings))
        folder = self.folder / stage
        _recover(folder)
        manifest = Manifest.read(folder)
        return manifest if _why_run(manifest, settings, inputs, forced_by) is None else None

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

        Raises
        ------
        BiologicalSortFailure
            Also when an earlier run under the same key ended in one: such an outcome is remembered.
        """
        settings = json.loads(json.dumps(settings))
        folder = self.folder / stage
        _recover(folder)
        manifest = Manifest.read(folder)
        reason = _why_run(manifest, settings, inputs, forced_by)
        if reason is None and manifest is not None and manifest.failure is not None:
            if not retry_failure:
                raise failure_from_dict(manifest.failure, folder)
            reason = "it failed before and is to be tried again"
        if reason is None and manifest is not None:
            try:
                value = load(folder)
            except FileNotFoundError as error:
                reason = f"a file is missing ({error})"
            else:
                self._log_other_versions(manifest)
                return Done(value, manifest.run_id, True, "up to date", manifest.usage, manifest.info)
        assert reason is not None
        if self.on_start is not None:
            self.on_start(stage, reason)
        if writes_outside:
            (folder / MANIFEST).unlink(missing_ok=True)
        manifest = self._run(stage, settings, inputs, run)
        return Done(load(folder), manifest.run_id, False, reason, manifest.usage, manifest.info)

    def _run(
        self,
        stage: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        run: Callable[[Path, str], dict[str, Any] | None],
    ) -> Manifest:
        manifest = Manifest(stage, uuid.uuid4().hex, dict(settings), dict(inputs), versions=self.versions)
        folder = self.folder / stage
        temporary = _beside(folder, "new")
        temporary.mkdir(parents=True)
        usage = Usage()
        try:
            try:
                manifest.info = run(temporary, manifest.run_id) or {}
            except BiologicalSortFailure as failure:
                # A biological outcome is a result: it is recorded, so that the same call raises it again at once.
                manifest.failure = failure_to_dict(failure, temporary)
                _publish(temporary, folder, manifest, usage)
                point_at_copied_log(failure, folder)
                raise
            _publish(temporary, folder, manifest, usage)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # what did not become the artifact
        return manifest

    def _log_other_versions(self, manifest: Manifest) -> None:
        for name, version in self.versions.items():
            before = manifest.versions.get(name)
            if before is not None and before != version:
                logger.info("%s: made with %s %s, this is %s; kept", manifest.stage, name, before, version)


def _publish(temporary: Path, folder: Path, manifest: Manifest, usage: Usage) -> None:
    """Complete the artifact in `temporary` by its manifest, and put it in the place of `folder`."""
    manifest.usage = usage.so_far()
    _files.write_text(temporary / MANIFEST, readable(vars(manifest)))
    old = _beside(folder, "old")
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}")


def _recover(folder: Path) -> None:
    """Finish, or undo, what a killed run left half done."""
    for kind in ("new", "old"):
        leftover = _beside(folder, kind)
        if not folder.exists() and Manifest.read(leftover) is not None:
            leftover.rename(folder)  # complete: the run was killed between the two renames
        shutil.rmtree(leftover, ignore_errors=True)


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
