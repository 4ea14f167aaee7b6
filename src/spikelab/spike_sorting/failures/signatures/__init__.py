"""Table of messages of sorters, drivers and containers, and the failures that they mean, read from top to bottom.

Environment comes before resource and resource before biology, because the first two can strike any recording. Within a
category the more specific signature comes first. Where the same words have several causes, the message lists them with
the likeliest first, and what to check.
"""

from __future__ import annotations

from spikelab.spike_sorting._exceptions import (
    DiskExhaustionError,
    GPUOutOfMemoryError,
    HostOutOfMemoryError,
    InsufficientActivityError,
    NoGoodChannelsError,
    SorterTimeoutError,
)
from spikelab.spike_sorting.failures.signatures import memory_words
from spikelab.spike_sorting.failures.signatures.environment import ENVIRONMENT, LAST_RESORT
from spikelab.spike_sorting.failures.signatures.evidence import (
    kilosort2_all_bad,
    kilosort2_few_spikes,
    kilosort2_not_active,
    kilosort2_one_live_channel,
    rt_sort_no_sequences,
)
from spikelab.spike_sorting.failures.signatures.signature import Signature

__all__ = ["AMBIGUOUS", "CATEGORIES", "LAST_RESORT", "SIGNATURES", "Signature"]

# Sorters with this message; Kilosort 4 has none like it: its failures mean too little activity.
_MATLAB_KILOSORTS = ("kilosort2", "kilosort3", "pykilosort")
_RESOURCE = (
    Signature(
        memory_words.GPU,
        GPUOutOfMemoryError,
        "The GPU ran out of memory. Check first (nvidia-smi) whether another process uses it; then use smaller batches "
        "(Kilosort2: NT, Kilosort4: batch_size, RT-Sort: chunk_values, or rt_sort_device='cpu'), sort less at once, or "
        "raise a very low detection threshold.",
        as_statement=True,
    ),
    Signature(
        memory_words.HOST,
        HostOutOfMemoryError,
        "The host ran out of memory (not the GPU), or the operating system or the cluster killed the sorter for it. "
        "Check first what the other processes of the host or job use; then smaller batches, fewer workers (n_jobs), or "
        "a job with more memory. A very low detection threshold also fills memory.",
        as_statement=True,
    ),
    Signature(
        r"No space left on device|Disk quota exceeded|not enough (?:free )?(?:space on (?:the )?disk|disk space)"
        r"|insufficient disk space|\bdisk (?:is |was )?full\b",
        DiskExhaustionError,
        "A disk is full. Free room where the intermediate folder is, or set intermediate_folders to another disk; "
        "check first df -h of both, and of /tmp.",
    ),
    Signature(
        r"DUE TO TIME LIMIT|CPU time limit exceeded|exit (code|status) (-24|152|-12|140)(?!\d)",
        SorterTimeoutError,
        "The batch system ended the sorter because its time was up. Check first the time limit of the job; then sort "
        "less at once: what is finished is loaded when the same call runs again.",
    ),
)

_LOOK_FIRST = (
    "Check first whether the traces show spikes by eye and are in microvolts: a wrong gain, data type or probe gives "
    "the same error. Otherwise the recording is (nearly) silent, too short, or its detection threshold too high."
)

