"""Which failures are remembered like a result, for how long, and how: as JSON in the manifest of the stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting import _exceptions
from spikelab.spike_sorting._exceptions import BiologicalSortFailure, SpikeSortingClassifiedError
from spikelab.system.json_files import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

# A recording that cannot be sorted is a result: the same call raises the failure again at once. All other failures are
# of the machine or of the call, and the same call tries again.
REMEMBERED = (BiologicalSortFailure,)
# Placeholder of the log's path in a stored message: results can be moved.
LOG = "<log>"


def no_longer_valid(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Explain for the log why a failure is forgotten: another version of spikelab may sort the recording; else None."""
    failed_with, this = before.get("spikelab"), now.get("spikelab")
    return None if failed_with == this else f"it failed with spikelab {failed_with}, this is {this}"


def failure_to_dict(failure: SpikeSortingClassifiedError, folder: Path) -> dict[str, Any]:
    """Encode class name, message and attributes; the sorter's log is copied into `folder`: the scratch is deleted."""
    attributes = {name: plain(value, other=str) for name, value in vars(failure).items() if not name.startswith("_")}
    message = str(failure)
    log_path = attributes.get("log_path")
    if log_path is not None:
        source = Path(log_path)
        if source.is_file():
            (folder / source.name).write_bytes(source.read_bytes())
        attributes["log_path"] = source.name
        message = message.replace(log_path, LOG)
    return {"class": type(failure).__name__, "message": message, "attributes": attributes}


def is_failure(record: dict[str, Any]) -> bool:
    """Tell whether `record`, read from a file, has the entries of :func:`failure_to_dict`."""
    texts = isinstance(record.get("class"), str) and isinstance(record.get("message"), str)
    return texts and isinstance(record.get("attributes"), dict)


def failure_from_dict(record: dict[str, Any], folder: Path) -> SpikeSortingClassifiedError:
    """Decode what :func:`failure_to_dict` made; `folder` is the present folder of the artifact."""
    attributes, message = dict(record["attributes"]), record["message"]
    if attributes.get("log_path") is not None:
        attributes["log_path"] = folder / Path(str(attributes["log_path"])).name
        message = message.replace(LOG, str(attributes["log_path"]))
    error_class = getattr(_exceptions, record["class"], None)
    if not (isinstance(error_class, type) and issubclass(error_class, SpikeSortingClassifiedError)):
        return BiologicalSortFailure(message)  # a class of a plugin
    try:
        return error_class(message, **attributes)
    except TypeError:  # attributes that an earlier version knew
        return BiologicalSortFailure(message)


def point_at_copied_log(failure: SpikeSortingClassifiedError, folder: Path) -> None:
    """Replace the path of the log in a failure by that of its copy in `folder`: the original is deleted."""
    log_path = getattr(failure, "log_path", None)
    if log_path is None or not (folder / Path(log_path).name).is_file():
        return
    copy = folder / Path(log_path).name
    failure.args = tuple(arg.replace(str(log_path), str(copy)) if isinstance(arg, str) else arg for arg in failure.args)
    failure.log_path = copy  # type: ignore[attr-defined]  # not every class has one
