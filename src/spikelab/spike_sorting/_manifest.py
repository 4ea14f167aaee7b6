"""The list of a batch, in a file: what is to be sorted, with what, and where results go. Nothing is started here.

A TOML file has a table ``[defaults]`` and a table ``[[recording]]`` for each entry; a CSV file has a row for each entry
and the same keys as columns. Every fault of a file is found at once, with the entry and the key that it is in.
"""

from __future__ import annotations

import csv
import glob
import os
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._flat import suggestion
from spikelab.spike_sorting._inputs import Job, jobs_for
from spikelab.spike_sorting._toml import config_from_toml, decode, parse_value
from spikelab.spike_sorting._validation import validate_config
from spikelab.spike_sorting.config import SortingPipelineConfig, preset_for
from spikelab.spike_sorting.pipeline import checked_streams, require_sorter
from spikelab.spike_sorting.recording.source import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = ("file", "stream", "sorter", "results", "intermediate", "config")
DEFAULTS = KEYS[1:]
SHARED = ("sorter", "config")  # what is wrong with the common ones is told once
MOST_SHOWN = 20
DEFAULT_SCRATCH = "intermediate"  # in the folder of the results
CSV_SEPARATOR = ";"


class ManifestError(ValueError):
    """A list of recordings that cannot be sorted as it stands; the message names each entry and key.

    Attributes
    ----------
    problems : list of str
    """

    def __init__(self, problems: Sequence[str], source: str = "the list") -> None:
        shown = [*problems[:MOST_SHOWN], *([f"and {len(problems) - MOST_SHOWN} more"] * (len(problems) > MOST_SHOWN))]
        super().__init__(f"{source} was refused, and nothing was started:\n" + "\n".join(f"  {line}" for line in shown))
        self.problems = list(problems)


@dataclass(frozen=True)
class _Entry:
    """One entry with the defaults filled in, and how it is called in messages."""

    name: str
    values: Mapping[str, Any]
    own: frozenset[str]  # keys that are not defaults
    folder: Path


@dataclass
class _Request:
    """One recording and stream of an entry."""

    entry: _Entry
    path: Path
    config: SortingPipelineConfig
    several: bool  # what the entry names as its folder is then the parent

    def folder(self, key: str) -> Path | None:
        """What the entry names; scratch goes with the results where they have a place and it has not."""
        value = self.entry.values.get(key)
        if value is not None:
            return self.entry.folder / Path(value).expanduser()
        return results / DEFAULT_SCRATCH if key == "intermediate" and (results := self.folder("results")) else None

    def own_folder(self, key: str) -> Path | None:
        """The folder of this recording alone, rather than one that several have their folders in."""
        named_by = key if key == "results" or self.entry.values.get(key) is not None else "results"
        return self.folder(key) if named_by in self.entry.own and not self.several else None


@dataclass
class _Problems:
    found: list[str] = field(default_factory=list)

    def add(self, entry: _Entry, key: str, problem: object) -> None:
        shared = key in SHARED and not entry.own.intersection(SHARED)
        line = f"{'[defaults]' if shared else entry.name}, {key}: {problem}"
        if line not in self.found:
            self.found.append(line)


def read_manifest(path: str | Path) -> list[Job]:
    """Read a list of recordings, and plan a job for each recording and stream.

    Parameters
    ----------
    path : path
        ``.toml`` or ``.csv``; paths in it are relative to its folder.

    Returns
    -------
    list of Job

    Raises
    ------
    ManifestError
        With every fault of the file: unknown keys and settings, files that are not there, streams that a file does not
        have, a recording or a folder that is named twice.
    FileNotFoundError
        If there is no such file.
    """
    path = Path(path)
    if path.suffix.lower() not in (".toml", ".csv"):
        raise ManifestError([f"{path}: expected a .toml or a .csv file"], str(path))
    read = _read_toml if path.suffix.lower() == ".toml" else _read_csv
    defaults, entries, problems = read(path)
    return _plan(defaults, entries, path.absolute().parent, problems, str(path))


def jobs_from_entries(entries: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any] | None = None) -> list[Job]:
    """Plan jobs from entries with the keys of a list (`KEYS`); paths are relative to the current folder.

    Raises
    ------
    ManifestError
        As for :func:`read_manifest`.
    """
    return _plan(dict(defaults or {}), [dict(entry) for entry in entries], Path.cwd(), [], "the list")


def _read_toml(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError([f"no valid TOML: {error}"], str(path)) from error
    problems = [
        f"[{name}]: unknown table{suggestion(name, ('defaults', 'recording'))}"
        for name in content
        if name not in ("defaults", "recording")
    ]
    entries, defaults = content.get("recording", []), content.get("defaults", {})
    if not isinstance(entries, list):
        problems.append("recording: write [[recording]], with two brackets, once for each entry")
        entries = []
    return defaults, entries, problems


def _read_csv(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    entries, problems = [], []
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=1):
            if None in row:
                problems.append(f"row {number}: more values than columns")
            entry: dict[str, Any] = {key.strip(): text.strip() for key, text in row.items() if key and text}
            if "config" in entry and CSV_SEPARATOR not in entry["config"] and "=" not in entry["config"]:
                entries.append(entry)  # a file
                continue
            if "config" in entry:
                settings = [part.partition("=") for part in entry["config"].split(CSV_SEPARATOR) if part.strip()]
                entry["config"] = {name.strip(): parse_value(value.strip()) for name, _, value in settings}
            entries.append(entry)
    return {}, entries, problems


def _plan(
    defaults: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], folder: Path, problems: list[str], source: str
) -> list[Job]:
    found = _Problems(list(problems))
    found.found += _unknown_keys("[defaults]", defaults, DEFAULTS)
    if not entries:
        found.found.append("there is no [[recording]] in it")
    requests: list[_Request] = []
    configs: dict[str, SortingPipelineConfig] = {}
    for number, entry in enumerate(entries, start=1):
        name = f"entry {number} ({entry.get('file', 'without a file')})"
        found.found += _unknown_keys(name, entry, KEYS)
        merged = {**defaults, **entry, "config": _merged_config(defaults, entry)}
        requests += _requests(_Entry(name, merged, frozenset(entry), folder), found, configs)
    _refuse_twins(requests, found)
    if found.found:
        raise ManifestError(found.found, source)
    jobs = _jobs(requests)
    for attribute in ("results", "intermediate"):
        _refuse_shared(requests, [getattr(job, attribute) for job in jobs], attribute, found)
        if found.found:  # scratch that lies in shared results is not told as well
            raise ManifestError(found.found, source)
    return jobs


