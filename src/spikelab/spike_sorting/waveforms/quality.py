"""SpikeInterface's quality metrics, computed on aligned spikes, main channels and the filtered binary."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.data.dead_time import live_frames, live_parts
from spikelab.system.extras import lacking
from spikelab.system.runlog import captured_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, Waveforms

logger = logging.getLogger(__name__)

EXTENSIONS = ("random_spikes", "templates", "noise_levels", "spike_amplitudes", "spike_locations")
PRESENCE_BIN_S = 60.0  # SpikeInterface's

# Extensions that add up chunks: their last digits depend on the order in which workers finish, so one worker does it.
SUMMED = ("templates", "noise_levels")


def require_pandas() -> None:
    """EnvironmentSortFailure where pandas, in which SpikeInterface collects the metrics, is not installed."""
    if missing := lacking("pandas"):
        raise EnvironmentSortFailure(f"si_quality_metrics needs {missing}")


def quality_metric_names() -> list[str]:
    """List the metrics that :func:`compute_quality_metrics` computes; imports SpikeInterface's metrics."""
    from spikeinterface.metrics.quality.misc_metrics import misc_metrics_list

    return [column for metric in misc_metrics_list for column in metric.metric_columns]


def compute_quality_metrics(
    recording: BinaryRecording,
    waveforms: Waveforms,
    *,
    ms_before: float = 2.0,
    ms_after: float = 2.0,
    seed: int = 0,
    n_jobs: int = 1,
) -> dict[str, dict[int, float]]:
    """Compute all metrics of SpikeInterface that need no principal components, with its default parameters.

    Every epoch is a segment, so that no interval and no window crosses a boundary; rates and presence count live time
    only, where the recording has dead time. The metrics depend on the seed and
    not on the number of workers. EnvironmentSortFailure if pandas is not installed.

    Returns
    -------
    dict of str to dict of int to float
        Name of the metric -> unit id -> value; NaN where SpikeInterface has no value.
    """
    require_pandas()
    import spikeinterface.metrics
    import spikeinterface.postprocessing  # noqa: F401
    from spikeinterface.core import create_sorting_analyzer, get_noise_levels

    trains = SpikeTrains(waveforms.unit_ids, waveforms.spikes)
    job: dict[str, Any] = {"n_jobs": n_jobs, "pool_engine": "thread", "progress_bar": False}
    alone = job | {"n_jobs": 1}
    with captured_warnings() as caught, np.errstate(all="ignore"):
        analyzer = create_sorting_analyzer(
            trains.to_segments(recording.sampling_frequency, recording.epochs),
            recording.to_segments(),
            format="memory",
            main_channel_indices=waveforms.main_channels,
            sparsity_kwargs={"method": "radius", "radius_um": 100.0},
            job_kwargs=job,
        )
        window = {"ms_before": ms_before, "ms_after": ms_after}
        parameters: dict[str, dict[str, Any]] = {
            "random_spikes": {"seed": seed},
            "templates": window,
            "noise_levels": {"random_slices_kwargs": {"seed": seed}},
        }
        for name in EXTENSIONS:
            analyzer.compute(name, **parameters.get(name, {}), **(alone if name in SUMMED else job))
        # sd_ratio measures noise on random pieces: they are drawn here, seeded, and the recording keeps the result.
        get_noise_levels(analyzer.recording, method="std", random_slices_kwargs={"seed": seed}, **alone)
        live = _live_periods(recording, len(waveforms.unit_ids)) if len(recording.dead_time) else None
        analyzer.compute("quality_metrics", skip_pc_metrics=True, periods=live, seed=seed, **job)
        table = analyzer.get_extension("quality_metrics").get_data()
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        logger.debug("SpikeInterface: %s", message)
    columns = {
        str(name): {int(unit): float(value) for unit, value in zip(table.index, table[name], strict=True)}
        for name in table.columns
    }
    if live is not None:  # SpikeInterface counts a bin between two periods, in which no unit is
        columns["presence_ratio"] = _presence(recording, waveforms)
    return columns


def _live_periods(recording: BinaryRecording, n_units: int) -> NDArray[np.void]:
    """List the live parts of every epoch for every unit, as SpikeInterface takes them."""
    from spikeinterface.core.base import unit_period_dtype

    rows = [
        (segment, start - epoch.start_frame, end - epoch.start_frame, unit)
        for segment, epoch in enumerate(recording.epochs)
        for start, end in live_parts(recording.dead_time, epoch.start_frame, epoch.end_frame).tolist()
        for unit in range(n_units)
    ]
    return np.array(rows, dtype=unit_period_dtype)


def _presence(recording: BinaryRecording, waveforms: Waveforms) -> dict[int, float]:
    """Share of the whole bins of live time in which a unit fires; NaN where there is no whole bin."""
    n_live = live_frames(recording.dead_time, 0, recording.n_samples)
    width = round(PRESENCE_BIN_S * recording.sampling_frequency)
    ends, lengths = recording.dead_time[:, 1], np.diff(recording.dead_time)[:, 0]
    dead_before = np.append(0, np.cumsum(lengths))
    presence = {}
    for unit, frames in zip(waveforms.unit_ids.tolist(), waveforms.spikes, strict=True):
        bins = np.unique((frames - dead_before[np.searchsorted(ends, frames, side="right")]) // width)
        presence[unit] = int((bins < n_live // width).sum()) / (n_live // width) if n_live >= width else math.nan
    return presence
