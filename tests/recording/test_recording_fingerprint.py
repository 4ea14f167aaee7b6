"""The key of a recording in memory changes with whatever changes its traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import spikeinterface.preprocessing as preprocessing
from spikeinterface import BinaryRecordingExtractor, NumpyRecording, append_recordings, generate_recording

from spikelab.spike_sorting.recording import fingerprint as module_function
from spikelab.spike_sorting.recording.fingerprint import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

FS, N_FRAMES, N_CHANNELS = 20_000.0, 200_000, 8


def recording_of(traces: np.ndarray) -> Any:
    recording = NumpyRecording([traces], FS)
    recording.set_dummy_probe_from_locations(np.column_stack([np.zeros(N_CHANNELS), 20.0 * np.arange(N_CHANNELS)]))
    return recording


@pytest.fixture(scope="module")
def traces() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 5, (N_FRAMES, N_CHANNELS)).astype(np.float32)


def test_a_copy_has_the_same_key(traces):
    assert (
        fingerprint(recording_of(traces))
        == fingerprint(recording_of(traces.copy()))
        == module_function(recording_of(traces))
    )


def test_one_sample_that_changed_in_place_changes_the_key(traces):
    mine = traces.copy()
    recording = recording_of(mine)
    before = fingerprint(recording)
    for frame in (0, 123_457, N_FRAMES - 1):
        mine[frame, 3] += 1
        assert fingerprint(recording) != before
        mine[frame, 3] = traces[frame, 3]
    assert fingerprint(recording) == before


STEPS: dict[str, Callable[[Any], Any]] = {
    "scale": lambda r: preprocessing.scale(r, gain=1.0000001),
    "filter": lambda r: preprocessing.bandpass_filter(r, 300, 6000),
    "another filter": lambda r: preprocessing.bandpass_filter(r, 300, 5999.9),
    "reference": preprocessing.common_reference,
    "artefacts": lambda r: preprocessing.remove_artifacts(r, [77_777], ms_before=1, ms_after=1),
    "an artefact more": lambda r: preprocessing.remove_artifacts(r, [77_777, 99_999], ms_before=1, ms_after=1),
    "cut": lambda r: r.frame_slice(0, N_FRAMES - 1),
    "shift": lambda r: preprocessing.phase_shift(r, inter_sample_shift=np.arange(N_CHANNELS) / N_CHANNELS),
    "two steps": lambda r: preprocessing.common_reference(preprocessing.scale(r, gain=2.0)),
    "segments": lambda r: append_recordings([r, r]),
}


def test_every_lazy_step_has_a_key_of_its_own(traces):
    keys = [fingerprint(step(recording_of(traces))) for step in STEPS.values()]
    assert len({fingerprint(recording_of(traces)), *keys}) == len(STEPS) + 1
    assert keys == [fingerprint(step(recording_of(traces))) for step in STEPS.values()]


def test_the_seed_of_a_generated_recording_is_seen():
    options = {"num_channels": 4, "durations": [2.0]}
    assert fingerprint(generate_recording(**options, seed=1)) == fingerprint(generate_recording(**options, seed=1))
    assert fingerprint(generate_recording(**options, seed=1)) != fingerprint(generate_recording(**options, seed=2))


def test_a_lazy_step_on_a_file_sees_the_file_and_not_its_place(traces, tmp_path):
    def lazy(name: str) -> Any:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        traces[:1000].tofile(path)
        import os

        os.utime(path, (1e9, 1e9))
        return preprocessing.scale(BinaryRecordingExtractor([path], FS, "float32", num_channels=N_CHANNELS), gain=2.0)

    first = lazy("a/traces.dat")
    before = fingerprint(first)
    assert fingerprint(lazy("b/traces.dat")) == before
    with (tmp_path / "a" / "traces.dat").open("r+b") as file:
        file.write(b"\1\2\3\4")
    assert fingerprint(first) != before


def test_of_an_array_too_large_to_read_every_nth_frame_is_seen(traces, monkeypatch):
    import importlib

    module = importlib.import_module("spikelab.spike_sorting.recording.fingerprint")
    monkeypatch.setattr(module, "ARRAY_BYTES", traces.nbytes // 2)
    mine = traces.copy()
    recording = recording_of(mine)
    before = fingerprint(recording)
    mine[100_001:100_003] = 7  # two frames
    assert fingerprint(recording) != before


def test_what_the_geometry_is_made_of_is_in_the_key(traces):
    from probeinterface import Probe

    def probed(unit: str = "um", shanks: Any = None, **properties: Any) -> Any:
        probe = Probe(ndim=2, si_units=unit)
        probe.set_contacts(
            np.column_stack([np.zeros(N_CHANNELS), 20.0 * np.arange(N_CHANNELS)]), shape_params={"radius": 5}
        )
        probe.set_device_channel_indices(np.arange(N_CHANNELS))
        if shanks is not None:
            probe.set_shank_ids(shanks)
        recording = NumpyRecording([traces], FS)
        recording.set_probe(probe)
        for name, values in properties.items():
            recording.set_property(name, values)
        return recording

    halves = np.repeat([0, 1], N_CHANNELS // 2)
    variants = [probed(), probed("mm"), probed(shanks=halves.astype(str)), probed(electrode=np.arange(N_CHANNELS))]
    variants.append(probed(group=halves))
    assert len({fingerprint(variant) for variant in variants}) == len(variants)
