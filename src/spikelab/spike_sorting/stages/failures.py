"""A classified failure as JSON and back, so that a biological outcome is remembered like a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spikelab.spike_sorting import _exceptions
from spikelab.spike_sorting._exceptions import BiologicalSortFailure, SpikeSortingClassifiedError
from spikelab.spike_sorting._fields import plain


def failure_to_dict(failure: SpikeSortingClassifiedError, folder: Path) -> dict[str, Any]:
    """Class name, message and attributes; the sorter's log is copied beside the manifest, so that it survives."""
    attributes = {name: _plain(value) for name, value in vars(failure).items() if not name.startswith("_")}
    log_path = attributes.get("log_path")
    if log_path is not None:
        source = Path(log_path)
        if source.is_file():
            (folder / source.name).write_bytes(source.read_bytes())
        attributes["log_path"] = source.name
    return {"class": type(failure).__name__, "message": str(failure), "attributes": attributes}


def failure_from_dict(record: dict[str, Any], folder: Path) -> SpikeSortingClassifiedError:
    """Undo :func:`failure_to_dict`."""
    attributes = dict(record["attributes"])
    if attributes.get("log_path") is not None:
        attributes["log_path"] = folder / attributes["log_path"]
    error_class = getattr(_exceptions, record["class"], None)
    if error_class is None:  # a class of a plugin
        return BiologicalSortFailure(record["message"])
    error: SpikeSortingClassifiedError = error_class(record["message"], **attributes)
    return error


def _plain(value: Any) -> Any:
    """What JSON can hold; of anything else, its text."""
    try:
        return plain(value)
    except TypeError:
        return str(value)
