"""What every backend promises, asserted for all that can run here, a third-party one among them."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from spikeinterface.core import BaseRecording, BaseSorting, NumpyRecording, NumpySorting

from spikelab.spike_sorting.backends import get_backend_class, registry
from spikelab.spike_sorting.backends.base import GPU_OPTIONAL, GPU_UNUSED, SorterBackend
from spikelab.spike_sorting.waveforms import waveforms_from_extractor

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import BinaryRecording

SORTERS = [
    "threshold",
    "third_party",
    "rt_sort",
    "spikeinterface:simple",
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
        return get_backend_class(sorter)(make_config(sorter))


@pytest.fixture(scope="module")
def recording(small_recording: BinaryRecording) -> BaseRecording:
    return small_recording.to_spikeinterface()


@pytest.fixture(scope="module")
def folder(sorter: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def sorting(backend: SorterBackend, recording: BaseRecording, folder: Path) -> BaseSorting:
    output = folder / "sorting"
    output.mkdir()
    return backend.sort(recording, "some.h5", folder / "traces.dat", output)


@pytest.fixture(scope="module")
def extractor(backend: SorterBackend, recording: BaseRecording, sorting: BaseSorting, folder: Path) -> Any:
    return backend.extract_waveforms(recording, sorting, folder / "waveforms", folder / "curation", rng=3)


def test_class(backend: SorterBackend, sorter: str, make_config) -> None:
    config = make_config(sorter)
    other = type(backend)(config)
    assert isinstance(other, SorterBackend)
    assert other.config is config
    assert sorter.endswith(backend.sorter_label)
    assert backend.sorter_label
    assert (backend.batch_parameter is None) == (backend.batch_default is None)
    assert backend.needs_gpu(config) is False
    assert other.gpu_use() in (GPU_UNUSED, GPU_OPTIONAL)
    assert isinstance(other.device(), str | None)
    assert 0 <= other.scratch_bytes(1000, 4) <= 8 * 1000 * 4


def test_load_recording(backend: SorterBackend) -> None:
    rng = np.random.default_rng(0)
    raw = NumpyRecording([rng.integers(-1000, 1000, (200_000, 4)).astype(np.int16)], 20_000.0)
    raw.set_dummy_probe_from_locations(np.array([[0.0, 0], [30, 0], [0, 30], [30, 30]]))
    raw.set_channel_gains(0.2)
    raw.set_channel_offsets(0.0)
    loaded = backend.load_recording(raw)
    assert isinstance(loaded, BaseRecording)
    assert loaded.get_num_segments() == 1
    assert loaded.get_num_samples() == 200_000


def test_sort(sorting: BaseSorting, recording: BaseRecording) -> None:
    assert isinstance(sorting, BaseSorting)
    assert sorting.get_num_segments() == 1
    assert len(sorting.unit_ids) > 0
    assert sorting.get_sampling_frequency() == recording.get_sampling_frequency()
    for unit in sorting.unit_ids:
        train = sorting.get_unit_spike_train(unit)
        assert len(train) > 0
        assert (np.diff(train) >= 0).all()
        assert train[0] >= 0
        assert train[-1] < recording.get_num_samples()


def test_extractor_attributes(extractor: Any, sorting: BaseSorting, recording: BaseRecording, folder: Path) -> None:
    assert set(extractor.sorting.unit_ids) == set(sorting.unit_ids)
    assert extractor.recording.get_num_channels() == recording.get_num_channels()
    assert extractor.sampling_frequency == 20_000.0
    assert isinstance(extractor.sampling_frequency, float)
    assert isinstance(extractor.peak_ind, int)
    assert Path(extractor.root_folder) == folder / "waveforms"
    assert extractor.ms_to_samples(1.5) == 30
    for unit in extractor.sorting.unit_ids:
        assert 0 <= extractor.chans_max_all[unit] < recording.get_num_channels()
        assert extractor.use_pos_peak[unit] in (True, False)


def test_extractor_templates(extractor: Any, recording: BaseRecording) -> None:
    for unit in extractor.sorting.unit_ids:
        average = extractor.get_computed_template(unit, "average")
        assert average.ndim == 2
        assert average.shape[1] == recording.get_num_channels()
        assert extractor.peak_ind < average.shape[0]
        for mode in ("median", "std"):
            other = extractor.get_computed_template(unit, mode)
            assert other.shape == average.shape
            assert np.isfinite(other).all()
        assert (extractor.get_computed_template(unit, "std") >= 0).all()
        strongest = int(np.abs(average).max(axis=0).argmax())
        assert strongest == extractor.chans_max_all[unit]


def test_initial_units_are_kept_for_curation(extractor: Any, folder: Path) -> None:
    ids = np.load(folder / "curation" / "unit_ids.npy")
    times = np.load(folder / "curation" / "spike_times.npy")
    clusters = np.load(folder / "curation" / "spike_clusters.npy")
    assert set(ids) == set(extractor.sorting.unit_ids)
    assert len(times) == len(clusters)
    assert set(clusters) == set(ids)


def test_pipeline_can_use_the_extractor(extractor: Any) -> None:
    waveforms = waveforms_from_extractor(extractor)
    assert waveforms.unit_ids.tolist() == sorted(extractor.sorting.unit_ids)
    assert waveforms.templates.shape[0] == waveforms.n_units
    assert waveforms.n_before == extractor.peak_ind


def test_seed_decides_and_a_generator_will_do(
    backend: SorterBackend, recording: BaseRecording, sorting: BaseSorting, extractor: Any, tmp_path: Path
) -> None:
    again = backend.extract_waveforms(recording, sorting, tmp_path / "a", tmp_path / "b", "some.h5", 3)
    drawn = backend.extract_waveforms(recording, sorting, tmp_path / "c", tmp_path / "d", rng=np.random.default_rng(3))
    for unit in extractor.sorting.unit_ids:
        np.testing.assert_array_equal(again.get_computed_template(unit), extractor.get_computed_template(unit))
        assert drawn.get_computed_template(unit, "average").shape == again.get_computed_template(unit).shape


def test_unknown_failure_stays_unknown(backend: SorterBackend, tmp_path: Path) -> None:
    assert backend.classify(tmp_path, RuntimeError("something else")) is None


def test_recording_is_left_as_it_is(
    small_recording: BinaryRecording, sorting: BaseSorting, extractor: Any, folder: Path
) -> None:
    assert small_recording.path.stat().st_size == small_recording.n_samples * small_recording.n_channels * 2
    assert not (folder / "traces.dat").exists()  # a binary of ours is read where it is
