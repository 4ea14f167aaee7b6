"""What :mod:`benchmarks.rt_sort` runs in processes of their own. See :mod:`benchmarks.measuring`."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rt_sort_recordings import load_recording
from spikelab.spike_sorting.backends import registry
from spikelab.spike_sorting.backends.base import StandardBackend
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording, BaseSorting

TASKS = __name__
OURS = "rt_sort"
GIVEN = "given"
SEED = 0
SEEDED = ("lupin", "tridesclous2")  # the others have a seed by default, or need none


def sort(sorter: str, recording: str, warm_up: str, probe: str, result: str) -> Callable[[], Any]:
    """Sort from the unfiltered file, filter included; the spikes go to the file `result`."""

    def work(folder: str = recording) -> None:
        with tempfile.TemporaryDirectory(dir=Path(result).parent) as scratch:
            traces = load_recording(Path(folder))
            if sorter == OURS:
                found = _rt_sort(traces, probe, Path(scratch))
            else:
                found = _spikeinterface(sorter, traces, Path(scratch))
            SpikeTrains.from_spikeinterface(found.remove_empty_units()).save(Path(result))

    work(warm_up)
    return work


def _rt_sort(recording: BaseRecording, probe: str, scratch: Path) -> BaseSorting:
    """Filter as the pipeline does, find the sequences with the preset of the probe, sort with them."""
    from spikelab.spike_sorting.config import RT_SORT_MEA, RT_SORT_NEUROPIXELS
    from spikelab.spike_sorting.rt_sort import detect_sequences

    preset = RT_SORT_NEUROPIXELS if probe == "neuropixels" else RT_SORT_MEA
    binary = _filtered(recording, scratch)
    rt_sort = detect_sequences(binary, probe=probe, num_processes=1, **(preset.rt_sort.params or {}))
    return rt_sort.sort_offline(binary, n_jobs=1)


def _filtered(recording: BaseRecording, scratch: Path) -> BinaryRecording:
    from spikelab.spike_sorting.config import RecordingConfig
    from spikelab.spike_sorting.recording import open_recording, write_binary

    filtered = open_recording(recording, RecordingConfig())
    binary, _ = write_binary(filtered, scratch / "traces.dat", n_jobs=1, total_memory="4G", seed=SEED)
    return binary


def filtered(recordings: list[str], folder: str) -> Callable[[], Any]:
    """Filter as the pipeline does; ``traces.dat`` in `folder` holds the recordings one after the other."""
    from spikeinterface.core import concatenate_recordings

    def work() -> None:
        target = Path(folder)
        target.mkdir(exist_ok=True)
        binary = _filtered(concatenate_recordings([load_recording(Path(path)) for path in recordings]), target)
        (target / "binary.json").write_text(json.dumps(binary.to_dict()), encoding="utf-8")

    return work


def sort_binary(folder: str, warm_up: str, probe: str, n_jobs: int) -> Callable[[], Any]:
    """Find sequences in the binary of :func:`filtered` and sort it; counts go to ``found.npz``."""
    from spikelab.spike_sorting.rt_sort import detect_sequences

    def work(where: Path = Path(folder)) -> None:
        about = json.loads((where / "binary.json").read_text(encoding="utf-8"))
        binary, before = BinaryRecording.from_dict(where / "traces.dat", about), _written()
        rt_sort = detect_sequences(binary, probe=probe, num_processes=n_jobs)
        counts = rt_sort.sort_offline(binary, n_jobs=n_jobs).count_num_spikes_per_unit()
        written = _written() - before
        np.savez(where / "found.npz", units=len(counts), spikes=sum(counts.values()), written=written)

    work(Path(warm_up))
    return work


def _written() -> int:
    """Bytes that this process has given to the system to be written."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


def _spikeinterface(sorter: str, recording: BaseRecording, scratch: Path) -> BaseSorting:
    from spikeinterface.core import set_global_job_kwargs
    from spikeinterface.sorters import run_sorter

    set_global_job_kwargs(n_jobs=1, progress_bar=False)
    seed = {"seed": SEED} if sorter in SEEDED else {}
    return run_sorter(sorter, recording, folder=scratch / "run", verbose=False, **seed)


class GivenBackend(StandardBackend):
    """Returns spikes from a file: the pipeline's waveforms and curation for what any sorter has found."""

    sorter_label = GIVEN

    def sort(
        self,
        recording: BaseRecording,
        rec_path: Any,  # noqa: ARG002 - part of the interface
        recording_dat_path: Path,  # noqa: ARG002
        output_folder: Path,  # noqa: ARG002
    ) -> BaseSorting:
        """Load them."""
        assert self.config.sorter.sorter_params is not None
        trains = SpikeTrains.load(Path(self.config.sorter.sorter_params["spikes"]))
        return trains.to_spikeinterface(recording.get_sampling_frequency())


def curate(recording: str, spikes: str, result: str, by_evidence: bool = False) -> Callable[[], Any]:
    """Waveforms and curation for `spikes`, the default or that by evidence; what is left goes to the file `result`."""
    from spikelab.spike_sorting import config, sort_recording

    registry.BUILT_IN[GIVEN] = f"{__name__}:{GivenBackend.__name__}"

    def work() -> None:
        if SpikeTrains.load(Path(spikes)).n_units == 0:  # the pipeline refuses
            shutil.copy(spikes, result)
            return
        with tempfile.TemporaryDirectory(dir=Path(result).parent) as scratch:
            (kept,) = sort_recording(
                [Path(recording) / "recording"],
                sorter=GIVEN,
                intermediate_folders=[Path(scratch) / "intermediate"],
                results_folders=[Path(scratch) / "results"],
                sorter_params={"spikes": spikes},
                save_waveform_files=False,
                n_jobs=1,
                **(config.CURATE_BY_EVIDENCE if by_evidence else {}),
            )
        units = kept.neuron_attributes or []
        trains = {int(unit["unit_id"]): unit["spike_train_samples"] for unit in units}
        found = SpikeTrains.load(Path(spikes))
        before = dict(zip(found.unit_ids.tolist(), found.samples, strict=True))
        moved = {unit: on_clock_of(before.get(unit, train), train) for unit, train in trains.items()}
        SpikeTrains.from_dict(moved).save(Path(result))

    return work


