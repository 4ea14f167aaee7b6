"""Classes of failures of a sort, so that a caller can skip, stop or try again.

::

    RuntimeError
     └── SpikeSortingClassifiedError          any failure that was identified
          ├── BiologicalSortFailure           the recording cannot be sorted       -> go on with the next one
          │    ├── InsufficientActivityError
          │    ├── NoGoodChannelsError
          │    ├── SaturatedSignalError
          │    └── EmptyWaveformMetricsError  (also a ValueError)
          ├── EnvironmentSortFailure          host or container is misconfigured   -> stop, tell the operator
          │    ├── HDF5PluginMissingError
          │    ├── DockerEnvironmentError
          │    ├── ModelLoadingError
          │    ├── GPUUnavailableError
          │    ├── SorterNotInstalledError
          │    ├── FolderUnusableError
          │    └── ConcurrentSortError
          ├── ResourceSortFailure             a machine resource ran out           -> retry with less
          │    ├── GPUOutOfMemoryError
          │    ├── HostOutOfMemoryError
          │    ├── DiskExhaustionError
          │    └── SorterTimeoutError
          └── SortBatchError                  (also an ExceptionGroup) some recordings of a batch failed

All of them survive pickling with their attributes, so that they can come back from a worker process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, fields
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from pathlib import Path

DockerReason: TypeAlias = Literal["daemon_down", "client_missing", "image_pull_failed", "permission_denied", "other"]
Kind = TypeVar("Kind", bound=type[BaseException])
_LOG = "The sorter's log, where it was found."


def _about(doc: str, **default: Any) -> Any:
    """Declare an attribute with its description; without a `default` the keyword must be given."""
    return field(metadata={"doc": doc}, **default)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field, _about))
def _with_attributes(cls: Kind) -> Kind:
    """Make the annotations of `cls` keyword-only arguments, behind the message, and described attributes."""
    dataclass(kw_only=True, eq=False, repr=False, match_args=False)(cls)
    described = [f"{f.name} : {f.type}\n    {f.metadata['doc']}" for f in fields(cls)]  # type: ignore[arg-type]
    if described:
        cls.__init__.__annotations__["message"] = "str"  # what the caller gives, rather than InitVar[str]
        cls.__doc__ = "\n".join([cleandoc(cls.__doc__ or ""), "", "Attributes", "----------", *described, ""])
    return cls


def _rebuild(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an instance of `cls` without ``__init__``; pickle fills in the attributes afterwards."""
    return cls.__new__(cls, *args)


@_with_attributes
class SpikeSortingClassifiedError(RuntimeError):
    """Any identified failure of a sort.

    Catch this to treat all of them alike, or one of :class:`BiologicalSortFailure`, :class:`EnvironmentSortFailure`
    and :class:`ResourceSortFailure` where the policy differs.
    """

    message: InitVar[str] = field(kw_only=False)  # the exception's argument, not an attribute

    def __init__(self, *args: object) -> None:
        super().__init__(*args)

    def __post_init__(self, message: str) -> None:
        RuntimeError.__init__(self, message)

    def __reduce__(self) -> tuple[Any, ...]:
        # The inherited version calls the class with the message alone, which keyword-only arguments refuse.
        return _rebuild, (type(self), self.args), self.__dict__


class BiologicalSortFailure(SpikeSortingClassifiedError):  # noqa: N818  a published name
    """The recording itself cannot be sorted: too silent, no usable channel. Do not try again."""


class EnvironmentSortFailure(SpikeSortingClassifiedError):  # noqa: N818  a published name
    """The host or the container runtime is misconfigured. Stop: a retry without intervention fails again."""


class ResourceSortFailure(SpikeSortingClassifiedError):  # noqa: N818  a published name
    """The job used up memory, disk or time. Try again with reduced parameters."""


