"""Read contacts from a probe file, check them, and attach them to the channels that they are wired to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.completeness import LARGEST_TABLE
from spikelab.spike_sorting.recording.read_errors import reading
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

NOT_WIRED = -1


def read_probe(path: Path) -> Any:
    """Read a file of probeinterface as a ``ProbeGroup``, and check that it has contacts at possible positions."""
    from probeinterface import read_probeinterface

    if not path.is_file():
        raise FileNotFoundError(f"there is no probe file {path}")
    if path.stat().st_size > LARGEST_TABLE:
        raise ValueError(f"{path} has {path.stat().st_size} bytes: it is not a probe file of probeinterface (json)")
    with reading(path, "as a probe file of probeinterface (json)"):
        group = read_probeinterface(path)
        if group.get_contact_count() == 0:
            raise ValueError(f"{path} has no contacts")
        for probe in group.probes:
            positions = np.asarray(probe.contact_positions, dtype=np.float64)
            if positions.ndim != 2 or not np.isfinite(positions).all():
                raise ValueError(f"{path} has contacts whose positions are not numbers: {positions.tolist()[:3]} ...")
    return group


def attach(recording: BaseRecording, group: Any, path: Path) -> BaseRecording:
    """Select the wired channels of `recording` and attach the contacts of `group`, which was read from `path`."""
    n_channels = recording.get_num_channels()
    if not all(probe.device_channel_indices is not None for probe in group.probes):
        _wire_by_position(group, n_channels, path)
    with reading(path, "as a probe file of probeinterface (json)"):
        _require_wiring(group.get_global_device_channel_indices()["device_channel_indices"], n_channels, path)
        return recording.select_channels_with_probegroup(group)


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
