"""Signal-to-noise ratio and variability of the waveforms, from attributes or from the traces themselves.

All voltages are in microvolts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikelab.spike_sorting._exceptions import EmptyWaveformMetricsError
from spikelab.spikedata import _epochs
from spikelab.spikedata._windows import MAD_TO_STD, noise_segments, whole_frames

if TYPE_CHECKING:
    from spikelab.spikedata._base import BaseSpikeData, Data

FloatArray = NDArray[np.float64]

POS_PEAK_THRESH = 2.0  # a template is positive where its maximum is this many times the depth of its minimum
SIGNIFICANT = 9  # digits of a rate computed from the times of samples; further digits are rounding errors
NOISE_SEED = 0
MAX_GATHERED = 1 << 23  # values held at once while waveforms are averaged


def waveform_metric(
    sd: BaseSpikeData, name: Literal["snr", "std_norm"], *, required: bool, **window: Any
) -> FloatArray:
    """Return ``snr`` or ``std_norm`` per unit: the neuron attribute where every unit has one, else from the raw data.

    Without either: EmptyWaveformMetricsError where `required`, else NaN.
    """
    if all(name in values for values in sd.unit_attributes):
        return np.array([values[name] for values in sd.unit_attributes], dtype=np.float64)
    if not required and not sd.raw_data.size:
        return np.full(sd.N, np.nan)
    _require_raw_data(sd, name)
    return measure(sd, **window)[1][name]


def _require_raw_data(sd: BaseSpikeData, name: str | None) -> None:
    if sd.raw_data.size == 0 or len(sd.raw_time) < 2:
        raise EmptyWaveformMetricsError(
            f"{name or 'waveform metrics'} cannot be computed: not every unit has the neuron attribute and raw_data is "
            "empty. Attach raw_data (channels, samples) in microvolts, from which compute_waveform_metrics measures "
            "it, or leave this criterion out (None)",
            metric_name=name,
        )


def compute_waveform_metrics(
    sd: Data,
    ms_before: float = 1.0,
    ms_after: float = 2.0,
    at_peak: bool = True,
    window_ms_before: float = 0.5,
    window_ms_after: float = 1.5,
) -> tuple[Data, dict[str, FloatArray]]:
    """Average the waveforms of `raw_data`, measure them on each unit's main channel, and store the result.

    Every spike whose window fits into the data and into its epoch is averaged. The template is positive where its
    maximum is at least twice the depth of its minimum; the main channel has the deepest minimum (highest maximum).

    - snr = amplitude / noise; amplitude = ``max |template|``, noise = median absolute deviation / 0.6745 of 20 random
      chunks of 10 000 samples (0 where the noise is 0).
    - std_norm = population standard deviation at the peak / amplitude, or its mean over the window around the peak
      (inf where the amplitude is 0).

    Parameters
    ----------
    sd : SpikeData
        With `raw_data` in microvolts.
    ms_before, ms_after : float
        Window of the waveforms in ms: ``int(ms_before * fs / 1000) + int(ms_after * fs / 1000) + 1`` samples at fs in
        Hz, as in the pipeline.
    at_peak : bool, default True
        Whether std_norm is taken at the peak.
    window_ms_before, window_ms_after : float
        Window around the peak in ms for ``at_peak=False``.

    Returns
    -------
    SpikeData
        The object itself, which has now the neuron attributes channel, template, template_full, template_windowed,
        template_peak_ind, amplitude, amplitudes, peak_inds, has_pos_peak, snr, std_norm, std_norms_all. A unit without
        a fitting window keeps its attributes but for snr and std_norm, which are NaN.
    dict
        ``snr`` and ``std_norm``, arrays of shape (N,).

    Raises
    ------
    EmptyWaveformMetricsError
        There are no raw data.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> traces = [[0.0] * 200 + [-50.0] + [0.0] * 300]  # one channel at 20 kHz
    >>> measured, metrics = SpikeData([[10]], raw_data=traces, raw_time=20).compute_waveform_metrics()
    >>> measured.neuron_attributes[0]["amplitude"]
    50.0
    """
    attributes, metrics = measure(sd, ms_before, ms_after, at_peak, window_ms_before, window_ms_after)
    sd.neuron_attributes = attributes
    return sd, metrics


def measure(
    sd: BaseSpikeData,
    ms_before: float = 1.0,
    ms_after: float = 2.0,
    at_peak: bool = True,
    window_ms_before: float = 0.5,
    window_ms_after: float = 1.5,
) -> tuple[list[dict[str, Any]], dict[str, FloatArray]]:
    """Return the attributes and metrics of :func:`compute_waveform_metrics`, and store nothing."""
    _require_raw_data(sd, None)
    rate = rate_hz(sd)
    n_before, n_after, std_before, std_after = (
        whole_frames(ms, rate) for ms in (ms_before, ms_after, window_ms_before, window_ms_after)
    )
    noise = noise_levels(sd.raw_data)
    attributes: list[dict[str, Any]] = []
    for times, values in zip(sd.train, sd.unit_attributes, strict=True):
        frames = _fitting_frames(sd, times, n_before, n_after)
        if len(frames) == 0:
            attributes.append({**values, "snr": np.nan, "std_norm": np.nan})
            continue
        mean, std = mean_and_std(sd.raw_data, frames, n_before, n_after)
        around = None if at_peak else (std_before, std_after)
        attributes.append({**values, "template_peak_ind": n_before, **_describe(mean, std, noise, around)})
    return attributes, {
        key: np.array([values[key] for values in attributes], dtype=np.float64) for key in ("snr", "std_norm")
    }


def rate_hz(sd: BaseSpikeData) -> float:
    """Return the sampling rate of `raw_data`; the exact rate of the recording where the two agree."""
    steps = np.diff(sd.raw_time)
    gaps = steps[steps > 1.5 * np.median(steps)]
    hz = 1000.0 * (len(steps) - len(gaps)) / (sd.raw_time[-1] - sd.raw_time[0] - gaps.sum())
    known = sd.metadata.get("fs_Hz")
    if isinstance(known, int | float) and math.isclose(known, hz, rel_tol=10.0**-SIGNIFICANT):
        return float(known)
    return float(f"{hz:.{SIGNIFICANT}g}")


def noise_levels(traces: NDArray[Any]) -> FloatArray:
    """Compute the noise per channel: MAD / 0.6745 over 20 random segments (seeded), or over all where shorter."""
    frames = np.concatenate([np.arange(start, end) for start, end in noise_segments(traces.shape[1], NOISE_SEED)])
    levels = np.empty(len(traces))
    for channel, trace in enumerate(traces):
        sample = trace[frames].astype(np.float64)
        levels[channel] = np.median(np.abs(sample - np.median(sample))) / MAD_TO_STD
    return levels


def _fitting_frames(sd: BaseSpikeData, times: FloatArray, n_before: int, n_after: int) -> NDArray[np.int64]:
    """Find the raw samples nearest to `times`, without those whose window leaves the data or its epoch."""
    clock = sd.raw_time
    right = np.clip(np.searchsorted(clock, times), 1, len(clock) - 1)
    frames = np.where(times - clock[right - 1] <= clock[right] - times, right - 1, right)
    frames = frames.astype(np.int64)[(frames >= n_before) & (frames + n_after < len(clock))]
    starts = _epochs.starts_ms(sd.metadata)
    if starts is None:
        return frames
    first, last = clock[frames - n_before], clock[frames + n_after]
    fitting: NDArray[np.int64] = frames[_epochs.epoch_of(first, starts) == _epochs.epoch_of(last, starts)]
    return fitting


def mean_and_std(
    traces: NDArray[Any], frames: NDArray[np.int64], n_before: int, n_after: int
) -> tuple[FloatArray, FloatArray]:
    """Compute mean and population standard deviation of the windows around `frames`, both (samples, channels)."""
    offsets = np.arange(-n_before, n_after + 1)
    reference = traces[:, frames[0] + offsets].astype(np.float64)  # subtracted, so that the squares do not cancel
    total, squares = np.zeros_like(reference), np.zeros_like(reference)
    step = max(1, MAX_GATHERED // reference.size)
    for i in range(0, len(frames), step):
        windows = traces[:, frames[i : i + step, None] + offsets] - reference[:, None]
        total += windows.sum(axis=1)
        squares += np.einsum("csw,csw->cw", windows, windows)
    mean = total / len(frames)
    variance = np.maximum(squares / len(frames) - mean**2, 0)
    return (reference + mean).T, np.sqrt(variance).T


def _describe(
    mean: FloatArray, std: FloatArray, noise: FloatArray, around_peak: tuple[int, int] | None
) -> dict[str, Any]:
    """Compute the attributes of one template; `around_peak` are the samples over which std_norm is averaged."""
    positive = bool(mean.max() >= POS_PEAK_THRESH * abs(mean.min()))
    main = int(np.argmax(mean.max(axis=0)) if positive else np.argmin(mean.min(axis=0)))
    peaks = np.argmax(np.abs(mean), axis=0)
    channels = np.arange(mean.shape[1])
    amplitudes = np.abs(mean[peaks, channels])
    if around_peak is None:
        deviations = std[peaks, channels]
    else:
        before, after = around_peak
        deviations = np.array(
            [std[max(0, peak - before) : peak + after + 1, channel].mean() for channel, peak in enumerate(peaks)]
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        std_norms = np.where(amplitudes > 0, deviations / amplitudes, np.inf)
    template = mean.astype(np.float32)
    return {
        "channel": main,
        "template": template,
        "template_full": template,
        "template_windowed": template,
        "amplitude": float(amplitudes[main]),
        "amplitudes": amplitudes,
        "peak_inds": peaks,
        "has_pos_peak": positive,
        "snr": float(amplitudes[main] / noise[main]) if noise[main] > 0 else 0.0,
        "std_norm": float(std_norms[main]),
        "std_norms_all": std_norms,
    }
