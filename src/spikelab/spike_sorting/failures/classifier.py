"""Classify the failure that ended a sort, from the exception chain and the sorter's logs."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spikelab.spike_sorting._exceptions import DiskExhaustionError, HDF5PluginMissingError, SpikeSortingClassifiedError
from spikelab.spike_sorting.failures.signatures import AMBIGUOUS, CATEGORIES, LAST_RESORT, SIGNATURES, Signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SPIKEINTERFACE_LOG = "spikeinterface_log.json"
LOG_NAMES = re.compile(r".+\.log|spikeinterface_log\.json|spike_sorters_log\.txt|run_\w+\.(sh|bat)")
SORTER_OUTPUT = "sorter_output"  # where SpikeInterface lets the sorter write; its own log is in the folder above
MAX_LOG_BYTES = 2**19  # of each end
LONGEST_LINE = 2000  # of a longer line the beginning and the end are searched, so that no expression takes for ever
FLAGS = re.IGNORECASE | re.MULTILINE
# A path between quotes: a match that begins in it is part of a name.
QUOTED_PATH = re.compile(r"(?<!\w)'(?![^'\n]*://)[^'\n]*[/\\][^'\n]*'")
SHORTEST_FOLDER = 3  # parts of a path; a shorter one is too common a text to be a folder of this run
# Text before and behind words that deny them: "no ...", "if ...", "... handling", "... errors: 0".
DENIED_BEFORE = re.compile(
    r"\b(?:no|without|if|in case of|avoid\w*|prevent\w*|handl\w+|(?:retry|retries|retrying) on|against|0)\s+"
    r"(?:an?\s+|any\s+)?$",
    re.IGNORECASE,
)
DENIED_BEHIND = re.compile(
    r"\s*(?:handl\w+|guard\w*|checks?\b|protection|detection|test\w*"
    r"|(?:errors?|events?|kills?)?\s*[:=]\s*(?:0\b|none\b|no\b))",
    re.IGNORECASE,
)


class Source(NamedTuple):
    """A text to search: the exception chain (no path) or a log."""

    path: Path | None
    text: str


def classify_ks2_failure(output_folder: str | Path, exc: BaseException) -> SpikeSortingClassifiedError | None:
    """Return a classified exception for a Kilosort2 failure, or None.

    Environment is tried before resource, and resource before biology: trouble with the machine happens on any
    recording, and what it leaves in the log would look like silence as well.

    Parameters
    ----------
    output_folder : path
        Folder with the sorter's files; its logs are searched. It need not exist.
    exc : BaseException
        What the sorter raised.

    Returns
    -------
    error : SpikeSortingClassifiedError or None
        None where nothing is recognised.
    """
    return classify_failure("kilosort2", output_folder, exc)


def classify_ks4_failure(output_folder: str | Path, exc: BaseException) -> SpikeSortingClassifiedError | None:
    """Return a classified exception for a Kilosort4 failure, or None; see :func:`classify_ks2_failure`.

    Kilosort4 does not say that all channels are bad, so of biology there is :class:`.InsufficientActivityError` alone.
    """
    return classify_failure("kilosort4", output_folder, exc)


def classify_rt_sort_failure(output_folder: str | Path, exc: BaseException) -> SpikeSortingClassifiedError | None:
    """Return a classified exception for an RT-Sort failure, or None; see :func:`classify_ks2_failure`."""
    return classify_failure("rt_sort", output_folder, exc)


def classify_failure(sorter: str, output_folder: str | Path, exc: BaseException) -> SpikeSortingClassifiedError | None:
    """Return a classified exception for a failure of any sorter, or None; see :func:`classify_ks2_failure`."""
    chain = list(exception_chain(exc))
    return _classified(chain) or _recognised((*SIGNATURES, *LAST_RESORT), sorter, chain, Path(output_folder))


def classify_without_activity(
    sorter: str, output_folder: Path, exc: BaseException
) -> SpikeSortingClassifiedError | None:
    """Classify ambiguous words for a recording in which no spikes were found; or None."""
    return _recognised(AMBIGUOUS, sorter, list(exception_chain(exc)), output_folder)


def _recognised(
    signatures: Sequence[Signature], sorter: str, chain: list[BaseException], folder: Path
) -> SpikeSortingClassifiedError | None:
    return _first_match(signatures, sorter, [_as_source(chain), *_logs(folder, chain)], folder)


def classify_outside_sorter(exc: BaseException) -> SpikeSortingClassifiedError | None:
    """Return a classified exception for a failure of a stage other than the sorter's, or None.

    Only the exception chain is searched, and only for failures of any stage: environment and resource.
    """
    chain = list(exception_chain(exc))
    anywhere = [signature for category in CATEGORIES[:2] for signature in category if not signature.sorters]
    return _classified(chain) or _first_match(anywhere, "", [_as_source(chain)], None)


def _classified(chain: list[BaseException]) -> SpikeSortingClassifiedError | None:
    return next((link for link in chain if isinstance(link, SpikeSortingClassifiedError)), None)


def _as_source(chain: list[BaseException]) -> Source:
    return Source(None, _shortened("\n".join(map(_describe, chain))))


def _first_match(
    signatures: Sequence[Signature], sorter: str, sources: list[Source], folder: Path | None
) -> SpikeSortingClassifiedError | None:
    """Build the error of the first signature that the texts of `sources` match."""
    whole = "\n".join(source.text for source in sources)
    for signature in signatures:
        hit = _hit(signature, sorter, sources, folder)
        parsed = None if hit is None else _parse(signature, hit[1], whole)
        if hit is not None and parsed is not None:
            source, match = hit
            fields = {"sorter": sorter, "log_path": _log_path(source, sources)}
            fields |= {**_surroundings(signature.error, folder), **parsed}
            return _build(signature, fields, _line_of(source.text, match.start()))
    return None


def exception_chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield `exc`, its causes, its contexts unless suppressed, and the members of groups; each once."""
    todo, seen = [exc], set()
    while todo:
        error = todo.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            todo.extend(error.exceptions)
        context = None if error.__suppress_context__ else error.__context__
        todo.extend(linked for linked in (error.__cause__, context) if linked is not None)


