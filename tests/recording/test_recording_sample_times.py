"""Channels that one converter samples one after the other are brought to the same time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import spikeinterface as si
from scipy.signal import butter, sosfiltfilt
from spikeinterface.preprocessing import common_reference, phase_shift
from tests.simulated import save_recording

from spikelab.spike_sorting.config import RecordingConfig, SortingPipelineConfig
from spikelab.spike_sorting.filters._bandpass_kernels import TILE
from spikelab.spike_sorting.filters.bandpass import BandPassRecording
from spikelab.spike_sorting.filters.sample_shifts import shift_taps
from spikelab.spike_sorting.recording import inspect_file, open_recording, write_binary
from spikelab.spike_sorting.recording.fingerprint import fingerprint
from spikelab.spike_sorting.recording.parts import read_parts
from spikelab.spike_sorting.settings.validation import validate_config

FS = 30_000.0
SHIFTS = np.repeat(np.arange(12) / 13, 2)


def neuropixels(n_frames: int = 6000, shifts: np.ndarray | None = SHIFTS) -> si.NumpyRecording:
    """One sound that all channels record, each at its time; in counts of 0.195 uV."""
    later = np.zeros(len(SHIFTS)) if shifts is None else shifts
    times = (np.arange(n_frames)[:, None] + later) / FS
    traces = sum(
        60 * np.sin(2 * np.pi * frequency * times + frequency) for frequency in (400.0, 1100.0, 3000.0, 5200.0)
    )
    recording = si.NumpyRecording([np.round(traces / 0.195).astype(np.int16)], FS)
    recording.set_channel_gains(0.195)
    recording.set_channel_offsets(0.0)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(len(SHIFTS)), 20.0 * np.arange(len(SHIFTS))]))
    if shifts is not None:
        recording.set_property("inter_sample_shift", shifts)
    return recording


def residue(recording: si.BaseRecording) -> float:
    """Largest difference between channels, away from the ends."""
    return float(np.ptp(recording.get_traces()[300:-300], axis=1).max())


@pytest.mark.parametrize(("freq_max", "fs"), [(6000.0, 30_000.0), (9000.0, 30_000.0), (6000.0, 20_000.0), (3000.0, FS)])
def test_a_tone_of_the_band_is_moved_exactly(freq_max: float, fs: float) -> None:
    shifts = np.array([0.0, 0.25, 12 / 13, -0.5])
    taps = shift_taps(shifts, freq_max, fs).astype(np.float64)
    np.testing.assert_allclose(taps.sum(axis=0), 1, atol=1e-6)
    offsets = np.arange(len(taps)) - len(taps) // 2
    for frequency in np.linspace(0, freq_max, 7):
        turn = 2j * np.pi * frequency / fs
        response = np.exp(turn * offsets) @ taps  # of the tone at frame 0
        np.testing.assert_allclose(response, np.exp(-turn * shifts), atol=3e-4)


def test_what_all_channels_record_is_the_same_in_all() -> None:
    config = RecordingConfig()
    assert residue(open_recording(neuropixels(), config)) < 0.5
    assert residue(open_recording(neuropixels(), RecordingConfig(phase_shift=False))) > 50
    together = open_recording(neuropixels(shifts=None), config)
    np.testing.assert_allclose(
        open_recording(neuropixels(), config).get_traces()[300:-300], together.get_traces()[300:-300], atol=0.5
    )
    # A reference then removes it.
    referenced = open_recording(neuropixels(), RecordingConfig(common_reference="median"))
    assert np.abs(referenced.get_traces()[300:-300]).max() < 0.5


@pytest.mark.parametrize("n_channels", [1, TILE - 1, TILE + 3, 2 * TILE])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_chunks_and_selections_are_those_of_the_whole(n_channels: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    shifts = rng.uniform(-1, 1, n_channels)
    traces = (30 * rng.standard_normal((9000, n_channels)) + 500).astype(dtype)
    recording = BandPassRecording(si.NumpyRecording([traces], FS), 300, 6000, sample_shifts=shifts)
    whole = recording.get_traces()
    for start, end in ((0, 700), (3000, 3001), (4000, 9000)):
        np.testing.assert_allclose(recording.get_traces(0, start, end), whole[start:end], atol=1e-3)
    chosen = recording.channel_ids[[0, n_channels - 1]]
    np.testing.assert_allclose(recording.get_traces(channel_ids=chosen), whole[:, [0, n_channels - 1]], atol=1e-5)
    again = recording.clone()
    np.testing.assert_array_equal(again.get_traces(), whole)
    # Beside a filter of another kind: a move by the Fourier transform, then scipy's band-pass.
    frequencies = np.fft.rfftfreq(len(traces))
    turned = np.fft.rfft(traces, axis=0) * np.exp(-2j * np.pi * frequencies[:, None] * shifts)
    sections = butter(5, [300, 6000], btype="bandpass", fs=FS, output="sos")
    expected = sosfiltfilt(sections, np.fft.irfft(turned, len(traces), axis=0), axis=0)
    assert np.abs(whole - expected)[600:-600].max() < 2e-3 * expected.std()


def test_the_way_channel_by_channel_is_the_same(tmp_path: Path) -> None:
    recording = open_recording(neuropixels(), RecordingConfig())
    whole = recording.get_traces()
    for frames, channels, traces in read_parts(recording, 1000, 5000):
        np.testing.assert_allclose(traces, whole[1000:5000][frames, channels], atol=1e-3)
    binary, _ = write_binary(recording, tmp_path / "x.dat", n_jobs=2, total_memory="1G", seed=0, check=False)
    np.testing.assert_allclose(binary.read_uv(0, 6000), whole, atol=binary.gain_uv)


def test_what_was_aligned_before_is_left_alone(tmp_path: Path) -> None:
    aligned = phase_shift(si.load(save_recording(neuropixels(30_000), tmp_path / "file")))
    referenced = common_reference(aligned).select_channels(aligned.channel_ids[:4])
    saved = aligned.save(folder=tmp_path / "aligned", verbose=False, progress_bar=False)
    for recording in (aligned, referenced, saved, tmp_path / "aligned"):
        config = RecordingConfig()
        found = open_recording(recording, config).get_traces()
        without = open_recording(recording, RecordingConfig(phase_shift=False)).get_traces()
        np.testing.assert_array_equal(found, without)
    kept = si.load(save_recording(neuropixels(), tmp_path / "kept"))
    assert residue(open_recording(kept, RecordingConfig())) < 0.5
    assert residue(open_recording(tmp_path / "kept", RecordingConfig())) < 0.5


def test_catgt_is_known_to_align(tmp_path: Path) -> None:
    from spikelab.spike_sorting.recording.sample_times import sample_shifts

    path = tmp_path / "x_tcat.imec0.ap.bin"
    neuropixels().get_traces().tofile(path)
    catgt = "<CatGT -gblcar>"
    for own, other, shifted in ((catgt, None, False), ("<CatGT -no_tshift -gblcar>", None, True), (None, catgt, True)):
        recording = si.BinaryRecordingExtractor([path], FS, "int16", len(SHIFTS))
        recording.set_property("inter_sample_shift", SHIFTS)
        # As the reader of SpikeGLX has them: the .meta files of all streams below the folder.
        metas = {"imec0.ap": own, "imec1.ap": other}
        files = {(0, stream): {"meta": {"catGTCmdline0": line} if line else {}} for stream, line in metas.items()}
        recording.stream_id, recording.neo_reader = "imec0.ap", SimpleNamespace(signals_info_dict=files)
        assert (sample_shifts(recording, "x") is not None) == shifted


@pytest.mark.parametrize("value", [1.0, 13.0, np.nan])
def test_impossible_times_are_refused(value: float) -> None:
    recording = neuropixels()
    recording.set_property("inter_sample_shift", [value, *SHIFTS[1:]])
    with pytest.raises(ValueError, match=r"inter_sample_shift with values such as .* phase_shift"):
        open_recording(recording, RecordingConfig())
    open_recording(recording, RecordingConfig(phase_shift=False))


def test_nothing_is_moved_where_all_are_sampled_together() -> None:
    for shifts in (None, np.zeros(len(SHIFTS)), np.full(len(SHIFTS), 0.5)):
        recording = open_recording(neuropixels(shifts=shifts), RecordingConfig())
        assert recording.recording_list[0].get_parent()._kwargs["sample_shifts"] is None


def test_an_inspection_tells_that_channels_are_sampled_in_turn(tmp_path: Path) -> None:
    for name, shifts in (("probe", SHIFTS), ("other", None)):
        save_recording(neuropixels(shifts=shifts), tmp_path / name)
    assert [inspect_file(tmp_path / name)[0].in_turn for name in ("probe", "other")] == [True, False]


def test_the_key_sees_them() -> None:
    other = neuropixels()
    other.set_property("inter_sample_shift", SHIFTS[::-1])
    assert len({fingerprint(recording) for recording in (neuropixels(), neuropixels(), other)}) == 2


def test_where_times_are_asked_for_they_have_to_be_there() -> None:
    for value in ("auto", True, False):
        validate_config(SortingPipelineConfig.from_kwargs(phase_shift=value))
    config = RecordingConfig(phase_shift=True)
    assert residue(open_recording(neuropixels(), config)) < 0.5
    with pytest.raises(ValueError, match=r"does not say when its channels are sampled: expected .* inter_sample_shift"):
        open_recording(neuropixels(shifts=None), config)
    with pytest.raises(ValueError, match="samples all channels at once"):
        open_recording(neuropixels(shifts=np.zeros(len(SHIFTS))), config)
