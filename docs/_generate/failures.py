"""Page of all failures, from classes, signatures and advice: ``python -m docs._generate.failures [FILE]``."""

from __future__ import annotations

import inspect

from docs._generate.pages import write_page

from spikelab.spike_sorting import _exceptions
from spikelab.spike_sorting._exceptions import (
    BiologicalSortFailure,
    ConcurrentSortError,
    DiskExhaustionError,
    DockerEnvironmentError,
    EmptyWaveformMetricsError,
    EnvironmentSortFailure,
    FolderUnusableError,
    GPUOutOfMemoryError,
    GPUUnavailableError,
    HDF5PluginMissingError,
    HostOutOfMemoryError,
    InsufficientActivityError,
    ModelLoadingError,
    NoGoodChannelsError,
    ResourceSortFailure,
    SaturatedSignalError,
    SortBatchError,
    SorterNotInstalledError,
    SorterTimeoutError,
    SpikeSortingClassifiedError,
)
from spikelab.spike_sorting.failures.signatures import SIGNATURES
from spikelab.system.extras import install_command

INTRODUCTION = """\
# Failures

When a sort fails, the error says what was found, what was expected and what to check first. Failures that are
recognised have a class, so that a script can skip, stop or try again without reading messages:

```python
from spikelab.spike_sorting import (
    BiologicalSortFailure,
    EnvironmentSortFailure,
    ResourceSortFailure,
    SortBatchError,
    sort_recording,
)

try:
    (neurons,) = sort_recording(["culture.raw.h5"], sorter="rt_sort")
except BiologicalSortFailure as error:  # there is nothing to sort in this recording
    print("nothing to sort:", error)
except ResourceSortFailure as error:  # memory, disk or time ran out, after retries with smaller batches
    print("try elsewhere:", error)
except EnvironmentSortFailure as error:  # nothing can be sorted here until somebody repairs it
    print("ask whoever keeps this machine:", error)
    raise
```

All are `SpikeSortingClassifiedError`, which is a `RuntimeError`; the original exception is the `__cause__`. What nobody
recognises is raised as it is. The log in the results folder has the whole trace, `log_path` names the sorter's own log,
and `run.json` has every try of the sorter (`attempts`) and how earlier runs in the same folder ended (`earlier_runs`).

## What happens in a batch

| failure | the batch | the same call again | exit code |
|---|---|---|---|
| biological (nothing to sort) | goes on with the next recording | raises it again at once; \
`recompute_sorting` tries again | 10 |
| bad input (`ValueError`, `FileNotFoundError`) | goes on | tries again | 3 |
| resource (out of resources) | the sorter runs again with its batch (`NT`, `batch_size`, `chunk_values`) halved, at \
most `resource_retries` times; then goes on. A full disk is not tried again | tries again | 12 |
| environment (cannot run here) | stops: every further recording with that sorter would fail alike | tries again | 11 |
| a folder that is in use, or cannot be used | goes on | tries again | 11 |
| anything else | goes on | tries again | 1 |

After the batch a `SortBatchError` is raised if anything failed, or, with `on_failure="skip"`, the results are returned
with `None` in the place of what failed. What was sorted is never lost: the same call loads it. On the command line the
gravest of several failures decides the exit code: environment, resource, anything else, bad input, biology.

```python
try:
    results = sort_recording(["day1.raw.h5", "day2.raw.h5"], sorter="rt_sort")
except SortBatchError as error:
    results = error.results  # aligned with the files, None where there is none
    for file, why in error.failures:
        print(file, type(why).__name__, why)
    print("not tried, because the environment is broken:", error.not_attempted)
```

`except*` picks the errors of a batch apart by class. The wells of `sort_multistream` are such a batch; its `results`
are by well.

## Before a sort

Whether a sort can run here is looked at before anything is filtered, in a second or so: the sorter (packages, MATLAB,
model; docker and its image), a GPU where one is needed and memory on it, memory, and room on the disks for the binary
recording, the sorter's scratch and the results. `spikelab doctor` shows the same checks. A run whose sorting is up to
date needs none of it.
"""

BAD_INPUT = """\
## Bad input

`FileNotFoundError`, `ValueError` and `TypeError` are about what was given: a file that is not there, damaged, truncated
or of no known format, a stream that it does not have, a setting that is unknown or impossible, NaN in the traces. The
message names the file or the setting, and a value that works where there is one. Check first whether the program that
wrote the file still opens it, and compare its size with the original's.
"""

CATEGORIES: dict[type[SpikeSortingClassifiedError], str] = {
    BiologicalSortFailure: "Nothing to sort (biological failures)",
    EnvironmentSortFailure: "Environment failures",
    ResourceSortFailure: "Resource failures",
}

