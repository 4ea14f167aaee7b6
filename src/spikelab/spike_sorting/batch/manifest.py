"""Read the list of a batch: recordings, sorters, settings and folders. Nothing is started.

A TOML file has a table ``[defaults]`` and a table ``[[recording]]`` for each entry; a CSV file has a row for each entry
and the same keys as columns. Further keys and columns are what people note of a recording: condition, line, day. All
faults of a file are reported together, each with its entry and key.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.batch.columns import column_fault, further_columns, typed, value_fault
from spikelab.spike_sorting.recording.source import natural_key
from spikelab.spike_sorting.run.jobs import Job, checked_streams, plan_jobs, require_sorter
from spikelab.spike_sorting.settings.keywords import suggestion
from spikelab.spike_sorting.settings.presets import preset_for
from spikelab.spike_sorting.settings.toml import config_from_toml, decode, parse_value
from spikelab.spike_sorting.settings.validation import validate_config
from spikelab.system.quoting import printable
from spikelab.system.tables import Row, known_name, read_rows
from spikelab.system.texts import brief, read_toml, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

KEYS = ("file", "stream", "sorter", "results", "intermediate", "config")
DEFAULTS = KEYS[1:]
SHARED = ("sorter", "config")  # a fault of the common value is reported once
MOST_SHOWN = 20
DEFAULT_SCRATCH = "intermediate"  # in the folder of the results
CSV_SEPARATOR = ";"
A_LIST = "a list of recordings"
# Types of the value of a key, besides None, and their name in messages.
KINDS: dict[str, tuple[Any, str]] = {
    "file": (str | Path, "the path of a recording"),
    "stream": (str, "the name of a stream, or a list of names"),
    "sorter": (str, "the name of a sorter"),
    "results": (str | Path, "the path of a folder"),
    "intermediate": (str | Path, "the path of a folder"),
    "config": (str | Mapping, "settings, or the path of a file with them"),
}


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
class _Entry:
    """One entry with the defaults filled in."""

    name: str  # in messages
    values: Mapping[str, Any]
    own: frozenset[str]  # keys that are not defaults
    folder: Path


@dataclass
class _Request:
    """One recording and stream of an entry."""

    entry: _Entry
    path: Path
    config: SortingPipelineConfig
    several: bool  # recordings of the entry; a folder that it names is then their parent

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
class _Problems:
    found: list[str] = field(default_factory=list)

    def add(self, entry: _Entry, key: str, problem: object) -> None:
        shared = key in SHARED and not entry.own.intersection(SHARED)
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


def read_manifest(path: str | Path) -> list[Job]:
    r"""Read a list of recordings, and plan a job for each recording and stream.

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
    FileNotFoundError, PermissionError
        If there is no such file, or it may not be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "day1.raw.h5").touch()
    ...     _ = Path(folder, "list.toml").write_text("[[recording]]\nfile = 'day*.raw.h5'\nsorter = 'rt_sort'")
    ...     [job.name for job in read_manifest(Path(folder, "list.toml"))]
    ['day1']
    """
    path = Path(path)
    if path.suffix.lower() not in (".toml", ".csv"):
        raise ManifestError([f"{path}: expected a .toml or a .csv file"], str(path))
    read = _read_toml if path.suffix.lower() == ".toml" else _read_csv
    try:
        defaults, entries, problems = read(path)
    except ValueError as error:
        raise ManifestError([str(error)], printable(str(path))) from error
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
    content = read_toml(path, A_LIST)
    problems = [
        f"[{shortened(name)}]: unknown table{suggestion(name, ('defaults', 'recording'))}"
        for name in content
        if name not in ("defaults", "recording")
    ]
    entries, defaults = content.get("recording", []), content.get("defaults", {})
    if not isinstance(entries, list):
        problems.append("recording: write [[recording]], with two brackets, once for each entry")
        entries = []
    if not isinstance(defaults, dict):
        problems.append(f"defaults: expected a table [defaults], got {brief(defaults)}")
        defaults = {}
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            problems.append(f"entry {number}: expected a table [[recording]], got {brief(entry)}")
    return defaults, [entry for entry in entries if isinstance(entry, dict)], problems


def _read_csv(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """Read rows as entries; rows without a value, which spreadsheets write, are left out."""
    header, *filled = read_rows(path, A_LIST) or [Row(0, [])]
    columns = [known_name(name, KEYS) for name in header.cells]
    problems = [f"column {name!r} is there twice" for name, n in Counter(columns).items() if n > 1 and name]
    further = [name for name in dict.fromkeys(columns) if name and name not in KEYS]
    faults_of = {name: column_fault(name, KEYS) for name in further}
    problems += [f"column {brief(name)}: {fault}" for name, fault in faults_of.items() if fault]
    entries = []
    for number, row in enumerate(filled, start=1):
        entry, faults = _parse_row(columns, row.cells)
        problems += [f"entry {number}, line {row.line}{fault}" for fault in faults]
        entries.append(entry)
    for name in further:
        for entry, value in zip(entries, typed([entry.pop(name, "") for entry in entries]), strict=True):
            if value != "" and not faults_of[name]:
                entry[name] = value
    return {}, entries, problems


def _parse_row(columns: Sequence[str], cells: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Make an entry of a row, without empty cells; returns its faults as well."""
    faults = [": more values than columns"] if any(cells[len(columns) :]) else []
    pairs = [(key, cell) for key, cell in zip(columns, cells, strict=False) if cell]
    faults += [f": {brief(cell)} is in a column without a name" for key, cell in pairs if not key]
    entry: dict[str, Any] = {key: cell for key, cell in pairs if key}
    return entry, faults + [f", config: {problem}" for problem in _parse_settings(entry)]


