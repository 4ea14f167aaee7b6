"""Movement of tissue along a probe: found where it is known, corrected, kept, and refused where there is none."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spikeinterface as si
from numpy.typing import NDArray
from spikeinterface.core import NumpyRecording
from spikeinterface.core.motion import Motion
from spikeinterface.preprocessing import get_motion_presets, get_spatial_interpolation_kernel

from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import BinaryRecording, Epoch, Geometry
from spikelab.spike_sorting.data.dead_time import in_dead_time
from spikelab.spike_sorting.recording import motion, open_recording, write_binary
from spikelab.spike_sorting.recording.motion import presets, registration
from spikelab.spike_sorting.recording.motion.correction import N_WEIGHTS, MotionCorrectedRecording
from spikelab.spike_sorting.recording.motion.peaks import Peaks, Source, find_peaks
from spikelab.spike_sorting.recording.motion.registration import course_of
from spikelab.spike_sorting.settings.recording_schema import MOTION_PRESETS

FS, SECONDS, SWING_UM = 10_000.0, 30.0, 25.0
PLACES = np.array([[16.0 * (row % 2), 20.0 * row] for row in range(16)])
BREAK = int(12 * FS)


def way_of(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """A slow wave, and a step at the break."""
    return SWING_UM * np.sin(2 * np.pi * times_s / 15.0) + np.where(times_s < BREAK / FS, 0.0, 12.0)


def moving_traces(places: NDArray[np.float64] = PLACES) -> NDArray[np.float32]:
    """Eight neurons that fire 12 times a second, on tissue that moves along y."""
    rng = np.random.default_rng(0)
    traces = rng.normal(0, 6, (int(SECONDS * FS), len(places))).astype(np.float32)
    shape = -np.exp(-((np.arange(-10, 20) / 3.0) ** 2)) + 0.4 * np.exp(-(((np.arange(-10, 20) - 9) / 5.0) ** 2))
    for unit in range(8):
        frames = np.sort(rng.integers(20, len(traces) - 40, int(12 * SECONDS)))
        home = np.array([8.0, 30.0 + 32.0 * unit + rng.uniform(-6, 6)])
        size = rng.uniform(90, 240)
        for frame in frames:
            here = home + np.array([0.0, way_of(np.array([frame / FS]))[0]])
            hill = size * np.exp(-(np.linalg.norm(places - here, axis=1) ** 2) / (2 * 22.0**2))
            traces[frame - 10 : frame + 20] += shape[:, None].astype(np.float32) * hill.astype(np.float32)
    return traces


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> BinaryRecording:
    path = tmp_path_factory.mktemp("moving") / "traces.dat"
    traces = moving_traces()
    np.rint(traces / 0.1).astype(np.int16).tofile(path)
    return BinaryRecording(
        path, len(traces), len(PLACES), FS, 0.1, tuple(map(str, range(len(PLACES)))), PLACES, None,
        (Epoch(0, BREAK), Epoch(BREAK, len(traces))),
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(binary: BinaryRecording) -> motion.Movement:
    (movement,) = motion.measure_binary(binary, n_jobs=1)
    return movement


def error_of(course: motion.Course) -> float:
    """Root mean square of the estimated from the true way, both from their medians, in micrometres."""
    times = np.arange(0.05, SECONDS, 0.05)
    wrong = course.at(times, np.array([150.0]))[:, 0] - way_of(times)
    return float(np.sqrt(np.mean((wrong - np.median(wrong)) ** 2)))


def test_the_course_is_found_and_how_far_the_tissue_moved(found: motion.Movement) -> None:
    assert found.course is not None
    assert error_of(found.course) < 2.5
    low, high = np.quantile(way_of(np.arange(0, SECONDS, 0.01)), [0.05, 0.95])
    assert found.summary["moved_um"] == pytest.approx(high - low, abs=4)


def test_no_bin_spans_a_break(found: motion.Movement) -> None:
    """At the break the course steps, as the tissue did: what was before is held up to the last frame."""
    assert found.course is not None
    before, after = found.course.at(np.array([(BREAK - 1) / FS, BREAK / FS]), np.array([150.0]))[:, 0]
    assert after - before == pytest.approx(12.0, abs=4)


def test_straightened_spikes_lie_on_narrower_bands(found: motion.Movement) -> None:
    seen, straight = (counts.sum(axis=1, dtype=float) for counts in (found.map.seen, found.map.straightened))
    assert found.summary["spikes"] >= seen.sum() > 2000
    assert np.square(straight).sum() > 1.2 * np.square(seen).sum()


def test_peaks_do_not_depend_on_workers_or_type(binary: BinaryRecording) -> None:
    channels = np.arange(len(PLACES))
    along = PLACES[:, ::-1].copy()
    counts = find_peaks(Source.of_binary(binary), channels, along, 1)
    threaded = find_peaks(Source.of_binary(binary), channels, along, 3)
    np.testing.assert_array_equal(counts.depths_um, threaded.depths_um)
    microvolts = find_peaks(Source(binary.n_samples, FS, 1.0, binary.read_uv), channels, along, 1)
    np.testing.assert_array_equal(counts.frames, microvolts.frames)
    np.testing.assert_allclose(counts.depths_um, microvolts.depths_um, atol=1e-3)


def test_dead_time_is_no_noise(binary: BinaryRecording, tmp_path: Path) -> None:
    counts = np.fromfile(binary.path, dtype=np.int16).reshape(-1, len(PLACES))
    dead = np.array([[20_000, 100_000], [110_000, 220_000]])
    for start, end in dead:
        counts[start:end] = 0
    counts.tofile(tmp_path / "traces.dat")
    channels = np.arange(len(PLACES))
    whole = find_peaks(Source.of_binary(binary), channels, PLACES[:, ::-1], n_jobs=1)
    part = replace(binary, path=tmp_path / "traces.dat", dead_time=dead)
    found = find_peaks(Source.of_binary(part), channels, PLACES[:, ::-1], n_jobs=1)
    n_live = np.sum(~in_dead_time(whole.frames, dead))
    assert n_live > 300
    assert len(found.frames) == pytest.approx(n_live, rel=0.02)
    nothing = replace(part, dead_time=np.array([[0, binary.n_samples]]))
    assert not len(find_peaks(Source.of_binary(nothing), channels, PLACES[:, ::-1], n_jobs=1).frames)


def test_long_recordings_are_put_together_from_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block has its own template; blocks that lie apart are brought together."""
    monkeypatch.setattr(registration, "BLOCK_BINS", 60)
    rng = np.random.default_rng(1)
    n_bins = 160
    frames = np.sort(rng.integers(0, int(n_bins * 0.5 * FS), 60 * n_bins))
    moved = np.interp(frames, [0, frames[-1]], [-30.0, 30.0])
    depths = rng.choice([40.0, 110.0, 150.0, 230.0, 290.0], len(frames)) + moved + rng.normal(0, 2, len(frames))
    peaks = Peaks(frames, depths, rng.uniform(50, 300, len(frames)))
    course = course_of(peaks, [Epoch(0, int(n_bins * 0.5 * FS))], FS, np.arange(0.0, 320.0, 20.0), 1)
    assert course is not None
    wrong = course.of(frames / FS, np.full(len(frames), 160.0)) - moved
    assert np.std(wrong) < 2


