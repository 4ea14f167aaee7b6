"""Settings of the recording, a group of the configuration."""

# ruff: noqa: RUF009  option() declares a dataclass field

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from spikelab.spike_sorting.settings.constraints import (
    BOOLEAN,
    COUNT,
    DTYPE,
    INDEX,
    NOT_NEGATIVE,
    NUMBER,
    PATH,
    POSITIVE,
    STIMULATION,
    TEXT,
    Constraint,
    either,
    list_of,
    nullable,
    number,
    one_of,
    text,
)
from spikelab.spike_sorting.settings.fields import option, settings_group
from spikelab.spike_sorting.settings.validation import tell_illegal
from spikelab.system.json_files import without_arrays

AnyPath: TypeAlias = str | Path


# Of SpikeInterface, which is not imported here.
MOTION_PRESETS = (
    "dredge", "medicine", "dredge_fast", "nonrigid_accurate", "nonrigid_fast_and_accurate", "rigid_fast",
    "kilosort_like",
)  # fmt: skip


PERIODS = "a list of (start, end) in seconds"
TIMES = ("stim_times_s", "artifacts")  # fields that may be arrays


def _pairs(item: Constraint, sentence: str) -> Constraint:
    return nullable(list_of(list_of(item, "(start, end)", length=2), sentence))


