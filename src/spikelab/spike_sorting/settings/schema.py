"""Configuration of a sort: one dataclass per stage.

A field is set by attribute (``config.curation.snr_min = 4``), by flat keyword (``KILOSORT4.override(snr_min=4)``, which
copies) or from TOML. Values are stored as given, and checked at the start of a sort; the log tells earlier, where they
are given, what the sort would refuse.
"""

# ruff: noqa: RUF009  option() declares a dataclass field

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spikelab.spike_sorting.settings.constraints import (
    BOOLEAN,
    COUNT,
    DEVICE,
    INDEX,
    LIMITS,
    LOG_NAME,
    MEMORY,
    MERGE_PARAMETERS,
    NAMES,
    NOT_NEGATIVE,
    NUMBER,
    PARAMETERS,
    PATH,
    POSITIVE,
    TEXT,
    THRESHOLD,
    either,
    list_of,
    named,
    nullable,
    number,
    one_of,
)
from spikelab.spike_sorting.settings.fields import option, settings_group
from spikelab.spike_sorting.settings.figure_schema import FigureConfig as FigureConfig
from spikelab.spike_sorting.settings.keywords import assign, changed
from spikelab.spike_sorting.settings.recording_schema import AnyPath
from spikelab.spike_sorting.settings.recording_schema import RecordingConfig as RecordingConfig
from spikelab.spike_sorting.settings.validation import tell_illegal


@settings_group
@dataclass
class SorterConfig:
    """Choice and parameters of the spike sorter."""

    def __post_init__(self) -> None:
        tell_illegal(self)

    sorter_name: str = option("kilosort2", "Name of the sorter; list_sorters() has them.", TEXT)
    sorter_path: AnyPath | None = option(None, "Source folder of the sorter (Kilosort2).", PATH, flat="kilosort_path")
    sorter_params: dict[str, Any] | None = option(
        None, "The sorter's own parameters, on top of its defaults.", PARAMETERS, flat="kilosort_params"
    )
    use_docker: bool | str = option(
        False,
        "Run the sorter in its container: True, 'docker', 'singularity', or the image to run.",
        either(BOOLEAN, TEXT),
    )


@settings_group
@dataclass
class RTSortConfig:
    """RT-Sort (van der Molen, Lim et al. 2024, doi:10.1371/journal.pone.0312438), where it is the sorter.

    To learn takes most of the time: ``detection_window_s`` learns from the beginning alone and sorts all. Memory hardly
    grows with the length of either. What was learnt is applied to another recording with ``model_path``.
    """

    def __post_init__(self) -> None:
        tell_illegal(self)

    model_path: AnyPath | None = option(
        None,
        "Folder of a detection model, or of a saved RTSort to apply; None: the bundled model of `probe`.",
        PATH,
        flat="rt_sort_model_path",
    )
    probe: str = option("mea", "Bundled detection model.", one_of("mea", "neuropixels"), flat="rt_sort_probe")
    device: str = option(
        "cuda",
        "Where the detection runs; on the CPU, which the log says, where PyTorch or the GPU is missing.",
        DEVICE,
        flat="rt_sort_device",
    )
    num_processes: int | None = option(
        None, "Workers, at most one per core; None: as many as n_jobs.", nullable(COUNT), flat="rt_sort_num_processes"
    )
    recording_window_ms: tuple[float, float] | None = option(
        None,
        "Part of the recording to sort; None sorts all of it.",
        nullable(list_of(NUMBER, "(start, end) in milliseconds", length=2)),
        "ms",
        flat="rt_sort_recording_window_ms",
    )
    save_rt_sort_pickle: bool = option(
        True,
        "Keep the RTSort object in stages/sorting/rt_sort, to use its sequences again.",
        BOOLEAN,
        flat="rt_sort_save_pickle",
    )
    delete_inter: bool = option(
        False,
        "Delete RT-Sort's files in the intermediate folder once the results have them.",
        BOOLEAN,
        flat="rt_sort_delete_inter",
    )
    verbose: bool = option(True, "Report progress while sorting.", BOOLEAN, flat="rt_sort_verbose")
    params: dict[str, Any] | None = option(
        None,
        "Parameters of detect_sequences, on top of the defaults; sorter_params come on top of these.",
        PARAMETERS,
        flat="rt_sort_params",
    )
    detection_window_s: float | None = option(
        None, "Find sequences in the first seconds only.", nullable(POSITIVE), "s", flat="rt_sort_detection_window_s"
    )


