"""What is measured. Each function warms up on a small recording and returns the work, to be called and timed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measuring import Work
from benchmarks.recordings import FS, GAIN_UV, SORTER, register
from spikelab.spike_sorting.config import RecordingConfig, WaveformConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spikelab.spikedata import SpikeData

FILTER = RecordingConfig()
FILTER_ORDER = 5
FILTER_CHUNK_FRAMES = 20_000
ARITHMETIC = 500_000_000


def pipeline(recording: str, warm_up: str, folder: str, n_jobs: int = 1, waveform_files: bool = False) -> Work:
    """``sort_recording`` from the file to the compiled results, from scratch each time."""
    settings = {"n_jobs": n_jobs, "save_waveform_files": waveform_files}
    with tempfile.TemporaryDirectory() as scratch:
        _sort(warm_up, Path(scratch), **settings)
    return Work(
        run=lambda: _sort(recording, Path(folder), **settings),
        before=lambda: shutil.rmtree(folder, ignore_errors=True),
    )


def post_sort(recording: str, warm_up: str, folder: str, n_jobs: int = 1) -> Callable[[], Any]:
    """Call ``sort_recording`` where :func:`pipeline` has been: waveforms, metrics, curation, compilation again."""
    with tempfile.TemporaryDirectory() as scratch:
        _sort(warm_up, Path(scratch), n_jobs=n_jobs)
    return lambda: _sort(recording, Path(folder), n_jobs=n_jobs, reextract_waveforms=True)


def _sort(recording: str, folder: Path, **settings: Any) -> list[SpikeData]:
    from spikelab.spike_sorting.pipeline import sort_recording

    register()
    return sort_recording(
        [recording],
        sorter=SORTER,
        intermediate_folders=[folder / "intermediate"],
        results_folders=[folder / "results"],
        **{"save_waveform_files": False, "delete_inter": False, **settings},
    )


def analyzer(recording: str, warm_up: str, folder: str = "") -> Callable[[], Any]:
    """SpikeInterface's own for the same: sparse, in memory; on `folder`'s filtered binary, else filtered lazily."""
    _analyze(warm_up, None)
    return lambda: _analyze(recording, Path(folder) if folder else None)


def _analyze(recording: str, folder: Path | None) -> Any:
    from spikeinterface import load
    from spikeinterface.core import create_sorting_analyzer
    from spikeinterface.preprocessing import bandpass_filter

    from benchmarks.recordings import SPIKES_FILE
    from spikelab.spike_sorting.data import SpikeTrains

    if folder is None:
        band = {"freq_min": FILTER.freq_min, "freq_max": FILTER.freq_max}
        traces = bandpass_filter(load(recording), **band, dtype="float32")
    else:
        traces = filtered_binary(folder).to_spikeinterface()
    sorting = SpikeTrains.load(Path(recording) / SPIKES_FILE).to_spikeinterface(FS)
    one_job = {"n_jobs": 1, "progress_bar": False, "chunk_duration": "1s"}
    result = create_sorting_analyzer(sorting, traces, format="memory", sparse=True, **one_job)
    window = WaveformConfig()
    extensions = {
        "random_spikes": {"max_spikes_per_unit": window.max_waveforms_per_unit, "seed": 1},
        "waveforms": {"ms_before": window.ms_before, "ms_after": window.ms_after},
        "templates": {"operators": ["average", "std"]},
        "noise_levels": {},
        "quality_metrics": {"metric_names": ["snr", "isi_violation", "firing_rate"]},
    }
    result.compute(extensions, **one_job)
    return result


def filtered_binary(folder: Path) -> Any:
    """Return the binary that :func:`pipeline` left in `folder`."""
    import json

    from spikelab.spike_sorting.data import BinaryRecording

    description = (folder / "results" / "stages" / "recording" / "recording.json").read_text(encoding="utf-8")
    return BinaryRecording.from_dict(folder / "intermediate" / "recording" / "traces.dat", json.loads(description))


def sosfiltfilt(recording: str, warm_up: str, dtype: str = "float64") -> Callable[[], Any]:
    """One scipy ``sosfiltfilt`` pass: read, scale to float32, filter, chunk by chunk with margins; nothing is written.

    `dtype` is that of the coefficients, and so of the filter's arithmetic; the traces are float32 either way. Channels
    are made contiguous first, with which scipy is fastest.
    """
    from scipy.signal import butter
    from scipy.signal import sosfiltfilt as scipy_filter

    band = [FILTER.freq_min, FILTER.freq_max]
    sos = butter(FILTER_ORDER, band, "bandpass", fs=FS, output="sos").astype(dtype)
    margin = int(5 * FS / FILTER.freq_min)

    def work(of: str = recording) -> None:
        counts = _counts(of)
        for start in range(0, len(counts), FILTER_CHUNK_FRAMES):
            first = max(0, start - margin)
            piece = counts[first : start + FILTER_CHUNK_FRAMES + margin].T
            traces = np.multiply(piece, np.float32(GAIN_UV), dtype=np.float32, order="C")
            filtered = scipy_filter(sos, traces, axis=1)
            filtered[:, start - first :][:, :FILTER_CHUNK_FRAMES].astype(np.float32, copy=False)

    work(warm_up)
    return work


def band_pass(recording: str, warm_up: str, whose: str) -> Callable[[], Any]:
    """Read, scale and band-pass every chunk, by the filter of "spikelab" or of "spikeinterface"."""
    from spikeinterface import load
    from spikeinterface.preprocessing import bandpass_filter

    from spikelab.spike_sorting.filters.bandpass import BandPassRecording

    def work(of: str = recording) -> None:
        counts, band = load(of), (FILTER.freq_min, FILTER.freq_max)
        if whose == "spikelab":
            filtered = BandPassRecording(counts, *band, gain_to_uv=np.full(counts.get_num_channels(), GAIN_UV))
        else:
            filtered = bandpass_filter(counts, *band, dtype="float32")
        n_frames = counts.get_num_samples()
        for start in range(0, n_frames, FILTER_CHUNK_FRAMES):
            filtered.get_traces(0, start, min(start + FILTER_CHUNK_FRAMES, n_frames))

    work(warm_up)
    return work


def arithmetic(n_jobs: int) -> Callable[[], Any]:
    """Add and multiply in registers, the same amount for any number of threads: what a second core is worth just now.

    Nothing is shared but the machine. Where its cores are others' too, two threads do not take half the time of one.
    """
    from concurrent.futures import ThreadPoolExecutor

    from numba import njit

    @njit(nogil=True)  # type: ignore[untyped-decorator]
    def spin(n: int) -> float:
        value = 1.0
        for _ in range(n):
            value = value * 0.999 + 0.1
        return value

    spin(1)

    def work() -> None:
        with ThreadPoolExecutor(n_jobs) as threads:
            list(threads.map(spin, [ARITHMETIC // n_jobs] * n_jobs))

    return work


def memmap_pass(recording: str, warm_up: str) -> Callable[[], Any]:
    """Look at every count once: the least that anything can cost."""

    def work(of: str = recording) -> int:
        counts = _counts(of).reshape(-1)
        return sum(int(counts[start : start + 2**22].max()) for start in range(0, len(counts), 2**22))

    work(warm_up)
    return work


def _counts(recording: str) -> NDArray[np.int16]:
    from spikeinterface import load

    source = load(recording)
    (path,) = Path(recording).glob("*.raw")
    return np.memmap(path, dtype=np.int16, mode="r", shape=(source.get_num_samples(), source.get_num_channels()))


def spike_data(operation: str, units: int, spikes: int) -> Callable[[], Any]:
    """One operation on a ``SpikeData`` of many spikes."""
    operations: dict[str, Callable[[SpikeData], Any]] = {
        "ISI violations": lambda sd: sd.curate_by_isi_violations(),
        "curation, all criteria": lambda sd: sd.curate(10, 0.05, 0.5, min_snr=1.0, max_std_norm=1.0),
        "merge search and merge": lambda sd: sd.curate_by_merge_duplicates(),
        "subset of half the units": lambda sd: sd.subset(range(0, sd.N, 2)),
        "first half of the time": lambda sd: sd.subtime(0, sd.length / 2),
        "binned, 40 ms": lambda sd: sd.binned(),
        "raster, 100 ms": lambda sd: sd.raster(100.0),
        "intervals": lambda sd: sd.interspike_intervals(),
        "save and load npz": _round_trip,
    }
    chosen = operations[operation]
    chosen(_many_spikes(10, 1000))
    data = _many_spikes(units, spikes)
    return lambda: chosen(data)


def _round_trip(sd: SpikeData) -> None:
    from spikelab.spikedata import SpikeData

    with tempfile.TemporaryDirectory() as folder:
        sd.save(Path(folder) / "data.npz")
        SpikeData.load(Path(folder) / "data.npz")


def _many_spikes(units: int, spikes: int) -> SpikeData:
    """One hour of Poisson spikes; units come in pairs that are close and alike, so that merging has work."""
    from spikelab.spikedata import SpikeData

    rng = np.random.default_rng(0)
    length_ms, columns, n_channels = 3_600_000.0, 32, 20
    shapes = rng.normal(size=(units // 2 + 1, 60, n_channels)).astype(np.float32)
    attributes = [
        {
            "unit_id": unit,
            "snr": 10.0,
            "std_norm": 0.3,
            "x": 60.0 * (unit // 2 % columns) + 15.0 * (unit % 2),
            "y": 60.0 * (unit // 2 // columns),
            "template": shapes[unit // 2],
        }
        for unit in range(units)
    ]
    trains = [np.sort(rng.uniform(0, length_ms, spikes // units)) for _ in range(units)]
    return SpikeData(trains, length=length_ms, neuron_attributes=attributes)
