"""What :mod:`benchmarks.rt_sort` runs in processes of their own. See :mod:`benchmarks.measuring`."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rt_sort_recordings import load_recording
from spikelab.spike_sorting._types import BinaryRecording, SpikeTrains
from spikelab.spike_sorting.backends import registry
from spikelab.spike_sorting.backends.base import StandardBackend

if TYPE_CHECKING:
    from collections.abc import Callable

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


def curate(recording: str, spikes: str, result: str) -> Callable[[], Any]:
    """Waveforms and both rounds of the default curation for `spikes`; what is left goes to the file `result`."""
    from spikelab.spike_sorting import sort_recording

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
            )
        units = kept.neuron_attributes or []
        trains = {int(unit["unit_id"]): unit["spike_train_samples"] for unit in units}
        SpikeTrains.from_dict(trains).save(Path(result))

    return work


def stream(recording: str, probe: str, learn_s: float, step_ms: float, n_jobs: int, result: str) -> Callable[[], Any]:
    """Find sequences in the first seconds, push the rest step by step; seconds and spikes per step go to `result`."""
    from spikelab.spike_sorting.rt_sort import detect_sequences

    with tempfile.TemporaryDirectory(dir=Path(result).parent) as scratch:
        binary = _filtered(load_recording(Path(recording)), Path(scratch))
        traces = binary.read_uv(0, binary.n_samples)
        rt_sort = detect_sequences(binary, probe=probe, num_processes=n_jobs, detection_window_s=learn_s)
    step = round(step_ms * binary.sampling_frequency / 1e3)
    starts = np.arange(round(learn_s * binary.sampling_frequency), len(traces) - step + 1, step)

    def work() -> None:
        running, seconds, spikes = rt_sort.stream(n_jobs), np.empty(len(starts)), np.empty(len(starts), int)
        for index, start in enumerate(starts):
            frames = np.ascontiguousarray(traces[start : start + step])
            before = time.perf_counter()
            spikes[index] = len(running.push(frames))
            seconds[index] = time.perf_counter() - before
        np.savez(result, seconds=seconds, spikes=spikes, sequences=rt_sort.n_sequences)

    return work
