"""Units in an NWB file (Neurodata Without Borders 2): electrodes, waveforms, epochs, invalid times and pulses too.

Times are seconds on the clock of the source, where it has one that fits all epochs: gaps are gaps, and zero is
``timestamps_reference_time``. Otherwise they are on the clock of the (concatenated) recording, which goes on without a
gap; ``recording_start_time`` of the epochs is on it in any case. Waveforms are in microvolts, with that unit in
the file; traces are int16 counts with their factor to volts.
"""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.spike_sorting.data.dead_time import live_parts, within
from spikelab.spike_sorting.exchange.formats.clock import clock_of
from spikelab.spike_sorting.exchange.formats.nwb_metadata import FILE_FIELDS, read_metadata
from spikelab.system.extras import install_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, FloatArray, IntArray
    from spikelab.spike_sorting.exchange.formats.clock import ExportClock
    from spikelab.spike_sorting.exchange.formats.handoff import Handoff

logger = logging.getLogger(__name__)

PULSES = "stimulation_pulses"
MICROVOLTS_TO_VOLTS = 1e-6
COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
# Columns that the standard has other names for, or that hold indices of this package.
NOT_COLUMNS = ("unit_id", "channel", "electrode", "template_peak_ind", "x", "y", "passed", "failed_criterion")
ABOUT = {
    "channel_id": "name of the main channel",
    "group": "group of channels (probe, shank, side) that the unit was found on",
    "sorter_unit_id": "id of the unit that the sorter gave",
    "decided": "verdict of a person, keep or drop; empty where there is none",
    "label": "label that a person gave; empty where there is none",
    "merged_from": "units of the sort that a person merged into this one",
    "split_from": "units of the sort of which this one has only a part, by a person's split",
    "amplitude": "largest absolute value of the mean waveform on the main channel, in microvolts",
    "snr": "amplitude over the noise of the main channel (MAD / 0.6745)",
    "std_norm": "standard deviation at the peak over the amplitude, on the main channel",
    "has_pos_peak": "whether the peak of the mean waveform is positive",
    "firing_rate": "spikes per second over the duration of the recording, without its invalid times",
    "isi_violation": "intervals below 1.5 ms per spike",
    "moved_um": "how far the unit went along the electrodes during the recording, in micrometres",
    "size_ratio": "largest amplitude of the unit during the recording over its smallest",
    "significance": "standard deviations by which the spikes are more than noise makes of their size",
    "sorter_significance": "the same by the sorter's own measure of the noise, in standard errors",
    "merged_into": "unit that this one was merged into",
    "spike_count": "number of spikes",
}


def write_nwb(handoff: Handoff, path: Path, *, metadata: Mapping[str, Any] | None = None, traces: bool = False) -> None:
    """Write units as an NWB file.

    Parameters
    ----------
    handoff : Handoff
    path : Path
    metadata : mapping, optional
        What the recording does not tell: fields of an ``NWBFile`` (``session_start_time`` as a datetime, date or ISO
        text, ``experimenter``, ``institution``, ``lab``, ...), ``subject`` (subject_id, species, age, sex, ...), and
        ``location``, the brain region or preparation of the electrodes.
    traces : bool
        Also store the filtered traces, in the processing module "ecephys".

    Raises
    ------
    EnvironmentSortFailure
        If pynwb is not installed.
    ValueError
        If `metadata` has an unknown name or value.

    Examples
    --------
    >>> from pathlib import Path
    >>> from spikelab.spike_sorting.exchange.export import handoff_of
    >>> from spikelab.spike_sorting.exchange.formats.nwb import write_nwb
    >>> from spikelab.spike_sorting.run.results import Results
    >>> handoff = handoff_of(Results.open("sorted_rt_sort_culture"), "curated")
    >>> write_nwb(handoff, Path("culture.nwb"), metadata={"lab": "A lab", "subject": {"species": "Rattus norvegicus"}})
    """
    pynwb = _pynwb()
    metadata = read_metadata(metadata)
    clock = clock_of(handoff.recording)
    file = pynwb.NWBFile(**_file_fields(handoff, metadata, clock))
    if "subject" in metadata:
        file.subject = pynwb.file.Subject(**metadata["subject"])
    else:
        logger.info("the NWB file has no subject, which archives ask for: give one in the metadata (--metadata FILE)")
    _add_electrodes(file, handoff.recording, metadata.get("location", "unknown"))
    _add_epochs(file, handoff.recording, clock)
    _add_dead_time(file, handoff.recording, clock)
    _add_pulses(pynwb, file, handoff.recording, clock)
    _add_units(pynwb, file, handoff, clock)
    if traces:
        _add_traces(pynwb, file, handoff.recording, clock)
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)


def _pynwb() -> Any:
    """Import pynwb, which is an extra."""
    try:
        import pynwb
    except ModuleNotFoundError as error:
        if error.name != "pynwb":
            raise
        raise EnvironmentSortFailure(
            f"this needs the package pynwb, which is not installed: {install_command('nwb')}"
        ) from error
    return pynwb


