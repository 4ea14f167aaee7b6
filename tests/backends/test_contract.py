"""What every backend promises, asserted for all that can run here, a third-party one among them."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from spikeinterface.core import BaseRecording, BaseSorting, NumpySorting

from spikelab.spike_sorting.backends import get_backend_class, refresh_sorters, registry
from spikelab.spike_sorting.backends.base import GPU_OPTIONAL, GPU_UNUSED, SorterBackend
from spikelab.testing.backend_contract import CHECKS, BackendRun, check_backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikelab.spike_sorting.data import BinaryRecording

SORTERS = [
    "threshold",
    "third_party",
    "rt_sort",
    pytest.param("spikeinterface:simple", marks=pytest.mark.slow),
    pytest.param("spikeinterface:tridesclous2", marks=pytest.mark.slow),
]


class ThirdPartyExtractor:
    """The least that the specification asks of a waveform extractor."""

    def __init__(self, recording: BaseRecording, sorting: BaseSorting, root_folder: Path) -> None:
        self.recording, self.sorting, self.root_folder = recording, sorting, root_folder
        self.sampling_frequency = recording.get_sampling_frequency()
        self.peak_ind = self.ms_to_samples(1.0)
        self._windows = {unit: self._cut(unit) for unit in sorting.unit_ids}
        means = {unit: windows.mean(axis=0) for unit, windows in self._windows.items()}
        self.chans_max_all = {unit: int(np.abs(mean).max(axis=0).argmax()) for unit, mean in means.items()}
        self.use_pos_peak = dict.fromkeys(means, False)

    def _cut(self, unit: Any) -> np.ndarray:
        traces = self.recording.get_traces(return_in_uV=True)
        spikes = self.sorting.get_unit_spike_train(unit)
        return np.stack([traces[s - self.peak_ind : s + self.peak_ind + 1] for s in spikes])

    def get_computed_template(self, unit_id: Any, mode: str = "average") -> np.ndarray:
        reduce = {"average": np.mean, "median": np.median, "std": np.std}[mode]
        return reduce(self._windows[unit_id], axis=0)

    def ms_to_samples(self, ms: float) -> int:
        return int(ms * self.sampling_frequency / 1000)


class ThirdPartyBackend(SorterBackend):
    """A sorter of another package: no class of ours but the interface."""

    sorter_label = "third_party"

    def load_recording(self, rec_path: Any) -> BaseRecording:
        return rec_path

    def sort(
        self, recording: BaseRecording, rec_path: Any, recording_dat_path: Path, output_folder: Path
    ) -> BaseSorting:
        times = {7: np.arange(1_000, 200_000, 5_000), 9: np.arange(3_000, 200_000, 7_000)}
        return NumpySorting.from_unit_dict(times, recording.get_sampling_frequency())

    def extract_waveforms(
        self,
        recording: BaseRecording,
        sorting: BaseSorting,
        waveforms_folder: Path,
        curation_folder: Path,
        rec_path: Any = None,
        rng: Any = None,
    ) -> ThirdPartyExtractor:
        curation_folder.mkdir(parents=True, exist_ok=True)
        spikes = sorting.to_spike_vector()
        np.save(curation_folder / "unit_ids.npy", sorting.unit_ids)
        np.save(curation_folder / "spike_times.npy", spikes["sample_index"])
        np.save(curation_folder / "spike_clusters.npy", sorting.unit_ids[spikes["unit_index"]])
        return ThirdPartyExtractor(recording, sorting, waveforms_folder)


@pytest.fixture(scope="module", params=SORTERS)
def sorter(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def backend(sorter: str, make_config) -> SorterBackend:
    with pytest.MonkeyPatch.context() as patch:
        if sorter == "third_party":
            point = EntryPoint("third_party", f"{__name__}:ThirdPartyBackend", registry.ENTRY_POINT_GROUP)
            patch.setattr(EntryPoint, "load", lambda self: ThirdPartyBackend)
            patch.setattr(registry, "entry_points", lambda group: [point])
        refresh_sorters()
        made = get_backend_class(sorter)(make_config(sorter))
    refresh_sorters()
    return made


@pytest.fixture(scope="module")
def run(
    backend: SorterBackend, small_recording: BinaryRecording, tmp_path_factory: pytest.TempPathFactory
) -> BackendRun:
    return BackendRun(backend, small_recording, tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_contract(run: BackendRun, check: Callable[[BackendRun], None]) -> None:
    check(run)


def test_class(backend: SorterBackend, sorter: str, make_config) -> None:
    assert sorter.endswith(backend.sorter_label)
    assert backend.needs_gpu(make_config(sorter)) is False
    assert backend.gpu_use() in (GPU_UNUSED, GPU_OPTIONAL)
    assert 0 <= backend.scratch_bytes(1000, 4) <= 8 * 1000 * 4


def test_no_copy_of_a_binary_is_written(run: BackendRun) -> None:
    assert run.extractor is not None
    assert not (run.folder / "traces.dat").exists()  # a binary of ours is read where it is


class SilentBackend(ThirdPartyBackend):
    """It returns a unit without a spike."""

    def sort(self, *arguments: Any) -> BaseSorting:
        return NumpySorting.from_unit_dict({1: np.array([500]), 2: np.array([], dtype=np.int64)}, 20_000.0)


class ForgetfulBackend(ThirdPartyBackend):
    """It has no label."""

    sorter_label = ""


class OtherClockBackend(ThirdPartyBackend):
    """Its spikes are of another sampling frequency."""

    def sort(self, *arguments: Any) -> BaseSorting:
        return NumpySorting.from_unit_dict({1: np.array([500, 900])}, 30_000.0)


class LateBackend(ThirdPartyBackend):
    """It has spikes behind the end."""

    def sort(self, *arguments: Any) -> BaseSorting:
        return NumpySorting.from_unit_dict({1: np.array([500, 10**6])}, 20_000.0)


class WritingBackend(ThirdPartyBackend):
    """It changes the recording."""

    def sort(self, recording: BaseRecording, *arguments: Any) -> BaseSorting:
        with Path(recording._kwargs["file_paths"][0]).open("r+b") as file:
            file.write(b"xx")
        return super().sort(recording, *arguments)


BROKEN = {
    SilentBackend: "unit 2 has no spike",
    ForgetfulBackend: "sorter_label is empty",
    OtherClockBackend: "sampling frequency is 30000.0",
    LateBackend: "outside the recording",
    WritingBackend: "changed the binary file",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_contract_is_named(broken: type[SorterBackend], make_config, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=BROKEN[broken]):
        check_backend(broken, make_config("third_party"), tmp_path)


def test_the_whole_contract_in_one_call(make_config, tmp_path: Path) -> None:
    check_backend(ThirdPartyBackend, make_config("third_party"), tmp_path)