def test_too_few_spikes_are_no_course(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.random.default_rng(0).normal(0, 60, (20_000, 16)).astype(np.int16).tofile(tmp_path / "traces.dat")
    names = tuple(map(str, range(16)))
    quiet = BinaryRecording(tmp_path / "traces.dat", 20_000, 16, FS, 0.1, names, PLACES, None, (Epoch(0, 20_000),))
    (movement,) = motion.measure_binary(quiet, n_jobs=1)
    assert movement.course is None
    assert movement.summary["moved_um"] is None
    assert "movement cannot be measured" in caplog.text
    assert motion.described([movement], "correct")["corrected"] is False


def test_what_was_found_is_kept_and_spikeinterface_reads_the_course(found: motion.Movement, tmp_path: Path) -> None:
    motion.save_movements([found], tmp_path)
    (again,) = motion.load_movements(tmp_path)
    assert found.course is not None
    assert again.course is not None
    np.testing.assert_array_equal(again.course.moved_um, found.course.moved_um)
    np.testing.assert_array_equal(again.map.seen, found.map.seen)
    theirs = Motion.load(tmp_path / "group_0" / "motion")
    times, depths = np.array([3.0, 20.2]), np.array([100.0, 200.0])
    ours = again.course.at(times, depths)
    np.testing.assert_allclose(theirs.get_displacement_at_time_and_depth(times, depths, grid=True).T, ours)
    np.testing.assert_allclose(again.course.of(times, depths), ours[[0, 1], [0, 1]])
    assert motion.load_movements(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (
            17.5 * np.array([[i % 8, i // 8] for i in range(64)]),
            r"64 contacts cover 122.5 x 122.5 um .*planar",
        ),
        (np.array([[0.0, 20.0 * i] for i in range(4)]), "4 contacts cover 0 x 60 um .* too little"),
    ],
)
def test_arrays_along_which_nothing_moves_are_refused(places: NDArray[np.float64], words: str) -> None:
    recording = NumpyRecording([np.zeros((2000, len(places)), np.float32)], FS)
    recording.set_dummy_probe_from_locations(places)
    for setting in ("estimate", "correct", "dredge_fast"):
        with pytest.raises(ValueError, match=f"motion='{setting}'.*{words}.*set motion to None"):
            open_recording(recording, RecordingConfig(motion=setting, freq_max=4000))


def test_a_few_contacts_on_one_shank_do_not_keep_the_others_from_being_measured() -> None:
    places = np.array([[0.0, 20.0 * i] for i in range(16)] + [[500.0, 0.0], [500.0, 20.0]])
    geometry = replace(Geometry.of(places, np.repeat([0, 1], [16, 2])), group_names=("left", "right"))
    (column,) = motion.columns_of(geometry, "estimate")
    assert (column.name, column.channels.tolist()) == ("left", list(range(16)))
    with pytest.warns(UserWarning, match="not measured of what forms no column, too short or too wide: right"):
        (column,) = motion.columns_of(geometry, "correct")
    assert column.channels.tolist() == list(range(16))
    with pytest.raises(ValueError, match="the 2 contacts cover 0 x 20 um"):
        motion.columns_of(Geometry.of(places[16:]), "correct")


def test_a_column_along_x_is_a_column() -> None:
    (column,) = motion.columns_of(Geometry.of(PLACES[:, ::-1]), "estimate")
    assert column.axis == 0
    np.testing.assert_array_equal(column.places[:, 0], PLACES[:, 1])


def still(course_um: float) -> list[dict[str, Any]]:
    """A course that stands still at `course_um`."""
    course = motion.Course(1, np.array([0.0, 30.0]), np.array([150.0]), np.full((2, 1), course_um))
    return [{"channels": list(range(len(PLACES))), "course": course.to_dict()}]


def recording_of(traces: NDArray[np.float32]) -> NumpyRecording:
    recording = NumpyRecording([traces], FS)
    recording.set_dummy_probe_from_locations(PLACES)
    return recording


def test_corrected_traces_are_those_of_moved_contacts() -> None:
    """The weights are SpikeInterface's; the largest of each contact are enough."""
    traces = np.random.default_rng(0).normal(0, 10, (3000, len(PLACES))).astype(np.float32)
    corrected = MotionCorrectedRecording(recording_of(traces), still(9.0)).get_traces()
    targets = PLACES + np.array([0.0, 9.0])
    kernel = get_spatial_interpolation_kernel(PLACES, targets, sigma_um=20.0, p=2, force_extrapolate=True)
    inside = targets[:, 1] <= PLACES[:, 1].max()
    np.testing.assert_allclose(corrected[:, inside], (traces @ kernel)[:, inside], atol=0.3)
    assert len(PLACES) <= N_WEIGHTS or inside.sum() < len(PLACES)


def test_correction_is_the_same_for_any_chunk_and_rebuilt_from_its_description(found: motion.Movement) -> None:
    assert found.course is not None
    courses = [{"channels": list(range(len(PLACES))), "course": found.course.to_dict()}]
    traces = np.random.default_rng(0).normal(0, 10, (9000, len(PLACES))).astype(np.float32)
    corrected = MotionCorrectedRecording(recording_of(traces), courses)
    whole = corrected.get_traces()
    cut = [0, 1, 77, 200, 201, 5555, 9000]
    pieces = [corrected.get_traces(start_frame=a, end_frame=b) for a, b in pairwise(cut)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    some = corrected.get_traces(start_frame=100, end_frame=200, channel_ids=corrected.channel_ids[[5, 2]])
    np.testing.assert_array_equal(some, whole[100:200, [5, 2]])
    again = si.load(corrected.to_dict(recursive=True))
    assert isinstance(again, MotionCorrectedRecording)
    np.testing.assert_array_equal(again.get_traces(), whole)


def test_correction_takes_the_movement_away(tmp_path: Path) -> None:
    recording = recording_of(moving_traces())
    opened = open_recording(recording, RecordingConfig(motion="correct", freq_max=4000))
    assert motion.movements_of(opened)[0].course is not None
    corrected, _ = write_binary(opened, tmp_path / "traces.dat", n_jobs=1, total_memory="1G", seed=0)
    assert corrected.motion is not None
    assert corrected.motion["corrected"]
    assert corrected.motion["groups"][0]["moved_um"] > 40
    (left,) = motion.measure_binary(corrected, n_jobs=1)
    assert left.summary["moved_um"] < 8
    assert BinaryRecording.from_dict(corrected.path, corrected.to_dict()).motion == corrected.motion


def test_a_bin_that_went_astray_comes_back_and_one_that_moved_stays() -> None:
    """In 24 s of a generated column one bin of 24 spikes was found 90 um away from those before and after it."""
    rng = np.random.default_rng(5)
    true = np.linspace(-20.0, 20.0, 40)
    true[30] += 40.0  # the animal moved, for half a second
    still = np.zeros((60, registration.N_SIZES))
    still[rng.choice(np.arange(20, 40), 8, replace=False), rng.integers(registration.N_SIZES, size=8)] = 2.0
    histograms = np.stack([np.roll(still, round(way / registration.STEP_UM), axis=0) for way in true])
    found = np.stack([true, true], axis=1)
    found[12, 1] -= 90.0
    found[[0, 39], 0] += [60.0, -75.0]
    mended = registration._with_strays_back(histograms, found, np.ones((2, 60)))
    np.testing.assert_allclose(mended, np.stack([true, true], axis=1), atol=3.0)
    assert mended[30, 0] == true[30]


def test_presets_are_those_of_spikeinterface() -> None:
    assert set(MOTION_PRESETS) == set(get_motion_presets())


def test_a_preset_is_asked_for_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise is known before, as a seed gives it; a short column moves as a whole; times are middles of bins."""
    asked: dict[str, Any] = {}

    def compute_motion(recording: Any, preset: str, **given: Any) -> tuple[Motion, dict[str, Any]]:
        asked.update(given, noise=recording.get_property(presets.NOISE_KEY))
        peaks = np.array([(5 + 40 * i, -40.0) for i in range(500)], dtype=[("sample_index", "i8"), ("amplitude", "f4")])
        method = {"method": "iterative_template", "bin_s": 1.0}
        info = {"peaks": peaks, "peak_locations": np.array([(33.0,)] * 500, dtype=[("y", "f8")])}
        moved = Motion([np.array([[1.0], [4.0], [2.0]])], [np.arange(3.0)], np.array([150.0]))
        return moved, info | {"parameters": {"estimate_motion_kwargs": method}}

    monkeypatch.setattr("spikeinterface.preprocessing.compute_motion", compute_motion)
    recording = recording_of(np.random.default_rng(0).normal(0, 5, (20_000, len(PLACES))).astype(np.float32))
    (column,) = motion.columns_of(Geometry.of(PLACES), "dredge")
    peaks, course = presets.preset_course(recording, column, "dredge")
    assert asked["estimate_motion_kwargs"] == {"direction": "y", "batching_mode": "full", "rigid": True}
    assert asked["noise"] == pytest.approx(5, rel=0.1)
    assert course is not None
    assert (peaks.frames[:2].tolist(), peaks.depths_um[0], peaks.sizes_uv[0]) == ([5, 45], 33.0, 40.0)
    assert course.times_s.tolist() == [0.5, 1.5, 2.5]
    assert course.moved_um[:, 0].tolist() == [-1.0, 2.0, 0.0]


@pytest.mark.parametrize("preset", ["kilosort_like", "rigid_fast", "nonrigid_fast_and_accurate"])
def test_a_preset_leaves_a_silent_shank_as_it_is(preset: str, caplog: pytest.LogCaptureFixture) -> None:
    """SpikeInterface's estimate ends with an error without spikes, or says that nothing moved."""
    silent = np.random.default_rng(0).normal(0, 6, (40_000, len(PLACES))).astype(np.float32)
    recording = recording_of(silent)
    corrected = motion.with_motion(recording, Geometry.of(PLACES), preset, n_jobs=1)
    assert corrected is recording
    (movement,) = motion.movements_of(corrected)
    assert (movement.course, movement.summary["moved_um"]) == (None, None)
    assert "movement cannot be measured" in caplog.text


def test_an_error_of_a_preset_is_one_where_there_are_spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("a fault of another kind")

    monkeypatch.setattr("spikeinterface.sortingcomponents.motion.motion_estimation.estimate_motion", fails)
    traces = moving_traces()[: int(8 * FS)]
    (column,) = motion.columns_of(Geometry.of(PLACES), "rigid_fast")
    with pytest.raises(RuntimeError, match="a fault of another kind"):
        presets.preset_course(recording_of(traces), column, "rigid_fast")


def test_a_preset_whose_package_is_not_installed_is_refused_before_spikes_are_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presets, "find_spec", lambda name: None if name == "medicine" else name)
    monkeypatch.setattr("spikeinterface.preprocessing.compute_motion", lambda *_, **__: pytest.fail("began"))
    recording = recording_of(np.zeros((2000, len(PLACES)), dtype=np.float32))
    with pytest.raises(ModuleNotFoundError, match=r"motion='medicine' .* pip install medicine; "):
        open_recording(recording, RecordingConfig(motion="medicine", freq_max=4000))
    presets.require_packages("dredge")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["kilosort_like", "dredge", "dredge_fast", "rigid_fast"])
def test_presets_of_spikeinterface_run(preset: str) -> None:
    pytest.importorskip("torch")
    opened = open_recording(recording_of(moving_traces()), RecordingConfig(freq_max=4000))
    (column,) = motion.columns_of(Geometry.of(PLACES), preset)
    peaks, course = presets.preset_course(opened, column, preset)
    assert len(peaks.frames) > 1000
    assert course is not None
    assert error_of(course) < 15  # bins of one to five seconds
