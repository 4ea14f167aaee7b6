"""Define the interface of a sorter, and the parts that backends of this package share."""

from __future__ import annotations

import difflib
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from spikelab.spike_sorting._exceptions import InsufficientActivityError, SpikeSortingClassifiedError
from spikelab.spike_sorting.data import BinaryRecording
from spikelab.system.memory import LIBRARIES_BYTES, parse_memory
from spikelab.system.resources import available_cores

if TYPE_CHECKING:
    from spikeinterface import BaseRecording, BaseSorting

    from spikelab.spike_sorting.data import SpikeTrains
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

logger = logging.getLogger(__name__)

MOST_LISTED = 12  # parameters that a message lists
GPU_UNUSED, GPU_OPTIONAL, GPU_REQUIRED = "unused", "optional", "required"


class SorterBackend(ABC):
    """Interface that every spike sorter implements.

    Parameters
    ----------
    config : SortingPipelineConfig
        The whole configuration; a backend reads the groups it needs.

    Attributes
    ----------
    sorter_label : str
        Short name in folders, errors and figures.
    batch_parameter : str or None
        The sorter parameter that is halved when a resource runs out, None where there is none.
    batch_default : int or None
        Its value where the configuration sets none.
    sorts_groups_apart : bool
        Whether groups of channels, such as shanks that are apart, are handed to :meth:`sort` one by one.
    takes_seed : bool
        Whether what :meth:`sort` finds can depend on ``config.execution.random_seed``.

    Examples
    --------
    >>> from spikelab.spike_sorting.backends import get_backend_class
    >>> from spikelab.spike_sorting.config import preset_for
    >>> backend = get_backend_class("threshold")(preset_for("threshold"))
    >>> isinstance(backend, SorterBackend), backend.gpu_use()
    (True, 'unused')
    """

    sorter_label: ClassVar[str] = ""
    libraries_bytes: ClassVar[int] = LIBRARIES_BYTES
    batch_parameter: ClassVar[str | None] = None
    batch_default: ClassVar[int | None] = None
    sorts_groups_apart: ClassVar[bool] = True
    takes_seed: ClassVar[bool] = True

    def __init__(self, config: SortingPipelineConfig) -> None:
        self.config = config

    @abstractmethod
    def load_recording(self, rec_path: Any) -> BaseRecording:
        """Load and preprocess a single recording.

        Parameters
        ----------
        rec_path : path or BaseRecording
            A recording file, a folder of files to concatenate, or a recording in memory.

        Returns
        -------
        recording : BaseRecording
            Scaled to microvolts, filtered, single-segment.
        """

    @abstractmethod
    def sort(
        self, recording: BaseRecording, rec_path: Any, recording_dat_path: Path, output_folder: Path
    ) -> BaseSorting:
        """Run the sorter on a preprocessed recording.

        Parameters
        ----------
        recording : BaseRecording
            From :meth:`load_recording`.
        rec_path : path or BaseRecording
            The original input.
        recording_dat_path : Path
            Where a sorter that reads a binary file may write it.
        output_folder : Path
            For the sorter's files.

        Returns
        -------
        sorting : BaseSorting
            Units and their spikes.
        """

    @abstractmethod
    def extract_waveforms(
        self,
        recording: BaseRecording,
        sorting: BaseSorting,
        waveforms_folder: Path,
        curation_folder: Path,
        rec_path: Any = None,
        rng: int | np.random.Generator | None = None,
    ) -> Any:
        """Extract waveforms and compute templates.

        Parameters
        ----------
        recording : BaseRecording
        sorting : BaseSorting
            From :meth:`sort`.
        waveforms_folder : Path
            For waveform files.
        curation_folder : Path
            For the initial units: ``unit_ids.npy``, ``spike_times.npy``, ``spike_clusters.npy``.
        rec_path : path or BaseRecording, optional
            The original input.
        rng : None, int or numpy.random.Generator, optional
            Seed of the spikes that are drawn; ``config.execution.random_seed`` where None.

        Returns
        -------
        waveform_extractor : object
            With ``sorting``, ``recording``, ``sampling_frequency``, ``peak_ind``, ``chans_max_all``,
            ``use_pos_peak``, ``get_computed_template(unit_id, mode)`` with mode "average", "median" or "std",
            ``ms_to_samples(ms)`` and ``root_folder``.
        """

    def check_settings(self) -> None:  # noqa: B027 - for sorters whose settings can be checked without a recording
        """Raise ValueError for settings that the sorter does not have; called before any file is touched."""

    def check_installed(self) -> None:  # noqa: B027 - most need nothing that could be missing
        """Raise an `EnvironmentSortFailure` that says what to install where the sorter cannot run on this host."""

    def about(self) -> str:
        """Describe a sorter that can run on this host, for ``spikelab doctor``; "" for nothing."""
        return ""

    def made_by(self) -> dict[str, str]:
        """Get names and versions of the programs that sort, as far as they can be found out, for the record."""
        return {}

    def key(self) -> dict[str, Any]:
        """Get settings besides ``config.sorter`` that change what :meth:`sort` returns, JSON-able."""
        return {}

    def finds_anew(self) -> bool:
        """Tell whether :meth:`sort` would find a neuron that was put into the recording since."""
        return True

    @property
    def kept(self) -> tuple[str, ...]:
        """Files and folders of the output folder of :meth:`sort` that are kept in ``stages/sorting``."""
        return ()

    def clean_up(self, output_folder: Path) -> None:  # noqa: B027 - the folder is scratch and goes with delete_inter
        """Delete files in the output folder of :meth:`sort` that nobody needs, after those in `kept` were copied."""

    @classmethod
    def needs_gpu(cls, config: SortingPipelineConfig) -> bool:  # noqa: ARG003 - for sorters that do
        """Tell whether a sort with `config` cannot run without a GPU."""
        return False

    def gpu_use(self) -> str:
        """Tell how :meth:`sort` uses a GPU: "unused", "optional" (used where there is one) or "required"."""
        return GPU_REQUIRED if self.needs_gpu(self.config) else GPU_UNUSED

    def device(self) -> str | None:
        """Get the device that the configuration asks for, such as "cuda:1"; None where it names none."""
        return None

    def scratch_bytes(self, n_samples: int, n_channels: int) -> int:  # noqa: ARG002 - for sorters that copy the data
        """Estimate the bytes that :meth:`sort` writes into its output folder for such a recording."""
        return 0

    def least_bytes(self, n_samples: int, n_channels: int, sampling_frequency: float) -> int:  # noqa: ARG002
        """Estimate the least bytes of arrays in this process that :meth:`sort` needs for such a recording."""
        return 0

    @property
    def for_work(self) -> int:
        """Bytes that ``total_memory`` leaves for arrays."""
        return max(0, parse_memory(self.config.execution.total_memory) - self.libraries_bytes)

    def classify(self, output_folder: Path, exc: BaseException) -> SpikeSortingClassifiedError | None:
        """Classify a failure of :meth:`sort`; None where no signature matches."""
        from spikelab.spike_sorting.failures.classifier import classify_failure

        return classify_failure(self.sorter_label, output_folder, exc)


