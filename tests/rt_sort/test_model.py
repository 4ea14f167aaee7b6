"""Loading detection models: the published format and ours, and everything that can be wrong with a folder."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikelab.spike_sorting._exceptions import ModelLoadingError
from spikelab.spike_sorting.rt_sort.detection.model import BUNDLED, Layer, ModelSpikeSorter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ModelSpikeSorter.load_bundled("mea").save(tmp_path / "model")
    return tmp_path / "model"


def change(folder: Path, **values: object) -> Path:
    path = folder / "init_dict.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


@pytest.mark.parametrize(
    ("name", "size", "n_context", "rate", "n_parameters"),
    [("mea", 200, 40, 20_000.0, 107_251), ("neuropixels", 300, 60, 30_000.0, 158_251)],
)
def test_published_models(
    shared_data: Path, name: str, size: int, n_context: int, rate: float, n_parameters: int
) -> None:
    model = ModelSpikeSorter.load(shared_data / "published_models" / name)
    assert (model.sample_size, model.samp_freq, model.normalises_by_sigma) == (size, rate, False)
    assert model.buffer_front_sample == model.buffer_end_sample == n_context
    assert model.receptive_field == 2 * n_context + 1
    assert sum(layer.weight.size + layer.bias.size for layer in model.layers) == n_parameters
    assert model.input_scale == pytest.approx({"mea": 0.15887516, "neuropixels": 0.01}[name])
    assert model.loc_prob_thresh == pytest.approx({"mea": 27.5, "neuropixels": 17.5}[name])


def test_published_weights_are_those_that_torch_reads(shared_data: Path) -> None:
    torch = pytest.importorskip("torch")
    for name in ("mea", "neuropixels"):
        folder = shared_data / "published_models" / name
        state = torch.load(folder / "state_dict.pt", map_location="cpu", weights_only=True)
        for index, layer in enumerate(ModelSpikeSorter.load(folder).layers):
            np.testing.assert_array_equal(layer.weight, state[f"model.conv.{2 * index}.weight"].float().numpy())
            np.testing.assert_array_equal(layer.bias, state[f"model.conv.{2 * index}.bias"].float().numpy())


@pytest.mark.parametrize("probe", BUNDLED)
def test_bundled_models(probe: str) -> None:
    model = ModelSpikeSorter.load_bundled(probe)  # type: ignore[arg-type]
    assert model.normalises_by_sigma
    assert model.samp_freq == {"mea": 20_000.0, "neuropixels": 30_000.0}[probe]
    assert model.buffer_front_sample == pytest.approx(0.002 * model.samp_freq)


def test_saved_models_come_back_and_torch_reads_them(folder: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = ModelSpikeSorter.load(folder)
    model.save(tmp_path / "again")
    for name in ("init_dict.json", "state_dict.pt"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    state = torch.load(folder / "state_dict.pt", weights_only=True)
    np.testing.assert_array_equal(state["model.conv.0.weight"].numpy(), model.layers[0].weight)


def test_a_published_model_survives_saving(shared_data: Path, tmp_path: Path) -> None:
    model = ModelSpikeSorter.load(shared_data / "published_models" / "neuropixels")
    model.save(tmp_path)
    again = ModelSpikeSorter.load(tmp_path)
    assert replace(again, layers=()) == replace(model, layers=())
    for one, other in zip(model.layers, again.layers, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)


def test_what_torch_saves_loads(folder: Path) -> None:
    """Strided views too, as a transposed weight would be."""
    torch = pytest.importorskip("torch")
    model = ModelSpikeSorter.load(folder)
    state = torch.load(folder / "state_dict.pt", weights_only=True)
    state["model.conv.2.weight"] = state["model.conv.2.weight"].transpose(0, 1).contiguous().transpose(0, 1)
    torch.save(state, folder / "state_dict.pt")
    np.testing.assert_array_equal(ModelSpikeSorter.load(folder).layers[1].weight, model.layers[1].weight)


def test_loading_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter\n"
        f"ModelSpikeSorter.load({str(folder)!r}); ModelSpikeSorter.load_bundled('neuropixels')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def refused(folder: Path, *words: str) -> ModelLoadingError:
    with pytest.raises(ModelLoadingError) as caught:
        ModelSpikeSorter.load(folder)
    message = str(caught.value)
    assert caught.value.model_path == folder
    assert str(folder) in message
    for word in words:
        assert word in message
    return caught.value


def test_missing_folder_and_files(tmp_path: Path, folder: Path) -> None:
    refused(tmp_path / "nowhere", "does not exist", "model_path")
    refused(folder / "init_dict.json", "it is a file")
    (folder / "state_dict.pt").rename(folder / "weights.pt")
    refused(folder, "state_dict.pt missing", "weights.pt")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short", b"\x80\x02}q\x00."])
def test_corrupt_weights(folder: Path, content: bytes) -> None:
    (folder / "state_dict.pt").write_bytes(content)
    assert refused(folder, "state_dict.pt", "not a readable dictionary").__cause__ is not None


def test_damage_anywhere_is_a_loading_error_or_harmless(folder: Path) -> None:
    whole = (folder / "state_dict.pt").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.3 else whole)
        for at in rng.integers(0, min(len(damaged), 3000), 5):
            damaged[at] = rng.integers(0, 256)
        (folder / "state_dict.pt").write_bytes(bytes(damaged))
        with suppress(ModelLoadingError):
            ModelSpikeSorter.load(folder)


def test_code_in_a_pickle_is_not_run(folder: Path, tmp_path: Path) -> None:
    class Mischief:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "was run",)

    with zipfile.ZipFile(folder / "state_dict.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model.conv.0.weight": Mischief()}))
    refused(folder, "which a dictionary of tensors has no use for")
    assert not (tmp_path / "was run").exists()


def test_other_archives_and_tensors(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    with zipfile.ZipFile(folder / "state_dict.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    refused(folder, "there is no data.pkl")
    torch.save([1, 2], folder / "state_dict.pt")
    refused(folder, "holds a list")
    torch.save({}, folder / "state_dict.pt")
    assert isinstance(refused(folder, "model.conv.0.weight is missing from state_dict.pt").__cause__, KeyError)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"num_channels_in": 2}, "only models of single channels"),
        ({"architecture_params": "unheard-of"}, "known are"),
        ({"architecture_params": [7, 50, "relu", 0, 0, 0, 0]}, "is unknown"),
        ({"architecture_params": [4, 50, "relu", 1, 0, 0, 0]}, "options that are not known"),
        ({"architecture_params": [4, 50, "relu", 0, 0, 0, 0]}, "the architecture has (50, 1, 21)"),
        ({"buffer_front_sample": 41}, "has weights of shape (96, 1, 81)"),
        ({"sample_size": 10}, "does not fit the layers"),
        ({"sample_size": None}, "NoneType"),
        ({"samp_freq": -1.0}, "positive numbers"),
        ({"input_scale": float("nan")}, "positive numbers"),
    ],
)
def test_descriptions_that_do_not_fit(folder: Path, values: dict[str, object], words: str) -> None:
    refused(change(folder, **values), words)


def test_damaged_description(folder: Path) -> None:
    path = folder / "init_dict.json"
    init = json.loads(path.read_text())
    path.write_text("{")
    refused(folder, "cannot be read as JSON")
    path.write_text("[]")
    refused(folder, "an object is expected")
    path.write_text(json.dumps({key: value for key, value in init.items() if key != "sample_size"}))
    refused(folder, "sample_size is missing from init_dict.json")


def test_weights_that_are_not_numbers(folder: Path) -> None:
    first, *others = ModelSpikeSorter.load(folder).layers
    broken = replace(first, weight=np.full_like(first.weight, np.nan))
    replace(ModelSpikeSorter.load(folder), layers=(broken, *others)).save(folder)
    refused(folder, "not finite")


def test_unknown_probe() -> None:
    with pytest.raises(ModelLoadingError, match="'mea' and 'neuropixels'"):
        ModelSpikeSorter.load_bundled("tetrode")  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["weight", "bias"])
def test_one_weight_that_is_no_number_is_enough(folder: Path, what: str) -> None:
    first, *others = ModelSpikeSorter.load(folder).layers
    values = getattr(first, what).copy()
    values.flat[3] = np.inf
    replace(ModelSpikeSorter.load(folder), layers=(replace(first, **{what: values}), *others)).save(folder)
    refused(folder, "model.conv.0 has weights that are not finite")


@pytest.mark.parametrize(
    ("name", "kernel", "rate"), [(4, 21, 20_000.0), (-4, 31, 30_000.0), ("20", 21, 20_000.0), ("30", 31, 30_000.0)]
)
def test_published_architectures_say_their_kernel_and_that_their_rate(
    tmp_path: Path, name: int | str, kernel: int, rate: float
) -> None:
    rng = np.random.default_rng(0)
    shapes = [(3, 1), (3, 3), (3, 3), (1, 3)]
    layers = tuple(
        Layer(rng.normal(size=(*shape, kernel)).astype(np.float32), rng.normal(size=shape[0]).astype(np.float32))
        for shape in shapes
    )
    reach = 2 * (kernel - 1)
    made = ModelSpikeSorter(layers, (name, 3, "relu", 0, 0), 200, reach, reach, 30.0, 0.5, 12_345.0, False)
    made.save(tmp_path / "deep" / "model")
    folder = tmp_path / "deep" / "model"
    assert ModelSpikeSorter.load(folder).samp_freq == 12_345.0  # what the file says goes first
    path = folder / "init_dict.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "samp_freq"}))
    loaded = ModelSpikeSorter.load(folder)
    assert (loaded.samp_freq, loaded.normalises_by_sigma, loaded.architecture) == (rate, False, (name, 3, "relu", 0, 0))
    assert loaded.receptive_field == 4 * (kernel - 1) + 1
    refused(change(folder, architecture_params=[name, 3, "relu", 0, 1]), "options that are not known")
    for params in ([name, 3, "tanh"], [name, 3.0, "relu"], [name, 0, "relu"], ["x", 3, "relu"], [5, 3, "relu"]):
        refused(change(folder, architecture_params=params), "is unknown; published ones start with 4, -4 or a rate")
    for params in ([name, 3], {"a": 1}, 7):
        refused(change(folder, architecture_params=params), "known are patch-96-48 and the list of a published model")


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ({"sample_size": 81}, True),  # one output
        ({"sample_size": 80}, False),
        ({"samp_freq": float("inf")}, False),
        ({"input_scale": 0.0}, False),
        ({"input_scale": -1.0}, False),
        ({"input_scale": 1e-9, "samp_freq": 1.0}, True),
    ],
)
def test_sizes_and_scales_up_to_what_makes_sense(folder: Path, values: dict[str, float], fits: bool) -> None:
    change(folder, **values)
    if fits:
        assert ModelSpikeSorter.load(folder)
    else:
        refused(folder, "does not fit the layers" if "sample_size" in values else "positive numbers are expected")
