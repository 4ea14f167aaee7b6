"""Curation criteria: metrics of spike trains and waveforms, and thresholds on them.

Every ``curate_by_*`` function takes a :class:`~spikelab.spikedata.SpikeData` and returns the units that pass, with
``{"metric": (N,), "passed": (N,) bool}`` over the units it was given. A NaN metric fails; a threshold of None passes
every unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from spikelab.spike_sorting._exceptions import EmptyWaveformMetricsError
from spikelab.spikedata import _counting, _epochs
from spikelab.spikedata._base import CriterionResult
from spikelab.spikedata._dead_time import live_ms
from spikelab.spikedata._history import build_curation_history
from spikelab.spikedata._merge import curate_by_merge_duplicates
from spikelab.spikedata._waveform_metrics import compute_waveform_metrics, waveform_metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spikedata._base import BaseSpikeData, Data

# Neuron attributes that say how surely a unit is more than noise: the sort's own, and that of the sorter.
SIGNIFICANCES = ("significance", "sorter_significance")

__all__ = [
    "CriterionResult",
    "build_curation_history",
    "compute_waveform_metrics",
    "curate",
    "curate_by_firing_rate",
    "curate_by_isi_violations",
    "curate_by_merge_duplicates",
    "curate_by_min_spikes",
    "curate_by_significance",
    "curate_by_snr",
    "curate_by_std_norm",
    "isi_violations",
]


def curate_by_min_spikes(sd: Data, min_spikes: int | None = 30) -> tuple[Data, CriterionResult]:
    """Keep units with at least `min_spikes` spikes.

    Parameters
    ----------
    sd : SpikeData
    min_spikes : int, optional

    Returns
    -------
    SpikeData, dict
        ``metric`` is the number of spikes.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> kept, result = SpikeData([[10, 11, 400], [35]], length=1000).curate_by_min_spikes(2)
    >>> result["metric"].tolist(), result["passed"].tolist()
    ([3, 1], [True, False])
    """
    return _keep(sd, sd.spike_counts, np.greater_equal, min_spikes)


def curate_by_firing_rate(sd: Data, min_rate_hz: float | None = 0.05) -> tuple[Data, CriterionResult]:
    """Keep units with a mean rate of at least `min_rate_hz` over the whole length without dead time.

    Parameters
    ----------
    sd : SpikeData
    min_rate_hz : float, optional
        In Hz.

    Returns
    -------
    SpikeData, dict
        ``metric`` is the rate in Hz; 0 where the data have no length.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> kept, result = SpikeData([[10, 400], [35]], length=1000).curate_by_firing_rate(2)
    >>> result["metric"].tolist(), result["passed"].tolist()
    ([2.0, 1.0], [True, False])
    """
    return _keep(sd, _counting.rates(sd, "Hz"), np.greater_equal, min_rate_hz)


def curate_by_isi_violations(
    sd: Data,
    max_violation: float | None = 0.01,
    threshold_ms: float = 1.5,
    min_isi_ms: float = 0.0,
    method: Literal["percent", "hill", "certain"] = "percent",
) -> tuple[Data, CriterionResult]:
    """Keep units with few intervals shorter than the refractory period.

    Intervals that cross an epoch boundary (``metadata["rec_chunks_ms"]``) or dead time (``metadata["dead_time_s"]``)
    are not counted.

    Parameters
    ----------
    sd : SpikeData
    max_violation : float, optional
        Highest metric that passes.
    threshold_ms : float, default 1.5
        An interval below it is a violation.
    min_isi_ms : float, default 0.0
        Shorter intervals than this one are not counted (the sorter's own censored period).
    method : {"percent", "hill", "certain"}
        ``"percent"``: violations / spikes, a fraction. ``"hill"``: the estimated rate of the contaminating spikes over
        the unit's, violations / (2 n threshold_s) / (n / duration_s) (Hill et al. 2011, J. Neurosci. 31, 8699).
        ``"certain"``: the lower end of the 95 % interval (Clopper and Pearson 1934) of the fraction: one violation of
        30 spikes is 0.033, of which 0.002 are certain.

    Returns
    -------
    SpikeData, dict
        ``metric`` is 0 for a unit with fewer than two spikes.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> kept, result = SpikeData([[10, 11, 400, 800], [35]], length=1000).curate_by_isi_violations(0.1)
    >>> result["metric"].tolist(), result["passed"].tolist()
    ([0.25, 0.0], [False, True])
    """
    return _keep(sd, isi_violations(sd, threshold_ms, min_isi_ms, method), np.less_equal, max_violation)


def isi_violations(
    sd: BaseSpikeData,
    threshold_ms: float = 1.5,
    min_isi_ms: float = 0.0,
    method: Literal["percent", "hill", "certain"] = "percent",
) -> NDArray[np.float64]:
    """Compute the violations of the refractory period per unit, shape (N,); see :func:`curate_by_isi_violations`.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> from spikelab.spikedata.curation import isi_violations
    >>> isi_violations(SpikeData([[10, 11, 400, 800], [35]], length=1000)).tolist()
    [0.25, 0.0]
    """
    if method not in ("percent", "hill", "certain"):
        raise ValueError(f"method must be one of {{'percent', 'hill', 'certain'}}, got {method!r}")
    if not threshold_ms > 0:
        raise ValueError(f"'threshold_ms' must be a positive number of ms, got {threshold_ms}")
    starts = _epochs.starts_ms(sd.metadata)
    violations = np.array(
        [_epochs.count_short_intervals(times, threshold_ms, min_isi_ms, starts) for times in sd.train], dtype=np.float64
    )
    counts = np.maximum(sd.spike_counts, 1)  # no spike, no violation: 0 / 1
    fraction: NDArray[np.float64] = violations / counts
    if method == "percent":
        return fraction
    if method == "certain":
        from scipy.special import betaincinv

        # Of the one-sided test at 5 per cent; without a violation nothing is certain.
        certain = betaincinv(np.maximum(violations, 1), counts - violations + 1, 0.05)
        return np.where(violations > 0, certain, 0.0)
    return fraction * (live_ms(sd) / 1000) / (2 * counts * threshold_ms / 1000)


def curate_by_snr(
    sd: Data, min_snr: float | None = 5.0, ms_before: float = 1.0, ms_after: float = 2.0
) -> tuple[Data, CriterionResult]:
    """Keep units whose amplitude is at least `min_snr` times the noise of their main channel.

    Parameters
    ----------
    sd : SpikeData
    min_snr : float, optional
    ms_before, ms_after : float
        Window in ms, used where the ratio is computed from `raw_data`.

    Returns
    -------
    SpikeData, dict
        ``metric`` is the neuron attribute ``snr`` where every unit has it, else computed from `raw_data`.

    Raises
    ------
    EmptyWaveformMetricsError
        There are neither the attributes nor raw data.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> sd = SpikeData([[10], [35]], length=100, neuron_attributes=[{"snr": 8.0}, {"snr": 3.0}])
    >>> kept, result = sd.curate_by_snr(5)
    >>> result["passed"].tolist()
    [True, False]
    """
    metric = waveform_metric(sd, "snr", required=min_snr is not None, ms_before=ms_before, ms_after=ms_after)
    return _keep(sd, metric, np.greater_equal, min_snr)


def curate_by_significance(sd: Data, min_significance: float | None = 8.0) -> tuple[Data, CriterionResult]:
    """Keep units whose spikes are more than noise makes of their size.

    Parameters
    ----------
    sd : SpikeData
    min_significance : float, optional
        In standard deviations. Units of noise reach 6 at most: the best of 10^9 tries.

    Returns
    -------
    SpikeData, dict
        ``metric`` is the neuron attribute ``significance``, which a sort measures on the filtered traces, or
        ``sorter_significance`` where a sorter measured that by the noise that it knows, and it is larger: noise that
        electrodes share hides a unit from the one more than from the other.

    Raises
    ------
    EmptyWaveformMetricsError
        Not every unit has the attribute ``significance``.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> sd = SpikeData([[10], [35]], length=100, neuron_attributes=[{"significance": 31.0}, {"significance": 0.4}])
    >>> kept, result = sd.curate_by_significance(8)
    >>> result["passed"].tolist()
    [True, False]
    """
    known = [[values.get(name, np.nan) for name in SIGNIFICANCES] for values in sd.unit_attributes]
    metric = np.fmax.reduce(np.array(known, dtype=np.float64).reshape(-1, len(SIGNIFICANCES)), axis=1)
    if min_significance is not None and not all("significance" in values for values in sd.unit_attributes):
        raise EmptyWaveformMetricsError(
            "significance is unknown: not every unit has the neuron attribute 'significance', which a sort measures on "
            "the filtered recording (reextract_waveforms=True for results of an earlier version); or leave this "
            "criterion out (None)",
            metric_name="significance",
        )
    return _keep(sd, metric, np.greater_equal, min_significance)


def curate_by_std_norm(
    sd: Data,
    max_std_norm: float | None = 1.0,
    at_peak: bool = True,
    window_ms_before: float = 0.5,
    window_ms_after: float = 1.5,
    ms_before: float = 1.0,
    ms_after: float = 2.0,
) -> tuple[Data, CriterionResult]:
    """Keep units whose waveforms vary little: standard deviation / amplitude on the main channel.

    Parameters
    ----------
    sd : SpikeData
    max_std_norm : float, optional
    at_peak : bool, default True
        Deviation at the peak; else its mean from `window_ms_before` before to `window_ms_after` after the peak.
    window_ms_before, window_ms_after : float
        In ms.
    ms_before, ms_after : float
        Window of the waveforms in ms. This and the three above are used where the ratio is computed from `raw_data`.

    Returns
    -------
    SpikeData, dict
        ``metric`` is the neuron attribute ``std_norm`` where every unit has it, else computed from `raw_data`.

    Raises
    ------
    EmptyWaveformMetricsError
        There are neither the attributes nor raw data.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> sd = SpikeData([[10], [35]], length=100, neuron_attributes=[{"std_norm": 0.3}, {"std_norm": 1.5}])
    >>> kept, result = sd.curate_by_std_norm(1)
    >>> result["passed"].tolist()
    [True, False]
    """
    metric = waveform_metric(
        sd,
        "std_norm",
        required=max_std_norm is not None,
        ms_before=ms_before,
        ms_after=ms_after,
        at_peak=at_peak,
        window_ms_before=window_ms_before,
        window_ms_after=window_ms_after,
    )
    return _keep(sd, metric, np.less_equal, max_std_norm)


def curate(
    sd: Data,
    min_spikes: int | None = None,
    min_rate_hz: float | None = None,
    isi_max: float | None = None,
    isi_threshold_ms: float = 1.5,
    isi_min_ms: float = 0.0,
    isi_method: Literal["percent", "hill", "certain"] = "percent",
    min_snr: float | None = None,
    max_std_norm: float | None = None,
    std_at_peak: bool = True,
    std_window_ms_before: float = 0.5,
    std_window_ms_after: float = 1.5,
    snr_ms_before: float = 1.0,
    snr_ms_after: float = 2.0,
) -> tuple[Data, dict[str, CriterionResult]]:
    """Apply several criteria, each to the units that passed those before it.

    The order is spike_count, firing_rate, isi_violation, snr, std_norm; a threshold of None leaves its criterion out.

    Parameters
    ----------
    sd : SpikeData
    min_spikes, min_rate_hz, isi_max, min_snr, max_std_norm : float, optional
        Thresholds, see the ``curate_by_*`` functions, as for all other parameters.
    isi_threshold_ms, isi_min_ms, isi_method
        Of :func:`curate_by_isi_violations`.
    std_at_peak, std_window_ms_before, std_window_ms_after
        Of :func:`curate_by_std_norm`.
    snr_ms_before, snr_ms_after
        Window of the waveforms for both waveform criteria.

    Returns
    -------
    SpikeData, dict
        The result of each applied criterion by name; its arrays cover the units that reached the criterion.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> sd = SpikeData([[10, 30], [35], [5, 9]], length=100, neuron_attributes=[{"snr": x} for x in (8.0, 9.0, 3.0)])
    >>> kept, results = sd.curate(min_spikes=2, min_snr=5)
    >>> kept.unit_ids, results["snr"]["metric"].tolist()
    ([0], [8.0, 3.0])
    """
    results: dict[str, CriterionResult] = {}
    if min_spikes is not None:
        sd, results["spike_count"] = curate_by_min_spikes(sd, min_spikes)
    if min_rate_hz is not None:
        sd, results["firing_rate"] = curate_by_firing_rate(sd, min_rate_hz)
    if isi_max is not None:
        sd, results["isi_violation"] = curate_by_isi_violations(sd, isi_max, isi_threshold_ms, isi_min_ms, isi_method)
    if min_snr is not None:
        sd, results["snr"] = curate_by_snr(sd, min_snr, snr_ms_before, snr_ms_after)
    if max_std_norm is not None:
        sd, results["std_norm"] = curate_by_std_norm(
            sd, max_std_norm, std_at_peak, std_window_ms_before, std_window_ms_after, snr_ms_before, snr_ms_after
        )
    return sd, results


def _keep(
    sd: Data, metric: NDArray[np.float64] | NDArray[np.int64], compare: np.ufunc, threshold: float | None
) -> tuple[Data, CriterionResult]:
    """Keep the units whose metric passes the comparison with the threshold; all where there is no threshold."""
    passed = np.ones(sd.N, bool) if threshold is None else compare(metric, threshold)
    return sd.subset(np.flatnonzero(passed)), {"metric": metric, "passed": passed}
