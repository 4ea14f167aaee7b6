"""Configuration of a sort (placeholder; being completed)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class RecordingConfig:
    stream_id: Any = None
    hdf5_plugin_path: Any = None
    first_n_mins: Any = None
    mea_y_max: Any = None
    gain_to_uv: Any = None
    offset_to_uv: Any = None
    rec_chunks: Any = field(default_factory=list)
    rec_chunks_s: Any = field(default_factory=list)
    start_time_s: Any = None
    end_time_s: Any = None
    freq_min: Any = 300
    freq_max: Any = 6000


@dataclass
class SorterConfig:
    sorter_name: Any = 'kilosort2'
    sorter_path: Any = None
    sorter_params: Any = None
    use_docker: Any = False


@dataclass
class RTSortConfig:
    model_path: Any = None
    probe: Any = 'mea'
    device: Any = 'cuda'
    num_processes: Any = None
    recording_window_ms: Any = None
    save_rt_sort_pickle: Any = True
    delete_inter: Any = False
    verbose: Any = True
    params: Any = None
    detection_window_s: Any = None


@dataclass
class WaveformConfig:
    ms_before: Any = 2.0
    ms_after: Any = 2.0
    pos_peak_thresh: Any = 2.0
    max_waveforms_per_unit: Any = 300
    compiled_ms_before: Any = 2.0
    compiled_ms_after: Any = 2.0
    scale_compiled_waveforms: Any = True
    std_at_peak: Any = True
    std_over_window_ms_before: Any = 0.5
    std_over_window_ms_after: Any = 1.5
    streaming: Any = True
    save_waveform_files: Any = True


@dataclass
class CurationConfig:
    curate_first: Any = True
    curate_second: Any = True
    curation_epoch: Any = None
    fr_min: Any = 0.05
    isi_viol_max: Any = 0.01
    isi_violation_method: Any = 'percent'
    snr_min: Any = 5.0
    spikes_min_first: Any = 30
    spikes_min_second: Any = 50
    std_norm_max: Any = 1.0


@dataclass
class CompilationConfig:
    compile_single_recording: Any = True
    compile_to_mat: Any = False
    compile_to_npz: Any = True
    compile_waveforms: Any = False
    save_electrodes: Any = True
    save_spike_times: Any = True
    save_raw_pkl: Any = False
    save_dl_data: Any = False


@dataclass
class FigureConfig:
    create_figures: Any = False
    create_unit_figures: Any = False
    dpi: Any = None
    font_size: Any = 12
    bar_x_label: Any = 'Recording'
    bar_y_label: Any = 'Number of Units'
    bar_label_rotation: Any = 0
    bar_total_label: Any = 'First Curation'
    bar_selected_label: Any = 'Selected Curation'
    scatter_std_max_units_per_recording: Any = None
    scatter_recording_colors: Any = field(default_factory=lambda: ['#f74343', '#fccd56', '#74fc56', '#56fcf6', '#1e1efa', '#fa1ed2'])
    scatter_recording_alpha: Any = 1.0
    scatter_x_label: Any = 'Number of Spikes'
    scatter_y_label: Any = 'avg. STD / amplitude'
    scatter_x_max_buffer: Any = 300.0
    scatter_y_max_buffer: Any = 0.2
    templates_color_curated: Any = '#000000'
    templates_color_failed: Any = '#FF0000'
    templates_per_column: Any = 50
    templates_y_spacing: Any = 50.0
    templates_y_lim_buffer: Any = 10.0
    templates_window_ms_before: Any = 5.0
    templates_window_ms_after: Any = 5.0
    templates_line_ms_before: Any = 1.0
    templates_line_ms_after: Any = 4.0
    templates_x_label: Any = 'Time Rel. to Peak (ms)'


@dataclass
class ExecutionConfig:
    n_jobs: Any = 8
    total_memory: Any = '16G'
    use_parallel_processing_for_raw_conversion: Any = True
    save_script: Any = False
    out_file: Any = 'sort_with_kilosort2.out'
    random_seed: Any = 1
    recompute_recording: Any = False
    recompute_sorting: Any = False
    reextract_waveforms: Any = False
    recurate_first: Any = False
    recurate_second: Any = False
    recompile_single_recording: Any = False
    delete_inter: Any = True


@dataclass
class SortingPipelineConfig:
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    sorter: SorterConfig = field(default_factory=SorterConfig)
    rt_sort: RTSortConfig = field(default_factory=RTSortConfig)
    waveform: WaveformConfig = field(default_factory=WaveformConfig)
    curation: CurationConfig = field(default_factory=CurationConfig)
    compilation: CompilationConfig = field(default_factory=CompilationConfig)
    figures: FigureConfig = field(default_factory=FigureConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)