def _file_fields(handoff: Handoff, metadata: Mapping[str, Any], clock: ExportClock) -> dict[str, Any]:
    """List the fields of the file; the session starts at the zero of the clock, or at the date of the source's file."""
    recording = handoff.recording
    fields: dict[str, Any] = {
        "session_description": f"Units of {Path(recording.source_file).name or 'a recording'}, sorted with spikelab",
        "identifier": str(uuid.uuid4()),
        **{name: value for name, value in metadata.items() if name in FILE_FIELDS},
    }
    start = fields.get("session_start_time", clock.zero)
    if clock.zero is not None:
        fields["timestamps_reference_time"] = clock.zero
    if start is None:
        start, what = _start_from_file(Path(recording.source_file))
        fields["notes"] = f"{fields.get('notes', '')}\nsession_start_time is {what}.".strip()
    return fields | {"session_start_time": start}


def _start_from_file(path: Path) -> tuple[datetime, str]:
    if path.name and path.exists():
        return datetime.fromtimestamp(path.stat().st_mtime, UTC), "the modification time of the recording's file"
    return datetime.now(UTC), "the time of the export, for the time of the recording is not known"


def _add_electrodes(file: Any, recording: BinaryRecording, location: str) -> None:
    device = file.create_device("probe", description=f"Recorded as {recording.source_format or 'unknown format'}")
    groups = _electrode_groups(file, recording, location, device)
    columns = {
        "rel_x": "x position in micrometres",
        "rel_y": "y position in micrometres",
        "channel_name": "name of the channel in the recording",
    }
    if recording.electrodes is not None:
        columns["electrode_number"] = "number of the electrode on the array"
    for name, description in columns.items():
        file.add_electrode_column(name, description)
    for i, name in enumerate(recording.channel_ids):
        numbers = {} if recording.electrodes is None else {"electrode_number": int(recording.electrodes[i])}
        x, y = recording.locations[i].tolist()
        file.add_electrode(group=groups[i], location=location, rel_x=x, rel_y=y, channel_name=name, **numbers)


def _electrode_groups(file: Any, recording: BinaryRecording, location: str, device: Any) -> list[Any]:
    """Create the groups of channels that were sorted apart, or one; return that of each channel."""
    geometry = recording.geometry
    if geometry is None or geometry.n_groups < 2:
        group = file.create_electrode_group("electrodes", "All channels of the recording", location, device)
        return [group] * recording.n_channels
    groups = [
        file.create_electrode_group(
            name.replace("/", "-").replace(":", "-"), "Channels that were sorted together", location, device
        )
        for name in geometry.group_names
    ]
    return [groups[number] for number in geometry.groups.tolist()]


def _add_epochs(file: Any, recording: BinaryRecording, clock: ExportClock) -> None:
    """Add the epochs of the recording, each with its source file, segment and frame, and its place in the recording."""
    for name, description in (
        ("source_file", "name of the file that this stretch came from"),
        ("source_segment", "segment of that file"),
        ("source_start_frame", "frame of that segment at which the stretch starts"),
        (
            "recording_start_time",
            "seconds on the clock of the sorted recording, which has no gaps",
        ),
    ):
        file.add_epoch_column(name, description)
    for epoch, (start, stop) in zip(recording.epochs, clock.intervals(recording.epochs), strict=True):
        file.add_epoch(
            start_time=start,
            stop_time=stop,
            tags=[epoch.name or "recording"],
            source_file=Path(epoch.source_file).name,
            source_segment=epoch.source_segment,
            source_start_frame=epoch.source_start_frame,
            recording_start_time=epoch.start_frame / recording.sampling_frequency,
        )


def _about_plugins(handoff: Handoff) -> dict[str, str]:
    """Describe the metrics of other packages, with their units."""
    found = handoff.units.metadata.get("plugin_metrics", {})
    units = {name: f" [{about['unit']}]" if about["unit"] else "" for name, about in found.items()}
    return {name: f"{about['description']}{units[name]}" for name, about in found.items()}


def _add_units(pynwb: Any, file: Any, handoff: Handoff, clock: ExportClock) -> None:
    recording, fs = handoff.recording, handoff.recording.sampling_frequency
    if handoff.units.N == 0:
        return
    file.units = pynwb.misc.Units(
        name="units",
        description="Units of spikelab; waveforms are means over centred spikes, in microvolts.",
        electrode_table=file.electrodes,
        resolution=1 / fs,
        waveform_rate=float(fs),
        waveform_unit="microvolts",
        **_peak_time(pynwb, handoff),
    )
    columns, about = _columns(handoff), ABOUT | _about_plugins(handoff)
    for name in columns:
        file.add_unit_column(name, about.get(name, name.replace("_", " ")))
    file.add_unit_column("main_electrode", "row of the main channel in the table of electrodes")
    intervals = clock.spans(np.concatenate(_of_each_epoch(live_parts, recording)))
    groups, everywhere = file.electrodes["group"], list(range(recording.n_channels))
    for row, (unit, frames) in enumerate(zip(handoff.trains.unit_ids, handoff.trains.samples, strict=True)):
        file.add_unit(
            id=int(unit),
            spike_times=clock.seconds(frames),
            obs_intervals=intervals,
            electrodes=everywhere,
            electrode_group=groups[int(handoff.main_channels[row])],
            main_electrode=int(handoff.main_channels[row]),
            **{name: values[row] for name, values in columns.items()},
        )
    for name, description, values in (
        ("waveform_mean", "mean waveform on every electrode, in microvolts", handoff.templates),
        ("waveform_sd", "standard deviation of the averaged waveforms, in microvolts", _stds(handoff)),
    ):
        if values is not None:
            file.units.add_column(name=name, description=description, data=pynwb.H5DataIO(values, **COMPRESSION))