@_with_attributes
class InsufficientActivityError(BiologicalSortFailure):
    """The recording has too little spiking activity to be sorted.

    Every sorter fails in another way on a recording that is all but silent:

    - Kilosort2 starts CUDA kernels whose grid has no size, as there are next to no templates or spikes in a batch.
      Older GPUs let that pass; those of compute capability 12 and later answer ``invalid configuration argument``.
      The same words in an active recording are no silence, so its log is read: crossings, templates, spikes per batch.
    - Kilosort4 gives its clustering less than that can take: an empty matrix to ``TruncatedSVD``, or fewer spikes than
      clusters to ``KMeans`` (``n_samples=2 should be >= n_clusters=6``).
    - RT-Sort finds no sequence of spikes that travels across electrodes often enough.
    - Any sorter may return no units at all, which is treated alike.

    A wrong gain, number type or channel map looks the same to a sorter: look at the traces first.
    """

    sorter: str = _about('The sorter that failed, for example ``"kilosort2"``.')
    threshold_crossings: int | None = _about("Kilosort2: threshold crossings found.", default=None)
    units_at_failure: int | None = _about(
        "Kilosort2: templates at the crash; Kilosort4: samples that its clustering complained of.", default=None
    )
    nspks_at_failure: float | None = _about("Kilosort2: spikes per batch in the failing step.", default=None)
    log_path: str | Path | None = _about(_LOG, default=None)


@_with_attributes
class NoGoodChannelsError(BiologicalSortFailure):
    """The sorter flagged every channel as bad; there may be signal, but none that passes its check.

    Kilosort2 drops channels that fire less often than ``minfr_goodchannels`` (0.1 Hz), which in a slow culture are all
    of them; with 0 it keeps them. That is not silence, and so no :class:`InsufficientActivityError`.
    """

    sorter: str = _about("The sorter that failed.")
    total_channels: int | None = _about("Channels of the recording.", default=None)
    bad_channels: int | None = _about("Channels that were flagged.", default=None)
    log_path: str | Path | None = _about(_LOG, default=None)


@_with_attributes
class SaturatedSignalError(BiologicalSortFailure):
    """The recording is flat or on a rail on all channels: a fault of the acquisition rather than silence.

    Loose electrodes, no fluid, an amplifier that was off, a file that never got data. A sorter's log cannot tell this
    from silence; spikelab looks at the traces before the sorter sees them, and raises this by itself.
    """

    channels_saturated: int | None = _about("Channels found flat or saturated.", default=None)
    total_channels: int | None = _about("Channels of the recording.", default=None)


@_with_attributes
class EmptyWaveformMetricsError(BiologicalSortFailure, ValueError):
    """SNR or normalised standard deviation was asked for, but there are neither stored values nor raw data.

    Trying again does not help: the ``SpikeData`` comes from where no waveforms were extracted. It is a ``ValueError``
    too, for scripts that catch that.
    """

    metric_name: str | None = _about("The metric that could not be computed.", default=None)


@_with_attributes
class HDF5PluginMissingError(EnvironmentSortFailure):
    """The HDF5 filter plugin that the recording needs is missing, or the plugin path is wrong.

    Whoever keeps the machine has to put the vendor's plugin, made for this system, into a folder and name that folder
    with ``hdf5_plugin_path``, or in the environment as ``HDF5_PLUGIN_PATH`` before Python starts. An inherited variable
    that names a folder which is not there fails in the same way.
    """

    configured_path: str | Path | None = _about("``HDF5_PLUGIN_PATH`` at the time of the failure.", default=None)


@_with_attributes
class DockerEnvironmentError(EnvironmentSortFailure):
    """Docker's daemon, its client library or the image cannot be used."""

    reason: DockerReason = _about(
        "``daemon_down``, ``client_missing``, ``image_pull_failed``, ``permission_denied`` or ``other``, of which "
        "``__cause__`` has the details."
    )


@_with_attributes
class ModelLoadingError(EnvironmentSortFailure):
    """The detection model could not be loaded: folder missing, weights corrupt, wrong shape, no PyTorch.

    A folder of a model has ``init_dict.json``, the shape of the network, and ``state_dict.pt``, its weights, and the
    two have to agree. PyTorch is only needed on a GPU.
    """

    sorter: str = _about("The sorter whose model it is.", default="rt_sort")
    model_path: str | Path | None = _about("The path that was tried.", default=None)


@_with_attributes
class GPUUnavailableError(EnvironmentSortFailure):
    """A GPU was asked for, but none can be used: no device, no driver, or one too new for the sorter's build."""

    sorter: str | None = _about("The sorter that failed.", default=None)
    device: str | None = _about("The device that was asked for.", default=None)
    log_path: str | Path | None = _about(_LOG, default=None)