def on_clock_of(before: NDArray[np.int64], train: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move a train by the median of its lags behind the nearest spikes of the same unit before.

    The pipeline centres spikes on the peak of their main channel, and a positive one may be further from the trough
    than a comparison bears. That is no loss.
    """
    if not len(train) or not len(before):
        return train
    before = np.sort(before)
    after = np.searchsorted(before, train).clip(1, len(before) - 1)
    lags = np.stack([train - before[after], train - before[after - 1]])
    nearest = np.take_along_axis(lags, np.abs(lags).argmin(axis=0)[None], axis=0)[0]
    return train - round(float(np.median(nearest)))


def stream(recording: str, probe: str, learn_s: float, step_ms: float, n_jobs: list[int], result: str) -> Any:
    """Find sequences in the first seconds, push the rest step by step; what each step took goes to `result`.

    Wall and CPU seconds (of all threads) per step, for each number of threads: of filtered frames, of counts as they
    are in the file, and of the filter alone.
    """
    from spikelab.spike_sorting.filters.stream import FilterStream
    from spikelab.spike_sorting.rt_sort import StreamBandPass, detect_sequences

    raw = load_recording(Path(recording))
    first = round(learn_s * raw.get_sampling_frequency())
    with tempfile.TemporaryDirectory(dir=Path(result).parent) as scratch:
        binary = _filtered(raw, Path(scratch))
        traces = binary.read_uv(first, binary.n_samples)
        rt_sort = detect_sequences(binary, probe=probe, num_processes=1, detection_window_s=learn_s)
    counts = raw.get_traces(start_frame=first)
    band_pass = StreamBandPass(gain_to_uv=float(raw.get_channel_gains()[0]))
    step = round(step_ms * binary.sampling_frequency / 1e3)
    starts = np.arange(0, len(traces) - step + 1, step)

    def run(push: Callable[[Any], Any], frames: Any) -> tuple[Any, Any]:
        took, found = np.empty((len(starts), 2)), np.empty(len(starts), int)
        for index, start in enumerate(starts):
            new = np.ascontiguousarray(frames[start : start + step])
            wall, cpu = time.perf_counter(), time.process_time()
            found[index] = len(push(new))
            took[index] = time.perf_counter() - wall, time.process_time() - cpu
        return took, found

    def work() -> None:
        only_filter = FilterStream(band_pass, binary.sampling_frequency, binary.n_channels)
        kept = {"filter_1": run(only_filter.push, counts)[0]}
        for n in n_jobs:
            kept[f"filtered_{n}"], spikes = run(rt_sort.stream(n).push, traces)
            kept[f"raw_{n}"], _ = run(rt_sort.stream(n, band_pass=band_pass).push, counts)
        latency = rt_sort.stream().latency_ms, rt_sort.stream(band_pass=band_pass).latency_ms
        np.savez(result, spikes=spikes, sequences=rt_sort.n_sequences, latency_ms=latency, **kept)

    return work


def stream_accuracy(recording: str, probe: str, look_ahead_ms: list[float], folder: str) -> Callable[[], Any]:
    """Spikes of the same sequences offline and from a stream of the counts in the file, in files of `folder`.

    ``offline``, ``ahead_<ms>`` with the filter of the stream, and ``forwards``: filtered forwards only.
    """
    from scipy.signal import butter, sosfilt

    from spikelab.spike_sorting.config import RT_SORT_MEA, RT_SORT_NEUROPIXELS
    from spikelab.spike_sorting.rt_sort import StreamBandPass, detect_sequences

    def work() -> None:
        raw = load_recording(Path(recording))
        preset = RT_SORT_NEUROPIXELS if probe == "neuropixels" else RT_SORT_MEA
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            binary = _filtered(raw, Path(scratch))
            rt_sort = detect_sequences(binary, probe=probe, num_processes=1, **(preset.rt_sort.params or {}))
            offline = rt_sort.sort_offline(binary)
        SpikeTrains.from_spikeinterface(offline.remove_empty_units()).save(Path(folder) / "offline.npz")
        counts, gain = raw.get_traces(), float(raw.get_channel_gains()[0])
        for ms in look_ahead_ms:
            running = rt_sort.stream(band_pass=StreamBandPass(gain_to_uv=gain, look_ahead_ms=ms))
            _streamed(running, counts).save(Path(folder) / f"ahead_{ms:g}.npz")
        sos = butter(5, (300, 6000), "bandpass", fs=binary.sampling_frequency, output="sos")
        forwards = sosfilt(sos, counts.astype(np.float64) * gain, axis=0).astype(np.float32)
        _streamed(rt_sort.stream(), forwards).save(Path(folder) / "forwards.npz")
        np.savez(Path(folder) / "latency.npz", ms=rt_sort.stream().latency_ms)

    return work


def _streamed(running: Any, frames: Any, step: int = 10_000) -> SpikeTrains:
    parts = [running.push(frames[start : start + step]) for start in range(0, len(frames), step)]
    spikes = np.concatenate([*parts, running.finish()])
    spikes = spikes[np.argsort(spikes["frame"], kind="stable")]
    units = np.unique(spikes["template"])
    return SpikeTrains.from_dict({int(unit): spikes["frame"][spikes["template"] == unit] for unit in units})