def _columns(handoff: Handoff) -> dict[str, list[Any]]:
    """List the columns of the table that are known of every unit."""
    columns = handoff.columns().items()
    return {name: values for name, values in columns if name not in NOT_COLUMNS and None not in values}


def _peak_time(pynwb: Any, handoff: Handoff) -> dict[str, float]:
    """Return the time of the spike in the waveform, for versions of the standard that have a field for it."""
    name = "waveform_time_before_peak_in_ms"
    if not hasattr(pynwb.misc.Units, name):
        return {}
    return {name: handoff.n_before * 1000 / handoff.recording.sampling_frequency}


def _stds(handoff: Handoff) -> FloatArray | None:
    """Stack the standard deviations of all units, NaN where one is not known; None where none is."""
    if not handoff.template_stds:
        return None
    stds = np.full_like(handoff.templates, np.nan)
    for row, unit in enumerate(handoff.units.unit_ids):
        if unit in handoff.template_stds:
            stds[row] = handoff.template_stds[unit]
    return None if np.isnan(stds).all() else stds


def _add_dead_time(file: Any, recording: BinaryRecording, clock: ExportClock) -> None:
    """Add the periods of dead time as invalid times, each within one epoch."""
    for start, end in clock.spans(np.concatenate(_of_each_epoch(within, recording))):
        file.add_invalid_time_interval(start_time=start, stop_time=end, tags=["dead time"])


def _of_each_epoch(
    part: Callable[[IntArray, int, int], IntArray], recording: BinaryRecording
) -> list[NDArray[np.int64]]:
    """Apply a function of dead time to the frames of each epoch."""
    return [part(recording.dead_time, epoch.start_frame, epoch.end_frame) for epoch in recording.epochs]


def _add_pulses(pynwb: Any, file: Any, recording: BinaryRecording, clock: ExportClock) -> None:
    """Add the stimulation pulses as a table of intervals; nothing where there are none."""
    pulses = recording.pulses
    if not len(pulses):
        return
    table = pynwb.epoch.TimeIntervals(
        name=PULSES,
        description="Onsets of stimulation pulses; how long each lasted is not known: an interval is one sample.",
    )
    table.add_column("site", "which site was stimulated; empty where nobody named it")
    for (start, end), site in zip(
        clock.spans(np.column_stack([pulses.frames, pulses.frames + 1])), pulses.sites, strict=True
    ):
        table.add_interval(start_time=start, stop_time=end, site=pulses.names[site])
    file.add_time_intervals(table)


def _add_traces(pynwb: Any, file: Any, recording: BinaryRecording, clock: ExportClock) -> None:
    module = file.create_processing_module("ecephys", "filtered traces")
    filtered = pynwb.ecephys.FilteredEphys()
    module.add(filtered)  # first: what refers to the electrodes must be in the file that has them
    region = file.create_electrode_table_region(list(range(recording.n_channels)), "all channels")
    series = pynwb.ecephys.ElectricalSeries(
        name="filtered",
        description="Band-pass filtered traces that were sorted; epochs are where they are broken.",
        data=pynwb.H5DataIO(recording.counts, chunks=True, **COMPRESSION),
        electrodes=region,
        **_times_of_frames(pynwb, recording, clock),
        conversion=recording.gain_uv * MICROVOLTS_TO_VOLTS,
        filtering="zero-phase Butterworth band-pass",
    )
    filtered.add_electrical_series(series)


def _times_of_frames(pynwb: Any, recording: BinaryRecording, clock: ExportClock) -> dict[str, Any]:
    """Return the first time and the rate, or the time of every frame where frames are missing between the epochs."""
    if not clock.is_of_source or len(recording.epochs) == 1:
        return {"rate": float(clock.rates_hz[0]), "starting_time": float(clock.starts_s[0])}
    from hdmf.data_utils import GenericDataChunkIterator

    class FrameTimes(GenericDataChunkIterator):  # type: ignore[misc]  # hdmf has no types
        """Times in s, computed as they are written."""

        def _get_data(self, selection: tuple[slice]) -> NDArray[np.float64]:
            return clock.seconds(np.arange(selection[0].start, selection[0].stop))

        def _get_maxshape(self) -> tuple[int]:
            return (recording.n_samples,)

        def _get_dtype(self) -> np.dtype[np.float64]:
            return np.dtype(np.float64)

    return {"timestamps": pynwb.H5DataIO(FrameTimes(), **COMPRESSION)}
