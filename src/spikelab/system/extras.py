"""Packages that only some features need, and the command that installs them.

The name ``spikelab`` on the package index belongs to another program, so no hint says ``pip install spikelab[...]``.
"""

from __future__ import annotations

from importlib.util import find_spec

DISTRIBUTION = "spikelab-sorting"
# The optional dependencies of pyproject.toml; a test compares them.
EXTRAS = {
    "rt-sort": ("torch>=2.4",),
    "kilosort4": ("kilosort>=4.1", "torch>=2.4"),
    "spikeinterface-sorters": ("hdbscan>=0.8.40", "networkx>=3", "pandas>=2.2.2", "scikit-learn>=1.4.2"),
    "nwb": ("pynwb>=2.8",),
    "pynapple": ("pynapple>=0.8",),
    "distributed": ("dask[distributed]>=2026.1",),
    "docker": ("docker>=7", "cuda-bindings>=12"),
    "gui": ("spikeinterface-gui[desktop]>=0.12",),
    "singularity": ("spython>=0.3", "cuda-bindings>=12"),
}
MODULES = {"hdbscan": "hdbscan", "networkx": "networkx", "pandas": "pandas", "scikit-learn": "sklearn"}


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra, such as ``pip install "pynwb>=2.8"``."""
    return _pip_install(EXTRAS[extra])


def lacking(*packages: str) -> str:
    """Name the packages of the extra ``spikeinterface-sorters`` that are not installed, with the command for them.

    `packages` are some of them, all by default. "" where none is missing.
    """
    missing = [name for name in packages or MODULES if find_spec(MODULES[name]) is None]
    if not missing:
        return ""
    wanted = [line for line in EXTRAS["spikeinterface-sorters"] if line.partition(">=")[0] in missing]
    *others, last = missing
    what = f"the packages {', '.join(others)} and {last}, which are" if others else f"the package {last}, which is"
    return f"{what} not installed: {_pip_install(wanted)}"


def _pip_install(requirements: tuple[str, ...] | list[str]) -> str:
    return "pip install " + " ".join(f'"{requirement}"' for requirement in requirements)