def _parse_settings(entry: dict[str, Any]) -> list[str]:
    """Parse ``config`` of a row, unless it is a file, into settings; returns its faults."""
    text = entry.get("config", "")
    if CSV_SEPARATOR not in text and "=" not in text:
        return []
    problems, settings = [], {}
    for part in filter(None, map(str.strip, text.split(CSV_SEPARATOR))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            problems.append(f"expected FIELD=VALUE, got {brief(part)}")
        elif name in settings:
            problems.append(f"{name} is set twice")
        settings[name] = parse_value(value)
    entry["config"] = settings
    return problems


def _plan(
    defaults: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], folder: Path, problems: list[str], source: str
) -> list[Job]:
    found = _Problems(list(problems))
    found.found += _faults_of_columns("[defaults]", defaults, DEFAULTS)
    if not entries and not found.found:
        found.found.append("there is no [[recording]] in it")
    requests: list[_Request] = []
    configs: dict[str, SortingPipelineConfig] = {}
    for number, entry in enumerate(entries, start=1):
        named = entry.get("file", "without a file")
        name = f"entry {number} ({shortened(named) if isinstance(named, str) else brief(named)})"
        found.found += _faults_of_columns(name, entry, KEYS)
        merged = {**defaults, **entry, "config": _merged_config(defaults, entry)}
        planned = _Entry(name, merged, frozenset(entry), folder)
        if _has_right_types(planned, found):
            requests += _requests(planned, found, configs)
    _reject_duplicates(requests, found)
    jobs = [] if found.found else _jobs(requests, found)
    if found.found:
        raise ManifestError(found.found, source)
    return jobs


def _faults_of_columns(name: str, values: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    """Check the keys that are none of ours: each is a note on the recording, with a name and a value of its own."""
    further = [key for key in values if key not in known]
    faults = {key: column_fault(key, known) or value_fault(values[key]) for key in further}
    return [f"{name}, {shortened(key)}: {fault}" for key, fault in faults.items() if fault]


def _has_right_types(entry: _Entry, problems: _Problems) -> bool:
    """Check the types of the values of an entry, and that its paths can be located."""
    before = len(problems.found)
    for key, (kinds, expected) in KINDS.items():
        value = entry.values.get(key)
        if not (value is None or isinstance(value, kinds) or (key == "stream" and _is_list_of_names(value))):
            problems.add(entry, key, f"expected {expected}, got {brief(value)}")
    for key in ("results", "intermediate", "config"):
        value = entry.values.get(key)
        if isinstance(value, str | Path) and (key, value) != ("config", ""):
            try:
                located(entry.folder, value)
            except ValueError as error:
                problems.add(entry, key, error)
    return len(problems.found) == before


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _merged_config(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> Any:
    """Merge the settings of the entry into the common ones; a file is not merged."""
    common, own = defaults.get("config", {}), entry.get("config", {})
    if isinstance(common, Mapping) and isinstance(own, Mapping):
        return {**common, **own}
    return own or common


def _requests(entry: _Entry, problems: _Problems, configs: dict[str, SortingPipelineConfig]) -> Iterator[_Request]:
    """Expand an entry into recordings and streams; entries with the same settings share them."""
    settings = repr((entry.values.get("sorter"), entry.values["config"]))
    config = configs.get(settings) or _config(entry, problems)
    paths = _paths(entry, problems)
    if config is None:
        return
    configs[settings] = config
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
            config = config_from_toml(located(entry.folder, given))
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
    try:
        path = located(entry.folder, name)
        if path.exists():
            return [path]
    except (OSError, ValueError) as error:
        problems.add(entry, "file", error)
        return []
    if not glob.has_magic(str(name)):
        problems.add(entry, "file", f"there is no file or folder {path}")
        return []
    found = sorted(map(Path, glob.glob(str(path), recursive=True)), key=lambda found: natural_key(str(found)))  # noqa: PTH207
    if not found:
        problems.add(entry, "file", f"nothing is called {path}")
    return found


def _reject_duplicates(requests: Sequence[_Request], problems: _Problems) -> None:
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


def _reject_shared_folders(
    requests: Sequence[_Request], folders: Sequence[Path], key: str, problems: _Problems
) -> None:
    seen: dict[Path, _Entry] = {}
    for request, planned in zip(requests, folders, strict=True):
        folder = Path(os.path.normpath(planned))
        if folder in seen:
            problem = f"{folder} is already the folder of {seen[folder].name}"
            if key in request.entry.own:
                problem += "; what several have their folders in is named in [defaults]"
            problems.add(request.entry, key, problem)
        seen.setdefault(folder, request.entry)


def _jobs(requests: Sequence[_Request], problems: _Problems) -> list[Job]:
    """Plan jobs in the order of `requests`, and check that each has folders of its own."""
    jobs = plan_jobs(
        [(request.path, request.config) for request in requests],
        [request.own_folder("intermediate") for request in requests],
        [request.own_folder("results") for request in requests],
        intermediate_parents=[request.folder("intermediate") for request in requests],
        results_parents=[request.folder("results") for request in requests],
        metadata=[further_columns(request.entry.values, KEYS) for request in requests],
        checked=True,
    )
    for key in ("results", "intermediate"):
        if not problems.found:  # scratch in shared results is not reported as well
            _reject_shared_folders(requests, [getattr(job, key) for job in jobs], key, problems)
    return jobs
