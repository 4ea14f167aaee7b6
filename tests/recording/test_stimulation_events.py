"""Times of pulses that files hold themselves: of neo's event channels, and of NWB."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from spikeinterface.core import NumpyRecording

from spikelab.spike_sorting.recording.stimulation import pulse_events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FS = 20_000.0


class Neo:
    """What is asked of a reader of neo: events of channels, segment by segment, in ticks of 1 ms."""

    def __init__(self, channels: Mapping[str, Sequence[Sequence[tuple[int, str]]]], begun_s: float = 0.0) -> None:
        self.header = {"event_channels": [{"name": name} for name in channels]}
        self._segments, self._begun_s = list(channels.values()), begun_s

    def get_signal_t_start(self, block: int, segment: int, stream: int) -> float:
        return self._begun_s

    def segment_count(self, block: int) -> int:
        return max(map(len, self._segments))

    def get_event_timestamps(self, block: int, segment: int, channel: int) -> tuple[np.ndarray, None, np.ndarray]:
        rows = self._segments[channel][segment]
        return np.array([time for time, _ in rows], dtype=np.int64), None, np.array([label for _, label in rows])

    def rescale_event_timestamp(self, times: np.ndarray, dtype: str, event_channel_index: int) -> np.ndarray:
        return times.astype(dtype) / 1000


def events_of(neo: Any, clock_start_s: float = 0.0) -> dict[str, list[float]]:
    recording = SimpleNamespace(neo_reader=neo, block_index=0, stream_index=0)
    found = pulse_events(recording, "of neo", "a file", clock_start_s)  # type: ignore[arg-type]
    return {channel: np.round(times, 6).tolist() for channel, times in found.items()}


def test_rising_edges_of_spikeglx_count() -> None:
    both = [(1000, "XD0 ON"), (2000, "XD0 ON"), (1500, "XD0 OFF"), (2500, "XD0 OFF")]
    assert events_of(Neo({"XD0": [both], "XD1": [[(10, "XD1 OFF")]]})) == {"XD0": [1.0, 2.0]}


def test_events_of_neo_are_on_the_clock_of_the_file_in_order_by_label() -> None:
    neo = Neo({"Rhythm": [[(5200, "2"), (5100, "1")], [], [(7000, "1")]]}, begun_s=5.0)
    assert events_of(neo, 100.0) == {"Rhythm 1": [100.1, 102.0], "Rhythm 2": [100.2]}


def test_states_of_a_port_give_the_rising_edges_of_its_bits() -> None:
    states = [(100, "65534"), (200, "65532"), (300, "65535"), (400, "65533"), (500, "65535")]
    assert events_of(Neo({"digital_input_port": [states]})) == {
        "digital_input_port bit 0": [0.3],
        "digital_input_port bit 1": [0.1, 0.3, 0.5],
    }
    codes = [(100, "5"), (200, "5")]
    assert events_of(Neo({"digital_input_port": [codes]})) == {"digital_input_port 5": [0.1, 0.2]}


def test_inputs_of_neuralynx_that_are_all_off_are_no_pulses() -> None:
    port = "TTL Input on AcqSystem1_0 board 0 port 1 value"
    neo = Neo({"Events ttl=1": [[(100, f"{port} (0x0001).")]], "Events ttl=0": [[(101, f"{port} (0x0000).")]]})
    assert events_of(neo) == {f"Events ttl=1 {port} (0x0001).": [0.1]}


def test_rising_edges_of_a_legacy_open_ephys_folder_count() -> None:
    neo: Any = Neo({"events": [[(100, "3#100#0"), (101, "3#100#0"), (102, "5#100#0")]]})
    table = np.zeros(3, dtype=[("event_type", "u1"), ("event_id", "u1")])
    table["event_type"], table["event_id"] = [3, 3, 5], [1, 0, 0]
    neo._events_memmap = {0: table}
    assert events_of(neo) == {"events 3#100#0": [0.1], "events 5#100#0": [0.102]}


def test_a_file_of_which_neo_reads_no_rising_edge_has_no_events() -> None:
    assert events_of(Neo({"XD0": [[(10, "XD0 OFF")]]})) == {}


def test_time_stamps_of_the_stimuli_of_nwb_are_events(tmp_path: Path) -> None:
    path = tmp_path / "stimulated.nwb"
    with h5py.File(path, "w") as file:
        file["stimulus/presentation/laser/timestamps"] = [2.5, 1.5]
        file["stimulus/presentation/sound/data"] = [1.0, 2.0]
    recording = NumpyRecording([np.zeros((10, 1), dtype=np.float32)], FS)
    found = pulse_events(recording, "nwb", str(path), 1.0)
    assert {name: times.tolist() for name, times in found.items()} == {"laser": [1.5, 2.5]}
    with h5py.File(path, "r+") as file:
        del file["stimulus"]
    assert pulse_events(recording, "nwb", str(path), 1.0) == {}
