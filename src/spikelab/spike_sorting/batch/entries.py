"""Entries of a list of recordings, the recordings that they stand for, and the faults of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.system.texts import brief

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikelab.spike_sorting.run.parts import Part
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

SHARED = ("sorter", "config")  # a fault of the common value is reported once
MOST_SHOWN = 20
DEFAULT_SCRATCH = "intermediate"  # in the folder of the results


class ManifestError(ValueError):
    """Report the faults of a list of recordings; the message names each entry and key.

    Attributes
    ----------
    problems : list of str
    """

    def __init__(self, problems: Sequence[str], source: str = "the list") -> None:
        shown = [*problems[:MOST_SHOWN], *([f"and {len(problems) - MOST_SHOWN} more"] * (len(problems) > MOST_SHOWN))]
        super().__init__(f"{source} was refused, and nothing was started:\n" + "\n".join(f"  {line}" for line in shown))
        self.problems = list(problems)


@dataclass(frozen=True)
class Entry:
    """One entry with the defaults filled in."""

    name: str  # in messages
    values: Mapping[str, Any]
    own: frozenset[str]  # keys that are not defaults
    folder: Path


@dataclass
class Request:
    """One recording and stream of an entry."""

    entry: Entry
    path: Path
    config: SortingPipelineConfig
    several: bool  # recordings of the entry; a folder that it names is then their parent
    part: Part | None = None  # what was seen of it, where the list is looked into

    @property
    def chosen(self) -> dict[str, str]:
        """What was chosen for it, and why; nothing where the list is not looked into."""
        return {} if self.part is None else self.part.chosen

    def folder(self, key: str) -> Path | None:
        """Locate the folder that the entry names; scratch without a name lies in the folder of the results."""
        value = self.entry.values.get(key)
        if value is not None:
            return located(self.entry.folder, value)
        if key != "intermediate":
            return None
        results = self.folder("results")
        return None if results is None else results / DEFAULT_SCRATCH

    def own_folder(self, key: str) -> Path | None:
        """Locate the folder of this recording alone; None where it is the parent of several."""
        named_by = key if key == "results" or self.entry.values.get(key) is not None else "results"
        return self.folder(key) if named_by in self.entry.own and not self.several else None


@dataclass
class Problems:
    """Faults of a list, in the order in which they were found, each once."""

    found: list[str] = field(default_factory=list)

    def add(self, entry: Entry, key: str, problem: object, *, of_recording: bool = False) -> None:
        """Add a fault of a key of an entry, or of the common value of that key; or of the recording of the entry."""
        shared = key in SHARED and not entry.own.intersection(SHARED) and not of_recording
        line = f"{'[defaults]' if shared else entry.name}, {key}: {problem}"
        if line not in self.found:
            self.found.append(line)


def located(folder: Path, value: Any) -> Path:
    """Resolve a path in a list from the folder of the list; ValueError where `value` is none, or its user unknown."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError(f"expected a path, got {brief(value)}")
    try:
        return folder / Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{value}: {error}; write the folder out") from error
