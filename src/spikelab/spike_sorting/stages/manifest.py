"""The manifest of an artifact: the key that it was made with, what it took, and size and checksum of its files."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.failures.remembered import is_failure
from spikelab.spike_sorting.stages.checksums import Check, damage, is_checks
from spikelab.system import files as _files
from spikelab.system.json_files import read_sealed, readable, sealed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
NOT_DONE = "not done yet"
STAGES_FOLDER = "stages"
REMEDY = "the same 'spikelab sort' makes it again"


@dataclass
class Key:
    """What the artifact of a stage depends on."""

    stage: str  # also the name of its folder
    settings: Mapping[str, Any]  # the stage's own part of the configuration, JSON-able
    inputs: Mapping[str, str] = field(default_factory=dict)  # run ids of the artifacts that the stage reads
    forced_by: str | None = None  # the setting that demands a new run

    def __post_init__(self) -> None:
        self.settings = json.loads(json.dumps(self.settings))  # as they are read from a manifest

    def why_run(self, manifest: Manifest | None) -> str | None:
        """Why the stage has to run, in words for the log; None if the artifact of `manifest` has this key."""
        if manifest is None:
            return NOT_DONE
        if self.forced_by is not None:
            return f"{self.forced_by} is set"
        if changed := changes(manifest.settings, self.settings):
            return "; ".join(changed)
        names = dict.fromkeys([*self.inputs, *manifest.inputs])
        if redone := [name for name in names if manifest.inputs.get(name) != self.inputs.get(name)]:
            return f"{', '.join(redone)} changed"
        return None


@dataclass
class Manifest:
    """Record of how an artifact was made; with equal `settings` and `inputs` it can be used again."""

    stage: str
    run_id: str
    settings: dict[str, Any]
    inputs: dict[str, str]  # run ids of the artifacts that were read
    usage: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    failure: dict[str, Any] | None = None  # a biological outcome
    files: dict[str, Check] | None = None  # None where an earlier version wrote the manifest

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """Read the manifest of a stage folder; None where there is no complete artifact."""
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
        """Raise TypeError where an attribute, read from a file, is not of its type."""
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


def intact(folder: Path) -> Manifest:
    """Return the manifest of a stage folder; FileNotFoundError without an artifact, ValueError for a damaged one."""
    manifest = Manifest.read(folder)
    if manifest is None:
        raise FileNotFoundError(f"{folder} is missing or damaged; {REMEDY}")
    if (wrong := damage(folder, manifest.files or {})) is not None:
        raise ValueError(f"{folder}/{wrong}; {REMEDY}")
    return manifest


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describe the settings that differ: ``snr_min changed from 5.0 to 8.0``."""
    return [
        f"{name} changed from {before.get(name)!r} to {now.get(name)!r}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