@settings_group
@dataclass
class WaveformConfig:
    """Waveforms, templates and the metrics computed from them.

    With ``streaming`` memory grows with the templates and not with the spikes. Without it the averaged waveforms of all
    units stay in memory: of 400 units, 1018 channels and 300 waveforms each, 40 GB. ``save_waveform_files`` takes as
    much disk; :func:`.sort_recording` writes these files where they stay (``delete_inter=False``) or are read.
    """

    def __post_init__(self) -> None:
        tell_illegal(self)

    ms_before: float = option(2.0, "Template window before the peak.", POSITIVE, "ms", flat="waveforms_ms_before")
    ms_after: float = option(2.0, "Template window after the peak.", POSITIVE, "ms", flat="waveforms_ms_after")
    pos_peak_thresh: float = option(
        2.0,
        "A unit is positive if its maximum is at least this many times its minimum's size.",
        number(0, finite=False),
    )
    max_waveforms_per_unit: int = option(300, "Spikes averaged into a template, at most.", COUNT)
    compiled_ms_before: float = option(
        2.0,
        "Compiled window before the peak; at most ms_before.",
        NOT_NEGATIVE,
        "ms",
        flat="compiled_waveforms_ms_before",
    )
    compiled_ms_after: float = option(
        2.0, "Compiled window after the peak; at most ms_after.", NOT_NEGATIVE, "ms", flat="compiled_waveforms_ms_after"
    )
    scale_compiled_waveforms: bool = option(
        True, "Compiled waveforms are in microvolts; otherwise in the file's counts.", BOOLEAN
    )
    std_at_peak: bool = option(True, "std_norm is that at the peak; otherwise its mean over a window.", BOOLEAN)
    std_over_window_ms_before: float = option(0.5, "That window, before the peak.", NOT_NEGATIVE, "ms")
    std_over_window_ms_after: float = option(1.5, "That window, after the peak.", NOT_NEGATIVE, "ms")
    streaming: bool = option(
        True, "Keep one chunk and the running templates in memory, no more.", BOOLEAN, flat="streaming_waveforms"
    )
    save_waveform_files: bool = option(True, "Write the waveforms of each unit to a file.", BOOLEAN)
    si_quality_metrics: bool = option(
        False, "Compute SpikeInterface's quality metrics as well; they are named si_*.", BOOLEAN, in_repr=False
    )
    plugin_metrics: list[str] | None = option(
        None, "Metrics of other packages to compute, by name; None for all that are installed.", NAMES, in_repr=False
    )


@settings_group
@dataclass
class CurationConfig:
    """Which units are kept: two rounds of thresholds, each of which None disables."""

    def __post_init__(self) -> None:
        tell_illegal(self)

    curate_first: bool = option(True, "Do the first round: spikes, rate, ISI violations, SNR.", BOOLEAN)
    curate_second: bool = option(True, "Do the second round: spikes, normalised deviation.", BOOLEAN)
    curation_epoch: int | None = option(
        None, "Compute the metrics on this epoch only; None on all of the recording.", nullable(INDEX)
    )
    fr_min: float | None = option(0.05, "Smallest firing rate.", THRESHOLD, "Hz")
    isi_viol_max: float | None = option(
        0.01,
        "Largest rate of ISI violations (intervals below 1.5 ms); 0.01 is 1 % of the spikes.",
        THRESHOLD,
        "fraction",
    )
    isi_violation_method: str = option(
        "percent",
        "Violations per spike, per chance (Hill et al. 2011), or per spike as far as they are certain.",
        one_of("percent", "hill", "certain"),
    )
    snr_min: float | None = option(5.0, "Smallest signal-to-noise ratio on the main channel.", THRESHOLD)
    spikes_min_first: int | None = option(30, "Fewest spikes, first round.", nullable(INDEX))
    spikes_min_second: int | None = option(50, "Fewest spikes, second round.", nullable(INDEX))
    std_norm_max: float | None = option(1.0, "Largest deviation of the waveform relative to its amplitude.", THRESHOLD)
    significance_min: float | None = option(
        None,
        "Least significance: by how much the spikes are more than noise makes of their size. Where the sorter measured "
        "it too (RT-Sort), the larger of both counts.",
        THRESHOLD,
        "standard deviations",
        in_repr=False,
    )
    metric_limits: dict[str, Any] | None = option(
        None,
        "After both rounds, lowest and highest value of further metrics: any column of numbers of unit_metrics.csv, "
        "such as {'si_presence_ratio': [0.8, None]}; None for no limit.",
        LIMITS,
        in_repr=False,
    )
    merge_duplicates: bool = option(
        False,
        "After both rounds, merge the units that are one neuron found twice. Spikes of a unit that a larger one holds "
        "besides its own are taken out of the larger one.",
        BOOLEAN,
        in_repr=False,
    )
    merge_duplicates_params: dict[str, Any] | None = option(
        None,
        "Parameters of SpikeData.curate_by_merge_duplicates, on top of its defaults.",
        nullable(named(MERGE_PARAMETERS)),
        in_repr=False,
    )


@settings_group
@dataclass
class ValidationConfig:
    """How right the sort is: known neurons are put into the recording, and it is sorted again."""

    def __post_init__(self) -> None:
        tell_illegal(self)

    validate: bool = option(False, "Validate the sort: each unit gets an expected accuracy.", BOOLEAN)
    validation_units: int | None = option(
        None,
        "Neurons that are put in at once; None: 0.2 of the units that were found, at least 6.",
        nullable(number(4, integer=True)),
    )
    validation_rounds: int = option(1, "Times that the recording is sorted again, with other neurons in it.", COUNT)
    sort_again: int | list[str] = option(
        0,
        "Sort again, and tell how far each unit is found again (agreement): so often with other seeds, or by each of "
        "these sorters with their defaults; the sort's own has its settings and another seed.",
        either(INDEX, list_of(TEXT, "a list of names", minimum=1)),
    )