def cause_of(meaning: BaseException, exc: BaseException) -> BaseException | None:
    """Return what `meaning`, found for `exc`, is raised from: `exc`, unless the chain of `exc` contains `meaning`."""
    return meaning.__cause__ if any(link is meaning for link in exception_chain(exc)) else exc


def _describe(error: BaseException) -> str:
    """Write an exception like a traceback's last line: ``docker.errors.APIError: ...``."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{name}: {error}"


def _logs(folder: Path, chain: list[BaseException]) -> list[Source]:
    """Read every log in `folder`, SpikeInterface's own above it, and the log that an exception names."""
    paths = []
    if folder.is_dir():
        paths = sorted(path for path in folder.rglob("*") if LOG_NAMES.fullmatch(path.name) and path.is_file())
    if folder.name == SORTER_OUTPUT:
        paths.append(folder.parent / SPIKEINTERFACE_LOG)
    paths += [Path(named) for link in chain if (named := getattr(link, "log_path", None)) is not None]
    return [Source(path, _read(path)) for path in dict.fromkeys(paths) if path.is_file()]


def _read(path: Path) -> str:
    """Read a log; of a very long one the beginning (how many channels, crossings) and the end (what went wrong)."""
    with path.open("rb") as file:
        text = file.read(MAX_LOG_BYTES)
        rest = path.stat().st_size - MAX_LOG_BYTES
        if rest > 0:
            file.seek(-min(rest, MAX_LOG_BYTES), os.SEEK_END)
            text += b"\n" + file.read()
    decoded = text.decode("utf-8", errors="replace")
    return _shortened(_unpack_json(decoded) if path.name == SPIKEINTERFACE_LOG else decoded)


def _shortened(text: str) -> str:
    half = LONGEST_LINE // 2
    lines = text.split("\n")
    return "\n".join(line if len(line) <= LONGEST_LINE else f"{line[:half]}\n{line[-half:]}" for line in lines)


def _unpack_json(text: str) -> str:
    """Return the lines in SpikeInterface's log; the text itself where the log is cut off."""
    try:
        log = json.loads(text)
        return "\n".join(line for name in ("error_trace", "runtime_trace") for line in _lines(log.get(name)))
    except (ValueError, AttributeError):
        return text