@_with_attributes
class SorterNotInstalledError(EnvironmentSortFailure):
    """The sorter, or something it cannot run without (MATLAB, its source folder, a package), is not installed."""

    sorter: str = _about("The sorter that is missing.")
    log_path: str | Path | None = _about(_LOG, default=None)


@_with_attributes
class FolderUnusableError(EnvironmentSortFailure):
    """A folder of one recording cannot be written, or holds what is not spikelab's; other recordings may be sorted."""

    unusable: str | Path | None = _about("The folder, or the file in the folder.", default=None)


@_with_attributes
class ConcurrentSortError(EnvironmentSortFailure):
    """Another run is using the same folder."""

    folder: str | Path | None = _about("The folder that is in use.", default=None)
    pid: int | None = _about("Process that holds the folder, where known.", default=None)
    host: str | None = _about("Host of that process, where known.", default=None)


@_with_attributes
class GPUOutOfMemoryError(ResourceSortFailure):
    """The sorter ran out of GPU memory: reduce the batch, shorten the recording or use a larger GPU.

    Recognised in PyTorch's ``CUDA out of memory`` and in Kilosort2's log (``CUDA_ERROR_OUT_OF_MEMORY``). The same
    command unchanged fails again, so half the batch was tried, ``resource_retries`` times, before this is raised.
    """

    sorter: str = _about("The sorter that failed.")
    log_path: str | Path | None = _about(_LOG, default=None)


@_with_attributes
class HostOutOfMemoryError(ResourceSortFailure):
    """The host ran out of memory (not the GPU), or the operating system killed the sorter for it."""

    sorter: str | None = _about("The sorter that failed; None where another stage did.", default=None)
    log_path: str | Path | None = _about(_LOG, default=None)


@_with_attributes
class DiskExhaustionError(ResourceSortFailure):
    """A disk is full, or has too little room for what is about to be written."""

    sorter: str | None = _about("The sorter that failed; None where another stage did.", default=None)
    path: str | Path | None = _about("Where there is no room.", default=None)
    required_bytes: int | None = _about("Room needed, where known.", default=None)
    free_bytes: int | None = _about("Room left, where known.", default=None)
    log_path: str | Path | None = _about(_LOG, default=None)


@_with_attributes
class SorterTimeoutError(ResourceSortFailure):
    """The sorter gave no sign of life for too long and was ended,
    or a batch system ended it because its time was up.
    """

    sorter: str = _about("The sorter that was ended.")
    timeout_s: float | None = _about(
        "Seconds of silence that were allowed; None where a batch system ended it.", default=None
    )
    log_path: str | Path | None = _about(_LOG, default=None)


class SortBatchError(ExceptionGroup[Exception], SpikeSortingClassifiedError):
    """Some recordings of a batch failed; what was sorted is in `results`.

    The parts that ``except*`` or ``split`` hand out carry the same three attributes, always about the whole batch;
    ``exceptions`` has the errors of that part. ``except* SpikeSortingClassifiedError`` catches the batch as a whole,
    because the group is one itself; name a narrower class to pick errors out of it.

    Attributes
    ----------
    results : list or dict
        Aligned with the inputs, None where there is no result; of a multi-stream sort, a dict by stream.
    failures : list of (input, exception)
        The inputs that failed and why.
    not_attempted : list
        Inputs that were not tried because the batch was stopped.
    """

    def __init__(
        self,
        message: str,
        exceptions: Sequence[Exception],
        *,
        results: Sequence[Any] | Mapping[str, Any],
        failures: Sequence[tuple[Any, Exception]],
        not_attempted: Sequence[Any] = (),
    ) -> None:
        super().__init__(message, exceptions)
        self.results: Any = dict(results) if isinstance(results, Mapping) else list(results)
        self.failures = list(failures)
        self.not_attempted = list(not_attempted)

    def derive(self, excs: Sequence[Exception]) -> SortBatchError:  # type: ignore[override]
        """Make a group of some of the exceptions, with the attributes of this one."""
        return SortBatchError(
            self.message, excs, results=self.results, failures=self.failures, not_attempted=self.not_attempted
        )
