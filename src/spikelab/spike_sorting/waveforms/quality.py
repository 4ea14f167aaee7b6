"""SpikeInterface's quality metrics, computed on aligned spikes, main channels and the filtered binary."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.system.extras import lacking
from spikelab.system.runlog import captured_warnings

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import BinaryRecording, Waveforms

logger = logging.getLogger(__name__)

EXTENSIONS = ("random_spikes", "templates", "noise_levels", "spike_amplitudes", "spike_locations")

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

    Every epoch is a segment, so that no interval and no window crosses a boundary. The metrics depend on the seed and
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
        analyzer.compute("quality_metrics", skip_pc_metrics=True, seed=seed, **job)
        table = analyzer.get_extension("quality_metrics").get_data()
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        logger.debug("SpikeInterface: %s", message)
    return {
        str(name): {int(unit): float(value) for unit, value in zip(table.index, table[name], strict=True)}
        for name in table.columns
    }
