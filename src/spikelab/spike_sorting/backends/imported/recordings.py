"""Find the recording that units of another program were sorted from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.backends.imported.nwb import is_nwb
from spikelab.spike_sorting.backends.imported.phy import channel_map, channel_positions, is_phy
from spikelab.spike_sorting.backends.imported.phy_params import PARAMS, places_of, read_params
from spikelab.spike_sorting.backends.imported.reading import kind_of
from spikelab.spike_sorting.backends.imported.spikeinterface_units import is_analyzer
from spikelab.spike_sorting.recording.formats import HEADERLESS, HEADERLESS_SUFFIXES, file_format
from spikelab.spike_sorting.recording.readers import electrical_series
from spikelab.spike_sorting.recording.trust import vet_description, vet_store
from spikelab.system.json_files import plain, read_object

if TYPE_CHECKING:
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.backends.imported.phy_params import PhyParams

PROBE_FILE = "imported_probe.json"
HOW = "give it: --recording FILE, or recording=..."


@dataclass(frozen=True)
class FoundRecording:
    """A recording, and the settings that describe it.

    Attributes
    ----------
    source : Path or BaseRecording
    settings : dict
        Flat keywords for what a binary file without a header does not say.
    probe : probeinterface.ProbeGroup or None
        Places of its channels, to be written to a file for the setting ``probe_path``.
    """

    source: Any
    settings: dict[str, Any] = field(default_factory=dict)
    probe: Any = None


def find_recording(units: Path, recording: Any = None, *, trust: bool = False) -> FoundRecording:
    """Find the recording of the units at a path, or what the folder says of a `recording` that is given.

    Raises
    ------
    FileNotFoundError
        If the recording is not where the folder says.
    ValueError
        If the folder does not say where it is, or it could run a program.
    """
    kind_of(units)
    if recording is not None:
        return _given(units, recording)
    if is_phy(units):
        return _of_params(units, read_params(units))
    if is_analyzer(units):
        return FoundRecording(_of_analyzer(units, trust=trust))
    if is_nwb(units) and electrical_series(units):
        return FoundRecording(units)
    raise ValueError(f"{units} does not say which recording its units were sorted from; {HOW}")


def _given(units: Path, recording: Any) -> FoundRecording:
    """Take the recording that somebody gave; of a binary file without a header the folder says what it holds."""
    if not isinstance(recording, str | Path):
        return FoundRecording(recording)
    path = Path(recording)
    if is_phy(units) and path.is_file() and path.name.lower().endswith(HEADERLESS_SUFFIXES):
        params = read_params(units)
        if file_format(path) is HEADERLESS and params.n_channels is not None:
            return _binary(units, [path], params)
    return FoundRecording(path)


def _of_params(folder: Path, params: PhyParams) -> FoundRecording:
    if not params.dat_paths:
        named = "has no params.py" if not (folder / PARAMS).is_file() else f"names no recording in {PARAMS}"
        raise ValueError(f"{folder} {named}; {HOW}")
    return _binary(folder, [_there(folder, named) for named in params.dat_paths], params)


def _there(folder: Path, named: str) -> Path:
    found = next((place for place in places_of(folder, named) if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{folder / PARAMS} names the recording {named!r}, which is neither there nor in {folder} or the folders "
            f"above it; {HOW}"
        )
    return found


def _binary(folder: Path, paths: list[Path], params: PhyParams) -> FoundRecording:
    """Describe a binary file without a header by what the folder says; others open by themselves."""
    if len(paths) == 1 and paths[0].suffix.lower() == ".bin" and paths[0].with_suffix(".meta").is_file():
        return _of_spikeglx(paths[0])
    missing = [name for name in ("n_channels", "dtype", "sample_rate") if getattr(params, name) is None]
    if missing:
        raise ValueError(f"{folder / PARAMS} does not say the {', '.join(missing)} of {paths[0]}; {HOW}")
    settings = {
        "sampling_frequency": params.sample_rate,
        "num_channels": params.n_channels,
        "dtype": params.dtype,
        **_gain(folder, paths),
    }
    probe = _probe(folder, params)
    if len(paths) == 1 and params.offset == 0 and paths[0].name.lower().endswith(HEADERLESS_SUFFIXES):
        return FoundRecording(paths[0], settings, probe)
    return FoundRecording(_in_memory(paths, params, probe))


def _gain(folder: Path, paths: list[Path]) -> dict[str, float]:
    """Read the microvolts per count of traces that an export of this package put into the folder."""
    record = folder / "spikelab.json"
    if not record.is_file() or any(path.parent != folder for path in paths):
        return {}
    gain = read_object(record).get("gain_to_uv")
    return {"gain_to_uv": float(gain)} if isinstance(gain, int | float) else {}


def _of_spikeglx(path: Path) -> FoundRecording:
    """Name the stream of a file of SpikeGLX, whose header is beside it: run_g0_t0.imec0.ap.bin."""
    stream = ".".join(path.stem.split(".")[1:])
    return FoundRecording(path.parent, {"stream_id": stream} if stream else {})


def _in_memory(paths: list[Path], params: PhyParams, probe: Any) -> BaseRecording:
    """Open files that have a header of some bytes, or of which there are several, one after the other."""
    from spikeinterface.core import BinaryRecordingExtractor

    recording = BinaryRecordingExtractor(
        [str(path) for path in paths],
        sampling_frequency=params.sample_rate,
        dtype=params.dtype,
        num_channels=params.n_channels,
        file_offset=params.offset,
        channel_ids=[str(channel) for channel in range(params.n_channels or 0)],
    )
    return recording if probe is None else recording.select_channels_with_probegroup(probe)


def _probe(folder: Path, params: PhyParams) -> Any:
    """Make the probe of the sorted channels; None where the folder does not say where they are."""
    from probeinterface import Probe, ProbeGroup

    places = channel_positions(folder)
    if places is None:
        return None
    channels = channel_map(folder)
    channels = np.arange(len(places)) if channels is None else channels
    if len(channels) != len(places):
        raise ValueError(f"{folder}: channel_map.npy has {len(channels)} channels, channel_positions {len(places)}")
    if len(channels) and not 0 <= channels.min() <= channels.max() < (params.n_channels or 0):
        raise ValueError(
            f"{folder}: channel_map.npy has channel {channels.max()}, and {PARAMS} says {params.n_channels} channels; "
            "maps of MATLAB that count from 1 have to be written from 0"
        )
    probe = Probe(ndim=2, si_units="um")
    shanks = folder / "channel_shanks.npy"
    names = np.load(shanks, allow_pickle=False).ravel().astype(int).astype(str) if shanks.is_file() else None
    probe.set_contacts(positions=places, shapes="circle", shape_params={"radius": 5}, shank_ids=names)
    probe.set_device_channel_indices(channels)
    group = ProbeGroup()
    group.add_probe(probe)
    return group


def _of_analyzer(folder: Path, *, trust: bool) -> BaseRecording:
    """Load the recording that an analyzer names."""
    from spikeinterface.core import BaseRecording, load

    file = folder / "recording.json"
    if file.is_file():
        if not trust:
            vet_description(file)
        described: Any = file
    else:
        described = _in_store(folder, trust=trust)
    try:
        recording = load(described, base_folder=folder)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise FileNotFoundError(f"the recording that {folder} names cannot be opened ({error}); {HOW}") from error
    if not isinstance(recording, BaseRecording):
        raise ValueError(f"{folder} names a {type(recording).__name__} as its recording; {HOW}")  # noqa: TRY004
    return recording


def _in_store(folder: Path, *, trust: bool) -> Any:
    """Read the description of the recording in a zarr store; where it is a pickle, only if that is trusted."""
    if (folder / "recording" / ".zarray").is_file():
        import zarr

        if not trust:
            vet_store(folder / "recording")
        content = plain(zarr.open(str(folder), mode="r")["recording"][0])
        if not trust:
            vet_description(folder / "recording", content)
        return content
    if (folder / "recording.pickle").is_file():
        if not trust:
            raise ValueError(
                f"{folder} keeps its recording as a pickle, which can run any program; {HOW}, or trust it with --trust"
            )
        return folder / "recording.pickle"
    raise ValueError(f"{folder} does not say which recording its units were sorted from; {HOW}")