def _unknown_keys(name: str, values: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    return [
        f"{name}, {key}: unknown key{suggestion(key, known)}; there are {', '.join(known)}, "
        "and settings such as snr_min belong into config"
        for key in values
        if key not in known
    ]


def _merged_config(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> Any:
    """Settings of the entry on top of the common ones; a file stands for itself."""
    ours, own = defaults.get("config", {}), entry.get("config", {})
    if isinstance(ours, Mapping) and isinstance(own, Mapping):
        return {**ours, **own}
    return own or ours


def _requests(entry: _Entry, problems: _Problems, configs: dict[str, SortingPipelineConfig]) -> Iterator[_Request]:
    """What an entry asks for; entries that ask for the same settings share them, of which there may be thousands."""
    asked = repr((entry.values.get("sorter"), entry.values["config"]))
    config = configs.get(asked) or _config(entry, problems)
    paths = _paths(entry, problems)
    if config is None:
        return
    configs[asked] = config
    pattern = glob.has_magic(str(entry.values.get("file", "")))
    for path in paths:
        stream = entry.values.get("stream")
        try:
            streams = [None] if stream is None else checked_streams(path, stream, config)
        except (ValueError, OSError) as error:
            problems.add(entry, "stream", error)
            continue
        several = pattern or stream == "all" or not isinstance(stream, str | None)
        for name in streams:
            yield _Request(entry, path, config if name is None else config.override(stream_id=name), several)


def _config(entry: _Entry, problems: _Problems) -> SortingPipelineConfig | None:
    sorter, given = entry.values.get("sorter"), entry.values["config"]
    try:
        if isinstance(given, str):
            config = config_from_toml(entry.folder / Path(given).expanduser())
            config = config if sorter is None else config.override(sorter_name=sorter)
        else:
            config = preset_for(sorter or "kilosort2").override(**decode(dict(given)))
        validate_config(config)
    except (TypeError, ValueError, OSError) as error:
        problems.add(entry, "config", error)
        return None
    try:
        require_sorter(config)
    except ValueError as error:
        problems.add(entry, "sorter" if "sorter_params" not in str(error) else "config", error)
        return None
    return config


def _paths(entry: _Entry, problems: _Problems) -> list[Path]:
    name = entry.values.get("file")
    if not isinstance(name, str | Path) or not str(name):
        problems.add(entry, "file", "the path of a recording is missing")
        return []
    path = entry.folder / Path(name).expanduser()
    if path.exists():
        return [path]
    if not glob.has_magic(str(name)):
        problems.add(entry, "file", f"there is no file or folder {path}")
        return []
    found = sorted(map(Path, glob.glob(str(path), recursive=True)), key=lambda found: natural_key(str(found)))  # noqa: PTH207
    if not found:
        problems.add(entry, "file", f"nothing is called {path}")
    return found


def _refuse_twins(requests: Sequence[_Request], problems: _Problems) -> None:
    seen: dict[tuple[Any, ...], _Entry] = {}
    for request in requests:
        config = request.config
        chosen = (config.sorter.sorter_name, config.recording.stream_id, config.recording.rec_name)
        identity = (request.path.resolve(), *chosen)
        if identity in seen:
            stream = f", stream {chosen[1]}" if chosen[1] else ""
            first = seen[identity].name
            problems.add(request.entry, "file", f"{request.path}{stream} is already in {first}, with the same sorter")
        seen.setdefault(identity, request.entry)


def _refuse_shared(requests: Sequence[_Request], folders: Sequence[Path], key: str, problems: _Problems) -> None:
    seen: dict[Path, _Entry] = {}
    for request, planned in zip(requests, folders, strict=True):
        folder = Path(os.path.normpath(planned))
        if folder in seen:
            problem = f"{folder} is already the folder of {seen[folder].name}"
            if key in request.entry.own:
                problem += "; what several have their folders in is named in [defaults]"
            problems.add(request.entry, key, problem)
        seen.setdefault(folder, request.entry)


def _jobs(requests: Sequence[_Request]) -> list[Job]:
    """Jobs in the order of `requests`; recordings of one sorter are told apart by their names."""
    by_sorter: dict[str, list[int]] = defaultdict(list)
    for i, request in enumerate(requests):
        by_sorter[request.config.sorter.sorter_name].append(i)
    jobs: dict[int, Job] = {}
    for indices in by_sorter.values():
        chosen = [requests[i] for i in indices]
        planned = jobs_for(
            [(request.path, request.config) for request in chosen],
            [request.own_folder("intermediate") for request in chosen],
            [request.own_folder("results") for request in chosen],
            intermediate_base=[request.folder("intermediate") for request in chosen],
            results_base=[request.folder("results") for request in chosen],
        )
        jobs |= dict(zip(indices, planned, strict=True))
    return [jobs[i] for i in range(len(requests))]