# What to do, the first thing to check first.
ADVICE: dict[type[SpikeSortingClassifiedError], str] = {
    InsufficientActivityError: (
        "Look at the traces first (`spikelab inspect`, any viewer): a wrong data type, gain or probe file gives the "
        "same error more often than a silent culture does, and so does a recording that is cut too short. Then lower "
        "the sorter's detection threshold. If it is silent, nothing is to be done."
    ),
    NoGoodChannelsError: (
        "Check first that the traces show spikes by eye and have the right gain. Then lower Kilosort 2's "
        "`minfr_goodchannels`; 0 keeps all channels."
    ),
    SaturatedSignalError: (
        "Check first that the file is read with the right data type, gain and number of channels. Then look at the "
        "rig: lost fluid contact, a disconnected array, an amplifier that was off or in reset."
    ),
    EmptyWaveformMetricsError: (
        "Check first where the `SpikeData` comes from: it has neither stored metrics nor `raw_data`. Take the one of "
        "the results folder (`sorted_spikedata_curated.npz`), attach `raw_data`, or curate without `min_snr` and "
        "`max_std_norm`."
    ),
    HDF5PluginMissingError: (
        "Check first that `hdf5_plugin_path` (or `HDF5_PLUGIN_PATH`) names a folder that exists and holds the "
        "vendor's plugin for this system; MaxWell's is `libcompression.so`, from MaxWell Biosystems."
    ),
    DockerEnvironmentError: (
        "`reason` says which: `daemon_down` (start Docker; check with `docker ps`), `client_missing` (install Docker; "
        f"`{install_command('docker')}`), `image_pull_failed` (`docker pull IMAGE` by hand, where there is network), "
        "`permission_denied` (add the user to the group `docker`, log in again), `other` (see the `__cause__`; check "
        "the NVIDIA container toolkit with `docker run --rm --gpus all IMAGE nvidia-smi`)."
    ),
    ModelLoadingError: (
        "Check first that `rt_sort_model_path` holds `init_dict.json` and `state_dict.pt`, or a saved `RTSort`. "
        "Without it the bundled models are used, and an installation that is damaged is to be repeated."
    ),
    GPUUnavailableError: (
        "Check first with `nvidia-smi` whether the driver sees the GPU, and that `CUDA_VISIBLE_DEVICES` does not hide "
        "it; then with `python -c 'import torch; print(torch.cuda.is_available())'` whether this PyTorch can use it. "
        "A GPU may also be too new or too old for the sorter's build."
    ),
    SorterNotInstalledError: (
        "`spikelab doctor` lists what is missing. Check first that this is the environment it was installed in; a "
        "sorter can also run in its container (`use_docker=True`)."
    ),
    FolderUnusableError: (
        "Check first who owns the folder that the message names, and whether its disk is mounted, and for writing. "
        "Then give other `results_folders` and `intermediate_folders`, or make the folder writable. The other "
        "recordings of a batch are sorted."
    ),
    ConcurrentSortError: (
        "Check first whether the process that the message names still runs. Wait for it, or give other folders. A run "
        "that was killed on this host holds nothing; the claim of one that crashed on another host ends by itself "
        "within three minutes."
    ),
    GPUOutOfMemoryError: (
        "Check first with `nvidia-smi` whether another process has the memory. Then a smaller batch (Kilosort 2: "
        "`NT`, Kilosort 4: `batch_size`, RT-Sort: `chunk_values`), a higher detection threshold, a shorter piece, a "
        "larger GPU, or RT-Sort on the CPU (`rt_sort_device='cpu'`)."
    ),
    HostOutOfMemoryError: (
        "Check first what other processes use, and which limit the job or container has: a sorter that the system "
        "killed (exit code -9 or 137) ends here too. Then fewer workers (`n_jobs`), less `total_memory`, a smaller "
        "batch, a higher detection threshold."
    ),
    DiskExhaustionError: (
        "Check first with `df -h` the disk that the message names, `/tmp` too. Free space, or put `results_folders` "
        "or `intermediate_folders` elsewhere. What is finished is loaded."
    ),
    SorterTimeoutError: (
        "Read the last lines of the sorter's log first, then look whether GPU, container or network drive hang. Raise "
        "`sorter_timeout_s` if it was only slow; where a batch system ended it, ask for more time. Finished stages "
        "are loaded."
    ),
    SortBatchError: (
        "Look at `failures`: each input that failed, with its own error. The same call tries again what may succeed, "
        "and loads the rest."
    ),
}


def leaf_classes() -> list[type[SpikeSortingClassifiedError]]:
    """List the classes that have no subclasses, in the order of their definition."""
    return [
        kind
        for kind in vars(_exceptions).values()
        if isinstance(kind, type) and issubclass(kind, SpikeSortingClassifiedError) and not kind.__subclasses__()
    ]


def render_markdown() -> str:
    """Write the page as Markdown."""
    lines = [INTRODUCTION]
    for category, title in CATEGORIES.items():
        lines += [f"## {title}", "", f"`{category.__name__}`: {_meaning(category)}", ""]
        for kind in leaf_classes():
            if issubclass(kind, category):
                lines += _section(kind)
    lines += [BAD_INPUT, "## Batches", "", *_section(SortBatchError), *_recognised()]
    return "\n".join(lines)


def _section(kind: type[SpikeSortingClassifiedError]) -> list[str]:
    attributes = [name for name in inspect.signature(kind).parameters if name not in ("message", "exceptions")]
    names = ", ".join(f"`{name}`" for name in attributes)
    return [
        f"### {kind.__name__}",
        "",
        _meaning(kind),
        "",
        f"**What to do.** {ADVICE[kind]}",
        "",
        f"Attributes: {names}.",
        "",
    ]


def _meaning(kind: type) -> str:
    """Return the first paragraph of the docstring of a class."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())


def _recognised() -> list[str]:
    """List the signatures in the order in which they are tried."""
    lines = [
        "## What is recognised",
        "",
        "In the exception, its causes and the sorter's logs; the words that are looked for are in",
        "`spikelab/spike_sorting/failures/signatures/`. Environment is tried before resource and resource before",
        "biology; the first that fits counts.",
        "",
        "| sorters | what | class |",
        "|---|---|---|",
    ]
    for signature in SIGNATURES:
        sorters = ", ".join(f"{name}..." for name in signature.sorters) or "any"
        what = signature.message.partition(". ")[0].removesuffix(".")
        lines.append(f"| {sorters} | {what} | {signature.error.__name__} |")
    return [*lines, ""]


if __name__ == "__main__":
    write_page(render_markdown())