def _lines(value: Any) -> list[str]:
    return value.splitlines() if isinstance(value, str) else [str(line) for line in value or ()]


def _hit(
    signature: Signature, sorter: str, sources: list[Source], folder: Path | None
) -> tuple[Source, re.Match[str]] | None:
    """Find the first text with the words of a signature, and the place in it."""
    if signature.sorters and not sorter.startswith(signature.sorters):
        return None
    found = ((source, _find(signature, source, folder)) for source in sources)
    return next(((source, match) for source, match in found if match is not None), None)


def _parse(signature: Signature, match: re.Match[str], whole: str) -> dict[str, Any] | None:
    """Collect the fields of the error from the whole text; None where that contradicts the signature."""
    if signature.unless is not None and re.search(signature.unless, whole, FLAGS):
        return None
    if signature.where is not None and not re.search(signature.where, whole, FLAGS):
        return None
    evidence = signature.evidence(whole) if signature.evidence is not None else {}
    if evidence is None:
        return None
    groups = {name: _number_or_text(value) for name, value in match.groupdict().items() if value is not None}
    return {**signature.fields, **evidence, **groups}


def _number_or_text(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _log_path(source: Source, sources: list[Source]) -> Path | None:
    """Return the log with the words; of words of an exception, the first log that there is."""
    logs = (other.path for other in sources if other.path is not None and other.path.suffix == ".log")
    return source.path or next(logs, None)


def _find(signature: Signature, source: Source, folder: Path | None) -> re.Match[str] | None:
    """Find the first place in a text where the words of a signature are neither part of a name nor denied."""
    if signature.by_exception and source.path is not None:
        return None
    matches = re.finditer(signature.pattern, source.text, FLAGS)
    if not signature.as_statement:
        return next(matches, None)
    return next((m for m in matches if not _is_denied(source.text, m) and not _is_named(source.text, m, folder)), None)


def _is_denied(text: str, match: re.Match[str]) -> bool:
    before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    behind = text[match.end() :].split("\n", 1)[0]
    return DENIED_BEFORE.search(before) is not None or DENIED_BEHIND.match(behind) is not None


def _is_named(text: str, match: re.Match[str], folder: Path | None) -> bool:
    """Tell whether the words are part of a path: one without blanks, one between quotes, or this run's folder."""
    start, end = match.span()
    start += len(match[0]) - len(match[0].lstrip())
    line_start = text.rfind("\n", 0, start) + 1
    line = text[line_start:].split("\n", 1)[0]
    at = start - line_start
    if re.search(r"[/\\]\S*$|\w$", line[:at]) or re.match(r"[/\\_]", text[end:]):
        return True
    if any(quoted.start() < at < quoted.end() for quoted in QUOTED_PATH.finditer(line)):
        return True
    above = [] if folder is None else [path for path in (folder, *folder.parents) if len(path.parts) >= SHORTEST_FOLDER]
    found = ((line.find(str(path)), len(str(path))) for path in above)
    return any(0 <= first <= at < first + length for first, length in found)


def _surroundings(error: type[SpikeSortingClassifiedError], folder: Path | None) -> dict[str, Any]:
    """Return the fields that this host knows."""
    if error is HDF5PluginMissingError:
        return {"configured_path": os.environ.get("HDF5_PLUGIN_PATH")}
    if error is DiskExhaustionError and folder is not None and folder.is_dir():
        return {"path": folder, "free_bytes": shutil.disk_usage(folder).free}
    return {}


def _build(signature: Signature, fields: dict[str, Any], line: str) -> SpikeSortingClassifiedError:
    """Make the error with those of `fields` that its class takes."""
    taken = inspect.signature(signature.error.__init__).parameters
    where = f" ({fields['log_path']})" if fields["log_path"] is not None else ""
    message = f"{signature.message} What was found: {line!r}{where}"
    return signature.error(message, **{name: value for name, value in fields.items() if name in taken})


def _line_of(text: str, position: int) -> str:
    """Return the line of a match, without the dashes that SpikeInterface's scripts put before a message."""
    start = text.rfind("\n", 0, position) + 1
    return text[start:].split("\n", 1)[0].strip(" -")[:300]