@settings_group
@dataclass
class CompilationConfig:
    """Files written beside the SpikeData."""

    def __post_init__(self) -> None:
        tell_illegal(self)

    compile_single_recording: bool = option(True, "Write compiled files at all.", BOOLEAN)
    compile_to_mat: bool = option(False, "Write sorted.mat.", BOOLEAN)
    compile_to_npz: bool = option(True, "Write sorted.npz.", BOOLEAN)
    compile_waveforms: bool = option(False, "Write the waveforms of the units, by polarity.", BOOLEAN)
    save_electrodes: bool = option(True, "Compiled units carry their electrode.", BOOLEAN)
    save_spike_times: bool = option(True, "Compiled units carry their spike train.", BOOLEAN)
    save_raw_pkl: bool = option(False, "Also save the SpikeData before curation.", BOOLEAN)
    save_dl_data: bool = option(False, "Compiled units carry main channel, peaks, amplitudes, deviations.", BOOLEAN)


@settings_group
@dataclass
class ExecutionConfig:
    """How the pipeline runs: workers, memory, what is done again, what happens on failure."""

    def __post_init__(self) -> None:
        tell_illegal(self)

    n_jobs: int = option(8, "Workers; the results do not depend on it.", COUNT)
    total_memory: str | int = option(
        "16G",
        "Most memory of the process that sorts: libraries, workers and results together, without mapped files, the "
        "recordings of the caller, and sorters in processes of their own. What cannot be done with it is refused with "
        "the least that can; the results do not depend on it.",
        MEMORY,
    )
    use_parallel_processing_for_raw_conversion: bool = option(
        True, "Write the binary recording with all workers; otherwise with one.", BOOLEAN
    )
    save_script: bool = option(False, "Write a script that repeats the call.", BOOLEAN)
    out_file: AnyPath = option("sort_with_kilosort2.out", "Name of the log in the results folder.", LOG_NAME)
    random_seed: int = option(1, "Seed of everything random, the sorter included.", number(0, 2**32 - 1, integer=True))
    recompute_recording: bool = option(False, "Do the recording and all after it again.", BOOLEAN)
    recompute_sorting: bool = option(False, "Do the sorting and all after it again.", BOOLEAN)
    reextract_waveforms: bool = option(False, "Do the waveforms and all after them again.", BOOLEAN)
    recurate_first: bool = option(False, "Do the curation, from its first round on, again.", BOOLEAN)
    recurate_second: bool = option(False, "Do the curation, from its second round on, again.", BOOLEAN)
    recompile_single_recording: bool = option(False, "Do the compilation and the figures again.", BOOLEAN)
    delete_inter: bool = option(True, "Delete the large intermediate files in the end.", BOOLEAN)
    on_failure: str = option(
        "raise",
        "After a batch: raise SortBatchError, or return None for failures.",
        one_of("raise", "skip"),
        in_repr=False,
    )
    resource_retries: int = option(2, "Further tries, with smaller batches, at most.", INDEX, in_repr=False)
    sorter_timeout_s: float | None = option(
        None, "End the sorter after this long without sign of life.", nullable(POSITIVE), "s", in_repr=False
    )


@settings_group
@dataclass
class SortingPipelineConfig:
    """All settings of a sort, by group.

    Examples
    --------
    >>> from spikelab.spike_sorting.config import KILOSORT4, SortingPipelineConfig
    >>> SortingPipelineConfig.from_kwargs(snr_min=4).curation.snr_min
    4
    >>> config = KILOSORT4.override(snr_min=4, n_jobs=2)
    >>> config.curation.snr_min, KILOSORT4.curation.snr_min
    (4, 5.0)
    """

    recording: RecordingConfig = field(default_factory=RecordingConfig)
    sorter: SorterConfig = field(default_factory=SorterConfig)
    rt_sort: RTSortConfig = field(default_factory=RTSortConfig)
    waveform: WaveformConfig = field(default_factory=WaveformConfig)
    curation: CurationConfig = field(default_factory=CurationConfig)
    compilation: CompilationConfig = field(default_factory=CompilationConfig)
    figures: FigureConfig = field(default_factory=FigureConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig, repr=False)

    @classmethod
    def from_kwargs(cls, **kwargs: Any) -> SortingPipelineConfig:
        """Build a configuration from flat keywords, with defaults for the rest; raises as `override` does."""
        return cls().override(**kwargs)

    def override(self, **kwargs: Any) -> SortingPipelineConfig:
        """Return a copy with the settings that flat keywords name replaced; this one stays as it is.

        A value that a sort would refuse is stored as given; a warning in the log says what is expected.

        Raises
        ------
        TypeError
            For an unknown keyword, or one setting given under two names.
        """
        config = changed(self, kwargs)
        tell_illegal(*(getattr(config, group) for group in assign(type(self), kwargs)))
        return config