class StandardBackend(SorterBackend):
    """Load recordings and extract waveforms as this package does; subclasses only sort.

    Examples
    --------
    >>> from spikelab.spike_sorting.config import preset_for
    >>> class MyBackend(StandardBackend):
    ...     sorter_label = "mine"
    ...     def sort(self, recording, rec_path, recording_dat_path, output_folder):
    ...         binary = self.ensure_binary(recording, recording_dat_path)
    ...         raise NotImplementedError
    >>> MyBackend(preset_for("mine").override(n_jobs=1)).workers
    1
    """

    def load_recording(self, rec_path: Any) -> BaseRecording:
        """Open, scale, filter and cut as ``config.recording`` says; see :meth:`SorterBackend.load_recording`."""
        from spikelab.spike_sorting.recording import open_recording

        return open_recording(rec_path, self.config.recording, self.workers)

    def extract_waveforms(
        self,
        recording: BaseRecording,
        sorting: BaseSorting,
        waveforms_folder: Path,
        curation_folder: Path,
        rec_path: Any = None,  # noqa: ARG002 - part of the interface
        rng: int | np.random.Generator | None = None,
    ) -> Any:
        """Compute templates and metrics in one pass; see :meth:`SorterBackend.extract_waveforms`."""
        from spikelab.spike_sorting.waveforms import extract

        execution = self.config.execution
        extractor = extract(
            recording,
            sorting,
            Path(waveforms_folder),
            self.config.waveform,
            seed=seed_from(rng, execution.random_seed),
            n_jobs=execution.n_jobs,
            total_memory=max(1, self.for_work),
            sorter=self.sorter_label,
        )
        extractor.write_units(Path(curation_folder))
        return extractor

    def ensure_binary(self, recording: BaseRecording, recording_dat_path: Path) -> BinaryRecording:
        """Find the binary file behind `recording`, or write one to `recording_dat_path`."""
        binary = BinaryRecording.from_spikeinterface(recording)
        if binary is not None and binary.path.is_file():
            return binary
        from spikelab.spike_sorting.recording import write_binary

        execution = self.config.execution
        binary, _ = write_binary(
            recording,
            Path(recording_dat_path),
            n_jobs=execution.n_jobs if execution.use_parallel_processing_for_raw_conversion else 1,
            total_memory=max(1, self.for_work),
            seed=seed_from(None, execution.random_seed),
        )
        return binary

    @property
    def workers(self) -> int:
        """Number of workers that the configuration allows on this host."""
        return max(1, min(int(self.config.execution.n_jobs), available_cores()))

    def clean_trains(self, trains: SpikeTrains, binary: BinaryRecording) -> SpikeTrains:
        """Drop spikes outside the recording, and units without any left.

        Raises
        ------
        InsufficientActivityError
            If no unit is left.
        """
        inside = tuple(train[(train >= 0) & (train < binary.n_samples)] for train in trains.samples)
        outside = sum(map(len, trains.samples)) - sum(map(len, inside))
        if outside:
            logger.warning("%s: %d spikes outside the recording were dropped", self.sorter_label, outside)
        kept = replace(trains, samples=inside).take(np.flatnonzero([len(train) > 0 for train in inside]))
        if not kept.n_units:
            raise InsufficientActivityError(
                f"{self.sorter_label} found no unit in {binary.duration_s:.1f} s of {binary.n_channels} channels. "
                "Most often the recording has no spikes above the sorter's threshold; check first that the traces "
                "are in microvolts (gain, data type) and show spikes by eye, then the detection threshold.",
                sorter=self.sorter_label,
            )
        return kept


def seed_from(rng: int | np.random.Generator | None, default: int | None) -> int:
    """Convert `rng` to an integer seed; 0 without one."""
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**31))
    if rng is not None:
        return int(rng)
    return 0 if default is None else int(default)


def merge_params(sorter: str, defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Merge `given` into `defaults`, nested dictionaries too; ValueError as from :func:`check_param_names`."""
    check_param_names(sorter, defaults, given or {})
    return _merge(defaults, given or {})


def check_param_names(sorter: str, known: Collection[str], given: Collection[str], listed: str = "") -> None:
    """Raise ValueError for names in `given` that are not in `known`, with the nearest; `listed` says where all are."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            if near:
                hint = f"Nearest: {', '.join(near)}"
            elif listed and len(known) > MOST_LISTED:
                hint = f"It has {len(known)} others; {listed}"
            else:
                hint = f"There are: {', '.join(sorted(known))}"
            raise ValueError(
                f"Unknown parameter {name!r} in sorter_params: the installed version of {sorter} does not have it. "
                f"{hint}"
            )


def _merge(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for name, value in given.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