_BIOLOGY = (
    Signature(
        r"found \d+ bad channels|found 0 good channels",
        NoGoodChannelsError,
        "Kilosort2 flagged every channel as bad. Check first that the traces show spikes by eye and have the right "
        "gain; then minfr_goodchannels (0 keeps all channels).",
        sorters=_MATLAB_KILOSORTS,
        evidence=kilosort2_all_bad,
    ),
    Signature(
        r"found [1-9]\d* bad channels",
        InsufficientActivityError,
        "Kilosort2 found one channel with spikes, and does not sort one alone. Check first that the traces of the "
        "others show spikes by eye and have the right gain; minfr_goodchannels=0 keeps all channels.",
        sorters=_MATLAB_KILOSORTS,
        evidence=kilosort2_one_live_channel,
    ),
    Signature(
        r"invalid configuration argument",
        InsufficientActivityError,
        f"Kilosort2's kernels had (nearly) no spikes or templates to work on. {_LOOK_FIRST}",
        sorters=_MATLAB_KILOSORTS,
        evidence=kilosort2_few_spikes,
    ),
    Signature(
        r"fewer than Nfilt spikes|Undefined function or variable '?W0?'?(?!\w)"
        r"|Subscript indices must either be real positive integers or logicals.*\(?extractTemplatesfromSnippets"
        r"|index is out of range for deletion[^\n]*\s+(?:[^\n]*\n){0,2}[^\n]*triageTemplates",
        InsufficientActivityError,
        f"Kilosort found too few spikes in a batch to make templates from. {_LOOK_FIRST}",
        sorters=_MATLAB_KILOSORTS,
        evidence=kilosort2_not_active,
    ),
    Signature(
        r"(?:must not contain|contains|array is full of) NaNs? or Inf|SVD (?:input )?contains NaN",
        InsufficientActivityError,
        "Kilosort2's whitening or templates became NaN: channels without signal, or batches without spikes, leave "
        f"nothing to divide by. {_LOOK_FIRST}",
        sorters=_MATLAB_KILOSORTS,
        evidence=kilosort2_not_active,
    ),
    Signature(
        r"Found array with 0 sample\(s\)|No spikes detected, cannot continue sorting",
        InsufficientActivityError,
        f"Kilosort4 detected no spikes at all. {_LOOK_FIRST} A low artifact_threshold also discards every batch.",
        {"units_at_failure": 0},
        sorters=("kilosort4",),
    ),
    Signature(
        r"n_samples=(?P<units_at_failure>\d+)\b[^\n]{0,40}\bn_clusters\b",
        InsufficientActivityError,
        f"Kilosort4 detected fewer spikes than it needs to learn its templates from. {_LOOK_FIRST}",
        sorters=("kilosort4",),
    ),
    Signature(
        r"Found array with 0 sample\(s\).*TruncatedSVD|all_peaks\.size / peaks\.size"
        r"|Prototype should have a negative peak|k must be less than or equal to the number of training points",
        InsufficientActivityError,
        f"The sorter detected no spikes. {_LOOK_FIRST}",
        sorters=("simple", "tridesclous2", "lupin", "spykingcircus2"),
    ),
    Signature(
        r"'NoneType' object has no attribute 'sort_offline'",
        InsufficientActivityError,
        f"RT-Sort found no propagation sequence. {_LOOK_FIRST}",
        sorters=("rt_sort",),
    ),
    Signature(
        r"(?<![\d.,])0\b[^\n\d]{0,40}\bpropagation sequences?",
        InsufficientActivityError,
        f"RT-Sort counted no propagation sequence. {_LOOK_FIRST}",
        sorters=("rt_sort",),
        evidence=rt_sort_no_sequences,
    ),
)

# Words that prove nothing alone: they count where the check of the signal, made before the sort, shows no spikes.
AMBIGUOUS = (
    Signature(
        r"invalid configuration argument|K must be less than or equal to N",
        InsufficientActivityError,
        f"Kilosort2's kernels had no spikes or templates to work on, and the data show none. {_LOOK_FIRST}",
        sorters=_MATLAB_KILOSORTS,
    ),
    Signature(
        r"input matrix contained non-finite values|failed to converge",
        InsufficientActivityError,
        f"Kilosort4's whitening or features were not finite, and the data show no spikes. {_LOOK_FIRST}",
        sorters=("kilosort4",),
    ),
)

CATEGORIES: tuple[tuple[Signature, ...], ...] = (ENVIRONMENT, _RESOURCE, _BIOLOGY)
SIGNATURES: tuple[Signature, ...] = tuple(signature for category in CATEGORIES for signature in category)