@settings_group
@dataclass
class RecordingConfig:
    """Loading and preprocessing of the recording."""

    def __post_init__(self) -> None:
        tell_illegal(self)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; arrays of times, which are often computed, become lists."""
        super().__setattr__(name, without_arrays(value) if name in TIMES else value)

    stream_id: str | None = option(
        None, "Stream (well) to load from a multi-stream file, by id or name.", nullable(TEXT)
    )
    hdf5_plugin_path: AnyPath | None = option(
        None, "Folder of the HDF5 filter plugin; put into HDF5_PLUGIN_PATH before any file is opened.", PATH
    )
    first_n_mins: float | None = option(
        None, "Keep the first minutes, before any other cut.", nullable(POSITIVE), "min"
    )
    mea_y_max: float | None = option(
        None, "Flip the contacts' y axis: y becomes this value - y; -1 takes the largest y.", nullable(NUMBER), "um"
    )
    gain_to_uv: float | None = option(None, "Microvolts per count; replaces the file's.", nullable(POSITIVE), "uV")
    offset_to_uv: float | None = option(None, "Microvolts at count 0; replaces the file's.", nullable(NUMBER), "uV")
    rec_chunks: list[tuple[int, int]] | None = option(
        [],
        "Pieces of the recording to keep, ascending; excludes every cut by time.",
        _pairs(number(integer=True), "a list of (start, end) in whole frames"),
        "frames",
    )
    rec_chunks_s: list[tuple[float, float]] | None = option(
        [], "Pieces of the recording to keep, ascending.", _pairs(NUMBER, PERIODS), "s"
    )
    start_time_s: float | None = option(None, "Drop what comes before this time.", nullable(NUMBER), "s")
    end_time_s: float | None = option(None, "Drop what comes after this time.", nullable(NUMBER), "s")
    freq_min: float = option(300, "Lower edge of the band-pass filter.", POSITIVE, "Hz")
    freq_max: float = option(6000, "Upper edge of the band-pass filter; below half the sampling rate.", POSITIVE, "Hz")
    rec_name: str | None = option(
        None, "Recording to load from a Maxwell file with several.", nullable(TEXT), in_repr=False
    )
    electrical_series_path: str | None = option(
        None, "ElectricalSeries to load from an NWB file that holds several.", nullable(TEXT), in_repr=False
    )
    probe_path: AnyPath | None = option(
        None,
        "Probe file with the contacts of the channels: json of probeinterface, a table (csv, tsv), or a prb file.",
        PATH,
        in_repr=False,
    )
    sampling_frequency: float | None = option(
        None, "Sampling rate of a headerless binary file.", nullable(POSITIVE), "Hz", in_repr=False
    )
    num_channels: int | None = option(None, "Channels of a headerless binary file.", nullable(COUNT), in_repr=False)
    dtype: str | None = option(None, "Number type of a headerless binary file.", nullable(DTYPE), in_repr=False)
    common_reference: str | None = option(
        None, "Over the channels, subtracted from each.", nullable(one_of("median", "average")), in_repr=False
    )
    reference_by: str = option(
        "group",
        "Channels over which common_reference is taken: those of the 'group' that is sorted together, of the 'shank', "
        "'all', or, for each channel, those 40 to 140 um away ('local').",
        one_of("group", "shank", "all", "local"),
        in_repr=False,
    )
    spatial_filter: str | None = option(
        None,
        "Along each column of electrodes, before the reference: 'highpass' removes what many channels have in common, "
        "also where it changes along the column (stripes).",
        nullable(one_of("highpass")),
        in_repr=False,
    )
    bad_channels: str | list[str | int] | None = option(
        None,
        "Channels that record no neurons: 'auto' finds them, a list names their ids.",
        nullable(either(text("auto", "'auto'"), list_of(either(TEXT, INDEX), "a list of channel ids"))),
        in_repr=False,
    )
    bad_channels_action: str = option(
        "drop",
        "What is done with bad_channels: 'drop' leaves them out, 'interpolate' replaces them by those around them, and "
        "leaves out those that have none.",
        one_of("drop", "interpolate"),
        in_repr=False,
    )
    phase_shift: str | bool = option(
        "auto",
        "Bring channels that are sampled one after the other (Neuropixels) to the same time: 'auto' where the "
        "recording says when each is sampled and nobody did it before, True only such recordings, False never.",
        either(text("auto", "'auto'"), BOOLEAN),
        in_repr=False,
    )
    stim_times_s: str | Path | list[Any] | dict[str, list[float]] | None = option(
        None,
        "Times of stimulation pulses, which are removed, from the first frame before any cut: a list, lists by site, a "
        "file (csv, txt, npy) with a column of times and perhaps one of sites, or 'auto' for the events that the "
        "recording holds; of several recordings a list with one of these, or None, for each.",
        STIMULATION,
        "s",
        in_repr=False,
    )
    artifacts: str | list[tuple[float, float]] | None = option(
        None,
        "Periods of artefact (saturation, stimulation, a touch of the rig) to leave out as dead time: 'auto' finds "
        "those where many channels jump or stand still at once, a list names them, before any cut. The filter does "
        "not ring there, sorters see nothing there, and rates count the time that is left.",
        nullable(either(text("auto", "'auto'"), list_of(list_of(NUMBER, "(start, end)", length=2), PERIODS))),
        "s",
        in_repr=False,
    )
    electrode_groups: str = option(
        "auto",
        "Sort probes, shanks and groups that are apart each on its own ('auto'), or all channels 'together'.",
        one_of("auto", "together"),
        in_repr=False,
    )
    motion: str | None = option(
        None,
        "Movement of the tissue along a probe: 'estimate' measures it and changes nothing, 'correct' moves the traces "
        "back by it as well, and so does one of SpikeInterface's presets with its own estimate.",
        nullable(one_of("estimate", "correct", *MOTION_PRESETS)),
        in_repr=False,
    )
    days: str = option(
        "same",
        "Files of a folder: all have the 'same' electrodes, or those that they share are sorted ('shared').",
        one_of("same", "shared"),
        in_repr=False,
    )
    rate_tolerance_ppm: float = option(
        10.0, "Largest difference of sampling rates between files of a folder.", NOT_NEGATIVE, "ppm", in_repr=False
    )
    trust_input: bool = option(
        False,
        "Follow what the input names: any class and pickle of a SpikeInterface folder or zarr store, files outside of "
        "its folder. Such an input can run any program.",
        BOOLEAN,
        in_repr=False,
    )

    @property
    def removes_common(self) -> bool:
        """Whether what channels have in common is gone before the sorter, which then need not subtract it."""
        return self.common_reference is not None or self.spatial_filter is not None
