"""Check that a sorter's backend keeps the contract that the pipeline relies on.

For the tests of a package with a sorter of its own::

    def test_contract(tmp_path):
        check_backend(MyBackend, preset_for("mine"), tmp_path)

Every check raises an `AssertionError` that names the method and what is wrong with it. Each can be run alone on a
:class:`BackendRun`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from spikeinterface.core import BaseRecording, BaseSorting, NumpyRecording

from spikelab.spike_sorting.backends.base import GPU_OPTIONAL, GPU_REQUIRED, GPU_UNUSED, SorterBackend
from spikelab.spike_sorting.data import BinaryRecording, Epoch
from spikelab.spike_sorting.waveforms import waveforms_from_extractor

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikelab.spike_sorting.config import SortingPipelineConfig

RATE_HZ = 20_000.0
N_SAMPLES, N_CHANNELS, PITCH_UM = 240_000, 16, 40.0
GAIN_UV, NOISE_UV = 0.1, 8.0
SEED = 3


def synthetic_recording(path: Path) -> BinaryRecording:
    """Write 12 s of 16 channels with 8 uV of noise and three units of 100 to 200 uV at 5 Hz.

    Parameters
    ----------
    path : Path
        Binary file to write.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     recording = synthetic_recording(Path(folder) / "traces.dat")
    >>> recording.n_channels, recording.duration_s
    (16, 12.0)
    """
    rng = np.random.default_rng(1)
    locations = np.array([(x * PITCH_UM, y * PITCH_UM) for y in range(4) for x in range(4)])
    traces = rng.normal(0, NOISE_UV, (N_SAMPLES, N_CHANNELS))
    time_ms = np.arange(-20, 40) / RATE_HZ * 1000
    for channel, width in ((0, 0.15), (6, 0.25), (15, 0.2)):
        shape = -np.exp(-((time_ms / width) ** 2)) + 0.4 * np.exp(-(((time_ms - 0.5) / (2 * width)) ** 2))
        fall = np.exp(-np.linalg.norm(locations - locations[channel], axis=1) / 40)
        for start in np.cumsum(rng.integers(2_000, 6_000, 55)):
            if start + 60 < N_SAMPLES:
                traces[start : start + 60] += rng.normal(160, 8) * shape[:, None] * fall
    np.round(traces / GAIN_UV).astype(np.int16).tofile(path)
    return BinaryRecording(
        path=path,
        n_samples=N_SAMPLES,
        n_channels=N_CHANNELS,
        sampling_frequency=RATE_HZ,
        gain_uv=GAIN_UV,
        channel_ids=tuple(f"ch{i}" for i in range(N_CHANNELS)),
        locations=locations,
        electrodes=None,
        epochs=(Epoch(0, N_SAMPLES),),
    )


@dataclass
class BackendRun:
    """A backend, a recording, and what the backend makes of it; sorted once, at the first use.

    Attributes
    ----------
    backend : SorterBackend
    binary : BinaryRecording
        From :func:`synthetic_recording`.
    folder : Path
        For all files of the run; must be empty.

    Examples
    --------
    >>> import tempfile
    >>> from spikelab.spike_sorting.backends import get_backend_class
    >>> from spikelab.spike_sorting.config import preset_for
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     backend = get_backend_class("threshold")(preset_for("threshold"))
    ...     check_class(BackendRun(backend, synthetic_recording(Path(folder) / "traces.dat"), Path(folder)))
    """

    backend: SorterBackend
    binary: BinaryRecording
    folder: Path

    @cached_property
    def recording(self) -> BaseRecording:
        """The recording that the backend gets."""
        return self.binary.to_spikeinterface()

    @cached_property
    def sorting(self) -> BaseSorting:
        """Result of :meth:`SorterBackend.sort`."""
        output = self.folder / "sorting"
        output.mkdir()
        return self.backend.sort(self.recording, "some.h5", self.folder / "traces.dat", output)

    @cached_property
    def extractor(self) -> Any:
        """Result of :meth:`SorterBackend.extract_waveforms` with the seed `SEED`."""
        return self.extract(self.folder / "waveforms", self.folder / "curation", SEED)

    def extract(self, waveforms: Path, curation: Path, rng: Any) -> Any:
        """Extract waveforms into other folders, or with another seed."""
        return self.backend.extract_waveforms(self.recording, self.sorting, waveforms, curation, "some.h5", rng)


def check_backend(backend_class: type[SorterBackend], config: SortingPipelineConfig, folder: Path) -> None:
    """Run every check on a backend; takes as long as it sorts 12 s of 16 channels, and then some seconds.

    Parameters
    ----------
    backend_class : type
    config : SortingPipelineConfig
        With settings with which the sorter finds units of 100 uV in 8 uV of noise.
    folder : Path
        An empty folder.

    Raises
    ------
    AssertionError
        At the first check that fails.

    Examples
    --------
    >>> import tempfile
    >>> from spikelab.spike_sorting.backends import get_backend_class
    >>> from spikelab.spike_sorting.config import preset_for
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     check_backend(get_backend_class("threshold"), preset_for("threshold"), Path(folder))
    """
    folder = Path(folder)
    run = BackendRun(backend_class(config), synthetic_recording(folder / "recording.dat"), folder)
    for check in CHECKS:
        check(run)


def check_class(run: BackendRun) -> None:
    """Check label, batch parameter, and the methods that need no recording."""
    backend, config = run.backend, run.backend.config
    _require(isinstance(backend, SorterBackend), "the class is no SorterBackend")
    _require(type(backend)(config).config is config, "__init__ must keep the configuration as self.config")
    _require(bool(backend.sorter_label), "sorter_label is empty")
    both = (backend.batch_parameter is None) == (backend.batch_default is None)
    _require(both, "batch_parameter and batch_default must both be set, or none of them")
    _require(isinstance(type(backend).needs_gpu(config), bool), "needs_gpu must return True or False")
    uses = (GPU_UNUSED, GPU_OPTIONAL, GPU_REQUIRED)
    _require(backend.gpu_use() in uses, f"gpu_use must return one of {uses}, got {backend.gpu_use()!r}")
    _require(isinstance(backend.device(), str | None), "device must return a text or None")
    _require(backend.scratch_bytes(1000, 4) >= 0, "scratch_bytes must not be negative")


def check_load_recording(run: BackendRun) -> None:
    """Check that a recording of int16 counts comes out with one segment and all its samples."""
    counts = np.random.default_rng(0).integers(-1000, 1000, (200_000, 4)).astype(np.int16)
    raw = NumpyRecording([counts], RATE_HZ)
    raw.set_dummy_probe_from_locations(np.array([[0.0, 0], [30, 0], [0, 30], [30, 30]]))
    raw.set_channel_gains(0.2)
    raw.set_channel_offsets(0.0)
    loaded = run.backend.load_recording(raw)
    _require(isinstance(loaded, BaseRecording), "load_recording must return a BaseRecording")
    _require(loaded.get_num_segments() == 1, "load_recording must return one segment")
    _require(loaded.get_num_samples() == len(counts), "load_recording must keep all samples")


def check_sorting(run: BackendRun) -> None:
    """Check that every unit has spikes, in order, inside the recording."""
    sorting = run.sorting
    _require(isinstance(sorting, BaseSorting), "sort must return a BaseSorting")
    _require(sorting.get_num_segments() == 1, "sort must return one segment")
    _require(len(sorting.unit_ids) > 0, "sort found no unit: raise InsufficientActivityError, or mend the settings")
    rates = sorting.get_sampling_frequency(), run.recording.get_sampling_frequency()
    _require(rates[0] == rates[1], f"sort: the sampling frequency is {rates[0]}, that of the recording {rates[1]}")
    for unit in sorting.unit_ids:
        train = sorting.get_unit_spike_train(unit)
        _require(len(train) > 0, f"sort: unit {unit} has no spike")
        _require(bool((np.diff(train) >= 0).all()), f"sort: the spikes of unit {unit} are not in order")
        inside = train[0] >= 0 and train[-1] < run.recording.get_num_samples()
        _require(bool(inside), f"sort: unit {unit} has spikes outside the recording")


def check_extractor(run: BackendRun) -> None:
    """Check the attributes of the waveform extractor."""
    extractor, n_channels = run.extractor, run.recording.get_num_channels()
    what = "extract_waveforms: the extractor's"
    _require(set(extractor.sorting.unit_ids) == set(run.sorting.unit_ids), f"{what} units are not those of the sorting")
    _require(extractor.recording.get_num_channels() == n_channels, f"{what} recording has other channels")
    rate = extractor.sampling_frequency
    _require(isinstance(rate, float) and rate == RATE_HZ, f"{what} sampling_frequency must be {RATE_HZ}, got {rate!r}")
    _require(isinstance(extractor.peak_ind, int), f"{what} peak_ind must be an int")
    _require(Path(extractor.root_folder) == run.folder / "waveforms", f"{what} root_folder must be waveforms_folder")
    _require(extractor.ms_to_samples(1.5) == 30, f"{what} ms_to_samples(1.5) must be 30 at 20 kHz")
    for unit in extractor.sorting.unit_ids:
        _require(0 <= extractor.chans_max_all[unit] < n_channels, f"{what} chans_max_all has no channel of unit {unit}")
        _require(extractor.use_pos_peak[unit] in (True, False), f"{what} use_pos_peak must be a bool for unit {unit}")


def check_templates(run: BackendRun) -> None:
    """Check shape and values of the templates, and that the largest channel is that of the average."""
    extractor = run.extractor
    for unit in extractor.sorting.unit_ids:
        what = f"get_computed_template of unit {unit}:"
        average = extractor.get_computed_template(unit, "average")
        _require(average.ndim == 2, f"{what} expected two dimensions (samples, channels)")
        _require(average.shape[1] == run.recording.get_num_channels(), f"{what} the channels are the second dimension")
        _require(extractor.peak_ind < average.shape[0], f"{what} peak_ind lies behind its end")
        for mode in ("median", "std"):
            other = extractor.get_computed_template(unit, mode)
            _require(other.shape == average.shape, f"{what} {mode} has another shape than average")
            _require(bool(np.isfinite(other).all()), f"{what} {mode} is not finite")
        _require(bool((extractor.get_computed_template(unit, "std") >= 0).all()), f"{what} std is negative")
        largest = int(np.abs(average).max(axis=0).argmax())
        _require(largest == extractor.chans_max_all[unit], f"{what} its largest channel is not chans_max_all")


def check_curation_files(run: BackendRun) -> None:
    """Check the initial units that ``extract_waveforms`` leaves in its curation folder."""
    units = set(run.extractor.sorting.unit_ids)
    names = ("unit_ids", "spike_times", "spike_clusters")
    ids, times, clusters = (np.load(run.folder / "curation" / f"{name}.npy") for name in names)
    _require(set(ids) == units, "unit_ids.npy has other units than the sorting")
    _require(len(times) == len(clusters), "spike_times.npy and spike_clusters.npy must have the same length")
    _require(set(clusters) == units, "spike_clusters.npy has other units than unit_ids.npy")


def check_pipeline_reads_extractor(run: BackendRun) -> None:
    """Check that the pipeline can take templates and metrics from the waveform extractor."""
    waveforms = waveforms_from_extractor(run.extractor)
    units = sorted(run.extractor.sorting.unit_ids)
    _require(waveforms.unit_ids.tolist() == units, "the pipeline reads other units than the extractor has")
    _require(waveforms.templates.shape[0] == waveforms.n_units, "the pipeline reads another number of templates")
    _require(waveforms.n_before == run.extractor.peak_ind, "the pipeline reads another peak_ind")


def check_seed(run: BackendRun) -> None:
    """Check that an equal seed gives equal templates, and that a generator is taken as well."""
    again = run.extract(run.folder / "again" / "waveforms", run.folder / "again" / "curation", SEED)
    rng = np.random.default_rng(SEED)
    drawn = run.extract(run.folder / "drawn" / "waveforms", run.folder / "drawn" / "curation", rng)
    for unit in run.extractor.sorting.unit_ids:
        first, second = (extractor.get_computed_template(unit) for extractor in (run.extractor, again))
        _require(np.array_equal(first, second), f"extract_waveforms: equal seeds give other templates of unit {unit}")
        same = drawn.get_computed_template(unit, "average").shape == second.shape
        _require(same, f"extract_waveforms: with a generator the template of unit {unit} has another shape")


def check_unknown_failure(run: BackendRun) -> None:
    """Check that an error that nobody knows is given no class."""
    found = run.backend.classify(run.folder, RuntimeError("something else"))
    _require(found is None, f"classify must return None for an error that it does not know, got {found!r}")


def check_recording_is_unchanged(run: BackendRun) -> None:
    """Check that the binary file of the recording is as before the sort."""
    check_sorting(run)
    expected = synthetic_recording(run.folder / "expected.dat").path.read_bytes()
    _require(run.binary.path.read_bytes() == expected, "sort changed the binary file of the recording")


CHECKS: tuple[Callable[[BackendRun], None], ...] = (
    check_class,
    check_load_recording,
    check_sorting,
    check_extractor,
    check_templates,
    check_curation_files,
    check_pipeline_reads_extractor,
    check_seed,
    check_unknown_failure,
    check_recording_is_unchanged,
)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
