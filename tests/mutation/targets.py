"""Which files are mutated, and which tests look at each: the quick ones, in the order in which they are asked.

``interpreted`` tests run with numba switched off, so that nothing is compiled for a mutant and no machine code of
yesterday answers for it. ``compiled`` ones need the speed; they are asked of mutants outside of kernels only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "spikelab" / "spike_sorting"
FOLDERS = ("rt_sort", "filters", "waveforms")
WAVEFORMS = "waveforms"
# Another's file format, bounds of memory, which measurements are held against, filters that are held against scipy's
# and SpikeInterface's,
# and the making of the models.
LEFT_OUT = {
    "rt_sort/detection/_torch_file.py",
    "rt_sort/memory.py",
    "filters/design.py",
    "filters/bandpass.py",
    "filters/_bandpass_kernels.py",
    "filters/sample_shifts.py",
    "filters/across_channels.py",
    "filters/_across_kernels.py",
    "filters/steps.py",
    *(f"rt_sort/training/{name}.py" for name in ("__main__", "card", "fitting", "scoring", "simulation", "windows")),
}


@dataclass(frozen=True)
class Guards:
    """Test modules below ``tests/<folder>``, without ``test_`` and ``.py``."""

    interpreted: tuple[str, ...] = ()
    compiled: tuple[str, ...] = ()


WAVEFORM_GUARDS = Guards(
    compiled=("waveforms_parts", "waveforms_metrics", "waveforms_extractor", "waveforms_engine", "waveforms_alignment")
)
GUARDS = {
    "rt_sort/learning/_dip.py": Guards(("dip",)),
    "filters/_stream_kernels.py": Guards(("filter_kernels",)),
    "rt_sort/detection/_candidates.py": Guards(("candidates",)),
    "rt_sort/learning/_linear.py": Guards(("linear",)),
    "rt_sort/matching/_peeling_kernels.py": Guards(("matching",)),
    "rt_sort/learning/_mixture.py": Guards(("mixture",)),
    "rt_sort/learning/_partition.py": Guards(("partition",)),
    "rt_sort/matching/_template_kernels.py": Guards(("templates", "learning")),
    "rt_sort/learning/_unimodal.py": Guards(("unimodal",)),
    "rt_sort/_window_kernels.py": Guards(("learning", "templates")),
    "rt_sort/artefacts.py": Guards(("artefacts",)),
    "rt_sort/learning/branches.py": Guards(("branches",)),
    "rt_sort/channels.py": Guards(compiled=("sorter",)),
    "rt_sort/learning/clustering.py": Guards(("clustering",)),
    "rt_sort/detect.py": Guards(("detect",), ("sorter",)),
    "rt_sort/detection/peaks.py": Guards(compiled=("detection",)),
    "rt_sort/learning/events.py": Guards(("events",)),
    "filters/stream.py": Guards(compiled=("filtering",)),
    "rt_sort/learning/missing.py": Guards(("missing",)),
    "rt_sort/learning/significance.py": Guards(("significance",)),
    "rt_sort/learning/dividing.py": Guards(("dividing",)),
    "rt_sort/learning/jumping.py": Guards(("jumping",)),
    "rt_sort/learning/following.py": Guards(compiled=("following",)),
    "rt_sort/learning/parts.py": Guards(("parts",)),
    "rt_sort/learning/paths.py": Guards(compiled=("paths",)),
    "rt_sort/matching/moving.py": Guards(("moving",)),
    "rt_sort/movement.py": Guards(compiled=("movement",)),
    "rt_sort/learning/waveforms.py": Guards(("learning",)),
    "rt_sort/matching/peeling.py": Guards(("matching",)),
    "rt_sort/learning/means.py": Guards(("merging",)),
    "rt_sort/learning/merging.py": Guards(("merging",)),
    "rt_sort/detection/model.py": Guards(("model",)),
    "rt_sort/detection/network.py": Guards(("network_kernels",), ("network",)),
    "rt_sort/detection/noise.py": Guards(("noise_kernels",), ("noise", "detection")),
    "rt_sort/parameters.py": Guards(("parameter_page", "parameter_values")),
    "rt_sort/sequences.py": Guards(("sequences",)),
    "rt_sort/sorter.py": Guards(compiled=("sorter",)),
    "rt_sort/learning/splitting.py": Guards(compiled=("splitting",)),
    "rt_sort/matching/templates.py": Guards(("templates",)),
    "rt_sort/learning/trains.py": Guards(("trains",)),
    "rt_sort/learning/travel.py": Guards(("travel",)),
    "rt_sort/traces.py": Guards(("traces",), ("sorter",)),
    "rt_sort/whitening.py": Guards(("whitening",)),
    "waveforms/_kernels.py": Guards(("waveforms_kernels",)),
    "waveforms/_evidence_kernels.py": Guards(("evidence",)),
    "waveforms/evidence.py": Guards(("evidence",)),
    "waveforms/quality.py": Guards(compiled=("waveforms_quality_metrics",)),
}
# Changes that nothing can notice: (file, the line before, the line after) and why.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "waveforms/_kernels.py",
        "for channel in range(0, n_channels, LINE_OF_INT16):",
        "for channel in range(1, n_channels, LINE_OF_INT16):",
    ): "reads ahead into the cache, and makes no other difference",
    ("waveforms/_kernels.py", "return -1", "return -2"): "not reached: somebody has been counted",
    ("rt_sort/learning/_unimodal.py", "longest = -1.0", "longest = -1.5"): "below any length",
    ("rt_sort/learning/_unimodal.py", "lack = -1.0", "lack = -1.5"): "below any lack",
}


def files() -> list[str]:
    """Files that are mutated, relative to the package."""
    found = [path.relative_to(PACKAGE) for folder in FOLDERS for path in sorted((PACKAGE / folder).rglob("*.py"))]
    return [path.as_posix() for path in found if path.name != "__init__.py" and path.as_posix() not in LEFT_OUT]


def guards_of(file: str) -> Guards:
    """Test modules of a file that are there."""
    folder = ROOT / "tests" / (WAVEFORMS if file.startswith(WAVEFORMS) else "rt_sort")
    wanted = GUARDS.get(file, WAVEFORM_GUARDS if file.startswith(WAVEFORMS) else Guards())

    def paths(names: tuple[str, ...]) -> tuple[str, ...]:
        found = [folder / f"test_{name}.py" for name in names]
        return tuple(str(path.relative_to(ROOT)) for path in found if path.exists())

    return Guards(paths(wanted.interpreted), paths(wanted.compiled))
