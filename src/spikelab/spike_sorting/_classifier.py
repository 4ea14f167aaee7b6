"""Find out what kind of failure ended a sort, from the exception chain and the sorter's logs."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spikelab.spike_sorting._exceptions import HDF5PluginMissingError, SpikeSortingClassifiedError
from spikelab.spike_sorting._signatures import SIGNATURES, Signature

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG_NAMES = re.compile(
    r"(kilosort\w*|rt_?sort|sorter|\w+_compiled)\.log|spikeinterface_log\.json|spike_sorters_log\.txt|run_kilosort\w*\.(sh|bat)"
)
MAX_LOG_BYTES = 2**19  # of each end


class Source(NamedTuple):
    """A text to look in: the exception chain (no path) or a log."""

    path: Path | None
    text: str


def classify_ks2_failure(output_folder: str | Path, exc: BaseException) -> SpikeSortingClassifiedError | None:
    """Return a classified exception for a Kilosort2 failure, or None.

    Parameters
    ----------
    output_folder : path
        Folder with the sorter's files; its logs are searched. It need not exist.
    exc : BaseException
        What the sorter raised.

    Returns
    -------
    error : SpikeSortingClassifiedError or None
        Environment is tried before resource, and resource before biology; None where nothing is recognised.
    """
    return classify_failure("kilosort2", output_folder, exc)


def classify_ks4_failure(output_folder: str | Path, exc: BaseException) -> SpikeSortingClassifiedError | None:
    """Return a classified exception for a Kilosort4 failure, or None; see :func:`classify_ks2_failure`."""
    return classify_failure("kilosort4", output_folder, exc)


def classify_rt_sort_failure(output_folder: str | Path, exc: BaseException) -> SpikeSortingClassifiedError | None:
    """Return a classified exception for an RT-Sort failure, or None; see :func:`classify_ks2_failure`."""
    return classify_failure("rt_sort", output_folder, exc)


def classify_failure(sorter: str, output_folder: str | Path, exc: BaseException) -> SpikeSortingClassifiedError | None:
    """Return a classified exception for a failure of any sorter, or None; see :func:`classify_ks2_failure`."""
    chain = list(exception_chain(exc))
    for link in chain:
        if isinstance(link, SpikeSortingClassifiedError):
            return link
    sources = [Source(None, "\n".join(map(_describe, chain))), *_logs(Path(output_folder))]
    whole = "\n".join(source.text for source in sources)
    for signature in SIGNATURES:
        error = _try(signature, sorter, sources, whole)
        if error is not None:
            return error
    return None


def exception_chain(exc: BaseException) -> Iterator[BaseException]:
    """`exc`, its causes, its contexts unless suppressed, and the members of groups; each once."""
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


def _describe(error: BaseException) -> str:
    """Write an exception like a traceback's last line: ``docker.errors.APIError: ...``."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{name}: {error}"


def _logs(folder: Path) -> list[Source]:
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.rglob("*") if LOG_NAMES.fullmatch(path.name) and path.is_file())
    return [Source(path, _read(path)) for path in paths]


def _read(path: Path) -> str:
    """Read a log; of a very long one the beginning (how many channels, crossings) and the end (what went wrong)."""
    with path.open("rb") as file:
        text = file.read(MAX_LOG_BYTES)
        rest = path.stat().st_size - MAX_LOG_BYTES
        if rest > 0:
            file.seek(-min(rest, MAX_LOG_BYTES), os.SEEK_END)
            text += b"\n" + file.read()
    return text.decode("utf-8", errors="replace")


def _try(signature: Signature, sorter: str, sources: list[Source], whole: str) -> SpikeSortingClassifiedError | None:
    """Build the error of `signature` where it fits."""
    if signature.sorters and not sorter.startswith(signature.sorters):
        return None
    flags = re.IGNORECASE | re.MULTILINE
    found = ((source, re.search(signature.pattern, source.text, flags)) for source in sources)
    source, match = next(((s, m) for s, m in found if m is not None), (None, None))
    if source is None or match is None:
        return None
    if signature.unless is not None and re.search(signature.unless, whole, flags):
        return None
    evidence = signature.evidence(whole) if signature.evidence is not None else {}
    if evidence is None:
        return None
    numbers = {name: int(value) for name, value in match.groupdict().items() if value is not None}
    return _build(signature, {**signature.fields, **evidence, **numbers}, sorter, source, sources, match)


def _build(
    signature: Signature,
    fields: dict[str, Any],
    sorter: str,
    source: Source,
    sources: list[Source],
    match: re.Match[str],
) -> SpikeSortingClassifiedError:
    """Make the error with those of `fields`, `sorter` and `log_path` that its class takes."""
    log_path = source.path or next((s.path for s in sources if s.path is not None and s.path.suffix == ".log"), None)
    taken = inspect.signature(signature.error.__init__).parameters
    general = {"sorter": sorter, "log_path": log_path}
    if signature.error is HDF5PluginMissingError:
        general["configured_path"] = os.environ.get("HDF5_PLUGIN_PATH")
    arguments = {name: value for name, value in (general | fields).items() if name in taken}
    start = source.text.rfind("\n", 0, match.start()) + 1
    line = source.text[start:].split("\n", 1)[0].strip(" -")[:300]
    where = f" ({log_path})" if log_path is not None else ""
    return signature.error(f"{signature.message} What was found: {line!r}{where}", **arguments)
