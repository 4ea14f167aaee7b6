"""Streams of a recording: id and name as the source has them, and whether they hold electrodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

VOLTS = ("V", "Volt", "Volts", "mV", "uV")
# Units that say nothing of what was measured.
NO_UNITS = ("", "arbitrary", "a.u.", "NA", "dimensionless")
# Names by which acquisition systems call what is beside the electrodes. A name is compared in its words.
OTHER_WORDS = re.compile(
    r"(?<![a-z])(sync|adc|dac|nidq|ni-daqmx|obx\d*|aux|auxiliary|supply|digital|d(?:in|out)|trigger|stim|stimulation"
    r"|accelerometer|acc|mic|piezo|ecu|mcu|analog[ -](in|input|output)|ai|aif|ttl|temperature)(?![a-z])",
    re.IGNORECASE,
)
# Names whose words are glued together: "...RhythmData.0SYNC", "nidqSYNC".
GLUED = re.compile(r"(SYNC|_ADC|_AUX)$")


@dataclass(frozen=True)
class Stream:
    """A stream, well, or ElectricalSeries.

    Attributes
    ----------
    id : str
        What the source, or SpikeInterface's reader, calls it.
    name : str
        The name beside the id; "" where there is none, or the same.
    electrodes : bool
        False for what is recorded beside electrodes: synchronisation, analog and digital inputs, sensors.
    sampling_frequency : float or None
        In Hz, where it is known before the stream is opened.
    """

    id: str
    name: str = ""
    electrodes: bool = True
    sampling_frequency: float | None = None

    def is_below(self, rate_hz: float) -> bool:
        """Return whether the sampling rate is known, and not above `rate_hz`."""
        return self.sampling_frequency is not None and self.sampling_frequency <= rate_hz

    @property
    def label(self) -> str:
        """Id and name, for messages."""
        return f"{self.id!r} ({self.name})" if self.name else repr(self.id)


def streams_of_reader(reader: Any, options: Mapping[str, Any]) -> list[Stream]:
    """List the streams of a file by the header that neo reads.

    `reader` is SpikeInterface's class for the format, `options` what it hands to neo.
    """
    neo_reader = reader.get_neo_io_reader(reader.NeoRawIOClass, **options)
    channels = neo_reader.header["signal_channels"]
    found = []
    for row in neo_reader.header["signal_streams"]:
        identifier, name = str(row["id"]), str(row["name"])
        own = channels[channels["stream_id"] == row["id"]]
        rate = float(own["sampling_rate"][0]) if len(own) else None
        electrodes = holds_electrodes(identifier, name, [str(unit) for unit in own["units"]])
        found.append(Stream(identifier, "" if name == identifier else name, electrodes, rate))
    return found


def holds_electrodes(identifier: str, name: str, units: Sequence[str]) -> bool:
    """Return whether a stream holds electrodes, by its names and by the units of its channels."""
    if any(OTHER_WORDS.search(text) or GLUED.search(text) for text in (identifier, _own_part(name))):
        return False
    return not units or any(unit in VOLTS or unit in NO_UNITS for unit in units)


def _own_part(name: str) -> str:
    """Return the name without the device it is from: "Record Node 101#NI-DAQmx-103.PXIe" has the device before "#"."""
    return name.rpartition("#")[2]


def chosen_stream(path: Path, streams: Sequence[Stream], wanted: str | None) -> Stream:
    """Return the stream that `wanted`, the setting ``stream_id``, names: by id, by name, or by the end of its name.

    Without a name: the only stream, or the only one that holds electrodes. A ValueError lists the streams.
    """
    if wanted is None:
        return _only(path, streams)
    for names_of in (lambda stream: {stream.id}, lambda stream: {stream.name}, _endings):
        matches = [stream for stream in streams if wanted and wanted in names_of(stream)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise ValueError(
                f"{path} has several streams of the name {wanted!r}; set stream_id to one of {listed(matches)}"
            )
    raise ValueError(f"{path} has no stream {wanted!r}. It has {listed(streams)}")


def _only(path: Path, streams: Sequence[Stream]) -> Stream:
    if not streams:
        raise ValueError(f"{path} has no stream of signals, only events or spikes")
    candidates = [stream for stream in streams if stream.electrodes] or streams
    if len(candidates) > 1:
        raise ValueError(f"{path} has several streams; set stream_id to one of {listed(candidates)}")
    return candidates[0]


def _endings(stream: Stream) -> set[str]:
    """Return the shorter names of a stream: of "Record Node 101#Board-100.Rhythm Data" what follows "#" or "."."""
    return {stream.name[match.end() :] for match in re.finditer(r"[#.]", stream.name)}


def listed(streams: Sequence[Stream]) -> str:
    """List streams for a message: ``['0' (Rhythm Data), '1' (ADC)]``."""
    return f"[{', '.join(stream.label for stream in streams)}]"
