"""Backend that finds no spikes: it takes those that another program found, from its folder or file."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from spikelab.spike_sorting.backends.base import StandardBackend, check_param_names, seed_from
from spikelab.spike_sorting.backends.imported.clock import CUTS_WITHIN, trains_of
from spikelab.spike_sorting.backends.imported.deflections import without_deflection
from spikelab.spike_sorting.backends.imported.reading import read_units
from spikelab.spike_sorting.backends.imported.units import some
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from spikeinterface import BaseRecording, BaseSorting

    from spikelab.spike_sorting.backends.imported.units import ImportedUnits
    from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains

logger = logging.getLogger(__name__)
PARAMS = ("folder", "keep")
CUTS = (*CUTS_WITHIN, "first_n_mins", "end_time_s")
MOST_OUTSIDE = 0.01  # of the spikes, in a recording that may be the one that was sorted
LARGEST_RATE_DIFFERENCE = 1e-3  # amplifiers are off by 1e-4 at most; other rates differ by more
MOST_FLAT = 0.5  # of the units


class ImportedBackend(StandardBackend):
    """Take units from a folder or file of another program.

    ``sorter_params``: ``folder``, and ``keep``, the labels of the units that are taken (all by default).
    """

    sorter_label: ClassVar[str] = "imported"
    sorts_groups_apart: ClassVar[bool] = False

    @cached_property
    def units(self) -> ImportedUnits:
        """Units in the folder, those with the labels that are wanted."""
        params = self.config.sorter.sorter_params or {}
        units = read_units(Path(params["folder"]), trust=self.config.recording.trust_input)
        return units.labelled(params["keep"]) if params.get("keep") else units

    def finds_anew(self) -> bool:
        """Tell that no units are looked for."""
        return False

    def check_settings(self) -> None:
        """Raise ValueError for unknown parameters, and for a folder that no units can be read from."""
        params = self.config.sorter.sorter_params or {}
        check_param_names(self.sorter_label, PARAMS, params)
        if not isinstance(params.get("folder"), str | Path):
            raise ValueError(  # noqa: TRY004  a setting is missing
                "'folder' in sorter_params must be the folder or file of the units; see spikelab import"
            )
        keep = params.get("keep")
        if not (keep is None or (isinstance(keep, list | tuple) and all(isinstance(label, str) for label in keep))):
            raise ValueError(f"'keep' in sorter_params must be a list of labels such as ['good'], got {keep!r}")
        try:
            n_units = len(self.units.ids)
        except OSError as error:
            raise ValueError(str(error)) from error
        if not n_units:
            raise ValueError(f"{params['folder']} has no unit with a spike")

    def key(self) -> dict[str, Any]:
        """Get the content of what is imported, in the place of its folder, which may be moved."""
        keep = (self.config.sorter.sorter_params or {}).get("keep")
        return {"sorter_params": {"keep": keep}, "units": self.units.content()}

    def sort(
        self,
        recording: BaseRecording,
        rec_path: Any,  # noqa: ARG002 - part of the interface
        recording_dat_path: Path,
        output_folder: Path,  # noqa: ARG002 - nothing to keep
    ) -> BaseSorting:
        """Take the spikes; ValueError where they cannot be of this recording, a warning where they may not be."""
        binary, units = self.ensure_binary(recording, recording_dat_path), self.units
        self._require_rate(binary)
        self._doubt_channels(binary)
        trains = trains_of(units, binary, self.config.recording)
        self._require_length(trains, binary)
        trains = self.clean_trains(trains, binary)
        if units.empty:
            logger.warning(
                "%d units of %s have no spikes and are left out: %s", len(units.empty), units.path, some(units.empty)
            )
        self._doubt_deflections(trains, binary)
        logger.info(
            "imported: %d units, %d spikes of %s, %s", trains.n_units, sum(map(len, trains.samples)), units.kind,
            units.path,
        )  # fmt: skip
        return trains.to_spikeinterface(binary.sampling_frequency)

    def _require_rate(self, binary: BinaryRecording) -> None:
        units, fs = self.units, binary.sampling_frequency
        if units.rate is not None and abs(units.rate / fs - 1) > LARGEST_RATE_DIFFERENCE:
            raise ValueError(
                f"the units of {units.path} were sorted at {units.rate:g} Hz, and the recording has {fs:g} Hz: it is "
                "not the recording that was sorted, or its rate is read wrongly"
            )

    def _doubt_channels(self, binary: BinaryRecording) -> None:
        units = self.units
        if units.n_channels and binary.n_channels not in units.n_channels and not self.config.recording.bad_channels:
            warn(
                f"the units of {units.path} were sorted on {' of '.join(map(str, sorted(set(units.n_channels))))} "
                f"channels, and the recording has {binary.n_channels}: is it the recording that was sorted?"
            )

    def _require_length(self, trains: SpikeTrains, binary: BinaryRecording) -> None:
        """Refuse spikes of a longer recording; a few at the end, or in pieces that were cut off, are told."""
        outside = sum(int(((train < 0) | (train >= binary.n_samples)).sum()) for train in trains.samples)
        if any(getattr(self.config.recording, name) for name in CUTS) or not outside:
            return
        n_spikes = sum(map(len, trains.samples))
        if outside > MOST_OUTSIDE * n_spikes:
            last = max(float(train[-1]) for train in self.units.times)
            reach = last if self.units.in_seconds else last / binary.sampling_frequency
            raise ValueError(
                f"{outside} of {n_spikes} spikes of {self.units.path} are outside of the recording, which lasts "
                f"{binary.duration_s:g} s; they reach to {reach:g} s: it is not the recording that was sorted"
            )

    def _doubt_deflections(self, trains: SpikeTrains, binary: BinaryRecording) -> None:
        flat, n_seen = without_deflection(trains, binary, seed_from(None, self.config.execution.random_seed))
        if n_seen and len(flat) > MOST_FLAT * n_seen:
            warn(
                f"the traces show nothing at the spikes of {len(flat)} of {n_seen} units of {self.units.path}: it may "
                "be the wrong recording, or one that starts at another time, or has other channels"
            )
        elif flat:
            logger.info("the traces show nothing at the spikes of %d of %d units: %s", len(flat), n_seen, some(flat))
