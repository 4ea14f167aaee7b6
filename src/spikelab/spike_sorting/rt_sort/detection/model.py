"""Weights of the detection network, and the input that it takes.

Two formats load: that of the models published with RT-Sort, and this package's. Both are a folder with
``init_dict.json`` and ``state_dict.pt``. A model is a stack of valid (unpadded) convolutions on single channels with
ReLU between them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spikelab.spike_sorting._exceptions import ModelLoadingError
from spikelab.spike_sorting.rt_sort.detection._torch_file import DAMAGE, read_tensors, write_tensors
from spikelab.system import files as _files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[np.float32]]

Probe = Literal["mea", "neuropixels"]
BUNDLED: tuple[Probe, ...] = ("mea", "neuropixels")
INIT_FILE, STATE_FILE = "init_dict.json", "state_dict.pt"
PUBLISHED_RATES = {21: 20_000.0, 31: 30_000.0}  # Hz, of the models without samp_freq, by their kernel

# Architectures of this package, by the name that stands where the published models have a list of numbers: outputs of
# each layer. The first layer sees the whole window at once. At a few candidates per second this costs far less than
# small kernels one after the other, whose intermediate values neighbouring frames would share.
ARCHITECTURES: dict[str, tuple[int, ...]] = {"patch-96-48": (96, 48, 1)}
LayerShape = tuple[int, int]  # outputs, kernel


@dataclass(frozen=True)
class Layer:
    """One convolution: weight (outputs, inputs, kernel) and bias (outputs,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class ModelSpikeSorter:
    """A detection network: single-channel traces in, one logit per frame out ("the peak of a spike is here").

    Attributes
    ----------
    layers : tuple of Layer
    architecture : str or tuple
        Name of one of this package, or the numbers of a published model.
    sample_size : int
        Frames of the window that the model was trained on.
    buffer_front_sample, buffer_end_sample : int
        Frames of a window before the first and after the last output.
    loc_prob_thresh : float
        Detection threshold of the model, a probability in per cent.
    input_scale : float
        Factor for the input.
    samp_freq : float
        Sampling rate of the training data, in Hz.
    normalises_by_sigma : bool
        True if the input is in units of each channel's noise (models of this package), False if in microvolts.

    Examples
    --------
    >>> from spikelab.spike_sorting.rt_sort import ModelSpikeSorter
    >>> model = ModelSpikeSorter.load_bundled("mea")
    >>> model.samp_freq, model.receptive_field
    (20000.0, 81)
    """

    layers: tuple[Layer, ...]
    architecture: str | tuple[Any, ...]
    sample_size: int
    buffer_front_sample: int
    buffer_end_sample: int
    loc_prob_thresh: float
    input_scale: float
    samp_freq: float
    normalises_by_sigma: bool

    @property
    def receptive_field(self) -> int:
        """Number of frames that one output depends on."""
        return 1 + sum(int(layer.weight.shape[2]) - 1 for layer in self.layers)

    @classmethod
    def load(cls, folder: str | Path) -> ModelSpikeSorter:
        """Read a folder with ``init_dict.json`` and ``state_dict.pt``.

        Raises
        ------
        ModelLoadingError
            The folder or a file is missing or damaged, or the weights do not fit the architecture.
        """
        return _load(Path(folder))

    @classmethod
    def load_bundled(cls, probe: Probe) -> ModelSpikeSorter:
        """Read a model that comes with the package.

        Raises
        ------
        ModelLoadingError
            There is none for `probe`, or the installation is damaged.
        """
        if probe not in BUNDLED:
            expected = " and ".join(repr(name) for name in BUNDLED)
            raise ModelLoadingError(f"There is no bundled detection model {probe!r}; those that exist are {expected}")
        with as_file(files(__package__) / "models" / probe) as folder:
            return _load(folder)

    def save(self, folder: str | Path) -> None:
        """Write both files into `folder`, which is made where needed; :meth:`load` reads them back."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        architecture = self.architecture if isinstance(self.architecture, str) else list(self.architecture)
        init = {
            "num_channels_in": 1,
            "sample_size": self.sample_size,
            "buffer_front_sample": self.buffer_front_sample,
            "buffer_end_sample": self.buffer_end_sample,
            "loc_prob_thresh": self.loc_prob_thresh,
            "buffer_front_loc": 0,
            "buffer_end_loc": 0,
            "device": "cpu",
            "architecture_params": architecture,
            "input_scale": self.input_scale,
            "samp_freq": self.samp_freq,
        }
        tensors = {}
        for index, layer in enumerate(self.layers):
            tensors[f"model.conv.{2 * index}.weight"] = layer.weight
            tensors[f"model.conv.{2 * index}.bias"] = layer.bias
        _files.write_text(target / INIT_FILE, json.dumps(init, indent=2) + "\n")
        with _files.replacing(target / STATE_FILE) as temporary:
            write_tensors(temporary, tensors)


def _load(folder: Path) -> ModelSpikeSorter:
    _check_files(folder)
    try:
        init = json.loads((folder / INIT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _failure(folder, f"{INIT_FILE} cannot be read as JSON ({error})") from error
    try:
        tensors = read_tensors(folder / STATE_FILE)
    except DAMAGE as error:
        raise _failure(
            folder,
            f"{STATE_FILE} is not a readable dictionary of weights ({error or type(error).__name__})",
            "Copy or train it again; a file from torch.save(model.state_dict()) is expected",
        ) from error
    try:
        return _build(init, tensors)
    except KeyError as error:
        raise _failure(folder, f"{error.args[0]} is missing from {_origin(error.args[0])}") from error
    except (TypeError, ValueError) as error:
        raise _failure(folder, str(error)) from error


def _origin(key: object) -> str:
    return STATE_FILE if str(key).startswith("model.") else INIT_FILE


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        found = "it is a file" if folder.exists() else "it does not exist"
        raise _failure(folder, f"a folder is expected, but {found}", "Check model_path")
    missing = [name for name in (INIT_FILE, STATE_FILE) if not (folder / name).is_file()]
    if missing:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise _failure(folder, f"{' and '.join(missing)} missing; it holds {found}", "Check model_path")


def _failure(
    folder: Path, found: str, advice: str = "Use a folder written by training, or a bundled model"
) -> Exception:
    return ModelLoadingError(
        f"The detection model in {folder} cannot be loaded: {found}. {advice} (model_path=None).", model_path=folder
    )


def _build(init: Any, tensors: Tensors) -> ModelSpikeSorter:
    if not isinstance(init, dict):
        raise ValueError(f"{INIT_FILE} holds a {type(init).__name__} where an object is expected")  # noqa: TRY004
    if init["num_channels_in"] != 1:
        raise ValueError(f"num_channels_in is {init['num_channels_in']}; only models of single channels can be run")
    named = init["architecture_params"]
    by_name = isinstance(named, str) and named in ARCHITECTURES
    front, end = int(init["buffer_front_sample"]), int(init["buffer_end_sample"])
    shapes = patch_shapes(named, front + end + 1) if by_name else _published_shapes(named)
    model = ModelSpikeSorter(
        layers=_layers(shapes, tensors),
        architecture=named if by_name else tuple(named),
        sample_size=int(init["sample_size"]),
        buffer_front_sample=front,
        buffer_end_sample=end,
        loc_prob_thresh=float(init["loc_prob_thresh"]),
        input_scale=float(init["input_scale"]),
        samp_freq=float(init.get("samp_freq") or PUBLISHED_RATES.get(shapes[0][1], 0.0)),
        normalises_by_sigma=by_name,
    )
    _check_geometry(model)
    return model


def patch_shapes(architecture: str, n_samples: int) -> tuple[LayerShape, ...]:
    """List outputs and kernel of each layer of an architecture of this package, for windows of `n_samples`."""
    first, *others = ARCHITECTURES[architecture]
    return ((first, n_samples), *((n_outputs, 1) for n_outputs in others))


def _published_shapes(params: Any) -> tuple[LayerShape, ...]:
    """List the shapes behind ``[id, channels, activation, ...]``: four layers with the kernel of the id."""
    known = ", ".join(ARCHITECTURES)
    if not isinstance(params, list) or len(params) < 3:
        raise ValueError(f"architecture_params is {params!r}; known are {known} and the list of a published model")
    name, n_hidden, activation = params[:3]
    kernel = _published_kernel(name)
    if not kernel or activation != "relu" or not isinstance(n_hidden, int) or n_hidden < 1:
        raise ValueError(
            f"the architecture {params!r} is unknown; published ones start with 4, -4 or a rate in kHz such as '20', "
            "then the number of channels and 'relu'"
        )
    if any(params[3:]):
        raise ValueError(f"the architecture {params!r} has options that are not known; zeros are expected at its end")
    return (*((n_hidden, kernel) for _ in range(3)), (1, kernel))


def _published_kernel(name: Any) -> int:
    """Look up the length of the kernels of a published model; 0 if its id is unknown."""
    if isinstance(name, str) and name.isdigit():
        return int(name) + 1
    return {4: 21, -4: 31}.get(name, 0)


def _layers(shapes: tuple[LayerShape, ...], tensors: Tensors) -> tuple[Layer, ...]:
    layers = []
    n_inputs = 1
    for index, (n_outputs, kernel) in enumerate(shapes):
        name = f"model.conv.{2 * index}"
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        expected = (n_outputs, n_inputs, kernel)
        if weight.shape != expected or bias.shape != expected[:1]:
            raise ValueError(
                f"{name} has weights of shape {weight.shape} and biases of shape {bias.shape}, but the architecture "
                f"has {expected} and {expected[:1]}"
            )
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError(f"{name} has weights that are not finite numbers")
        layers.append(Layer(weight, bias))
        n_inputs = n_outputs
    return tuple(layers)


def _check_geometry(model: ModelSpikeSorter) -> None:
    context = model.buffer_front_sample + model.buffer_end_sample
    n_outputs = model.sample_size - context
    expected = model.receptive_field - 1
    if context != expected or n_outputs < 1 or model.buffer_front_sample < 0 or model.buffer_end_sample < 0:
        raise ValueError(
            f"sample_size {model.sample_size} with buffers of {model.buffer_front_sample} and "
            f"{model.buffer_end_sample} frames does not fit the layers, which need buffers of {expected} in all"
        )
    if not (model.samp_freq > 0 and math.isfinite(model.samp_freq * model.input_scale) and model.input_scale > 0):
        raise ValueError(
            f"samp_freq is {model.samp_freq} and input_scale {model.input_scale}; positive numbers are expected"
        )
