"""Read contacts from a probe file, check them, and attach them to the channels that they are wired to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.probe_prb import read_prb
from spikelab.spike_sorting.recording.probe_tables import ENDINGS, ContactTable, read_contacts
from spikelab.spike_sorting.recording.read_errors import list_some, reading
from spikelab.system.quoting import printable
from spikelab.system.runlog import warn
from spikelab.system.texts import brief, parse_json, read_text, shortened

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

NOT_WIRED = -1
EXPECTED = (
    "a probe file of probeinterface (json, as write_probeinterface writes it), a table with the columns channel, x and "
    "y (csv, tsv), or a prb file"
)


def read_probe(path: Path) -> Any:
    """Read a probe file as a ``ProbeGroup``, or a ``ContactTable``; a ValueError says what it lacks.

    By the ending of its name it is a table (csv, tsv, txt), a prb file, or json of probeinterface.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no probe file {path}")
    ending = path.suffix.lower()
    if ending in ENDINGS:
        return read_contacts(path)
    with reading(path, "as a probe file"):
        group = read_prb(path) if ending == ".prb" else _read_json(path)
        if group.get_contact_count() == 0:
            raise ValueError(f"{path} has no contacts")
        for probe in group.probes:
            positions = np.asarray(probe.contact_positions, dtype=np.float64)
            if positions.ndim != 2 or not np.isfinite(positions).all():
                raise ValueError(f"{path} has contacts whose positions are not numbers: {positions.tolist()[:3]} ...")
    return group


def _read_json(path: Path) -> Any:
    from probeinterface import ProbeGroup

    content = parse_json(read_text(path, EXPECTED), printable(str(path)))
    if not isinstance(content, dict) or content.get("specification") != "probeinterface" or "probes" not in content:
        keys = f"an object with {list_some(list(content))}" if content and isinstance(content, dict) else brief(content)
        raise ValueError(f"{path} holds {shortened(keys)}; expected {EXPECTED}")
    return ProbeGroup.from_dict(content)


def attach(recording: BaseRecording, group: Any, path: Path) -> BaseRecording:
    """Select the wired channels of `recording` and attach the contacts of `group`, which was read from `path`."""
    n_channels = recording.get_num_channels()
    if isinstance(group, ContactTable):
        group = group.wired(recording)
    if not all(probe.device_channel_indices is not None for probe in group.probes):
        _wire_by_position(group, n_channels, path)
    with reading(path, "as a probe file"):
        wiring = group.get_global_device_channel_indices()["device_channel_indices"]
        _require_wiring(wiring, n_channels, path)
        if (wiring != NOT_WIRED).sum() < n_channels:
            return recording.select_channels_with_probegroup(group)
        # Of all channels SpikeInterface makes a clone, and one of a recording in memory has no channel ids.
        wrapped = recording.select_channels(recording.channel_ids)
        wrapped.set_probegroup(group, check_overlap=False)
        return wrapped


def unattached(recording: BaseRecording) -> BaseRecording:
    """Return the recording whose channels :func:`attach` selected: the reader of its file, with all frames of it."""
    from spikeinterface.core import ChannelSliceRecording

    if not isinstance(recording, ChannelSliceRecording):
        return recording
    read: BaseRecording = recording.get_parent()
    return read


def _wire_by_position(group: Any, n_channels: int, path: Path) -> None:
    """Wire contact 0 to channel 0, and so on, where no probe is wired and there are as many contacts as channels."""
    n_contacts = group.get_contact_count()
    unwired = [i for i, probe in enumerate(group.probes) if probe.device_channel_indices is None]
    if len(unwired) < len(group.probes):
        raise ValueError(
            f"{path} does not say to which channels the contacts of probe {', '.join(map(str, unwired))} are wired, "
            f"and says it of {len(group.probes) - len(unwired)} of its {len(group.probes)} probes: set "
            "device_channel_indices of every probe in the probe file"
        )
    if n_contacts != n_channels:
        raise ValueError(
            f"{path} has {n_contacts} contacts and does not say which channel each is wired to, but the "
            f"recording has {n_channels} channels: set device_channel_indices in the probe file"
        )
    warn(
        f"{path} does not say which channel each contact is wired to: they are taken to be in the order of the "
        f"{n_channels} channels. Amplifiers and adapters change that order often: set device_channel_indices in the "
        "probe file"
    )
    group.set_global_device_channel_indices(np.arange(n_contacts))


def _require_wiring(wiring: NDArray[np.int64], n_channels: int, path: Path) -> None:
    wired = wiring[wiring != NOT_WIRED]
    if not len(wired):
        raise ValueError(f"{path} wires no contact to a channel")
    if wired.max() >= n_channels:
        raise ValueError(
            f"{path} wires a contact to channel {wired.max()}, but the recording has {n_channels} channels"
        )
    if wired.min() < 0:
        raise ValueError(f"{path} wires a contact to channel {wired.min()}; {NOT_WIRED} stands for none")
    channels, counts = np.unique(wired, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"{path} wires {counts.max()} contacts to channel {channels[counts.argmax()]}")
