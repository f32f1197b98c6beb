"""Weights from a local file into an encoder: of this library, of keras.applications, or of PyTorch models as arrays.

Encoders say in `from_published(arrays)` what their variables are called elsewhere. Every variable of the encoder must
find its array: a half-filled network would be called pretrained that is not.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from scanloom import plugins
from scanloom.lazy import keras

SCALES = {
    "unit": ((0.0,) * 3, (1.0,) * 3),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "symmetric": ((0.5,) * 3, (0.5,) * 3),
    "caffe": ((103.939 / 255, 116.779 / 255, 123.68 / 255), (1 / 255,) * 3),
}
"""Mean and standard deviation of images in [0, 1] that the network's inputs were made with; caffe has its channels in
the order blue, green, red."""

OWN_SCALE = "input_scale"
"""Name of the layer with which an encoder scales images itself."""

NORMALISATION = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
SHOWN = 4


def load_published(encoder, path: Path, scale: str | None = None) -> str:
    """Fill all variables of `encoder` from a `.keras`, `.h5` or `.npz` file; what was done, in words.

    scale: a key of SCALES, what the weights expect of images; None: "unit" where the file has this encoder's own
    names, else what the network of such names was published with. It is put into the first layer, so that the
    encoder takes images in [0, 1] as ever (zero padding then means black, where in the published network it means
    the mean colour); an encoder that scales images itself keeps that. A first kernel for another number of channels
    becomes its sum over channels, shared evenly: equal channels (a grey image) give what they gave before. Raises
    ValueError when a variable finds no array, FileNotFoundError.
    """
    arrays = read_arrays(path)
    wanted = _wanted(encoder)
    first = next(name for name in wanted if name.endswith("/kernel"))
    found, how = _best(arrays, wanted, first)
    missed = [name for name in wanted if name not in found]
    if missed:
        raise ValueError(
            f"{path} does not fit '{encoder.name}': {len(missed)} of {len(wanted)} variables are not there, "
            f"{_shown({n: wanted[n] for n in missed})}; the file has {_shown(arrays)}. "
            "Check the encoder's settings (depth, stem, width) against the network of the file"
        )
    scale = scale or ("unit" if how == "own" else usual_scale(arrays))
    if any(layer.name == OWN_SCALE for layer in encoder.layers):
        scale = "unit"
    _scale_input(found, first, scale, wanted)
    found[first] = with_channels(found[first], wanted[first].shape[-2])
    for name, variable in wanted.items():
        variable.assign(np.reshape(found[name], variable.shape).astype(np.float32))
    return f"{len(wanted)} variables from {Path(path).name} ({how} names), images scaled as {scale}"


def usual_scale(arrays: dict) -> str:
    """What images the weights were published with, by the names of their layers: a key of SCALES.

    In keras.applications ResNet and VGG are for "caffe" images, ResNetV2 for "symmetric" ones (`preprocess_input`
    there); what remains, as PyTorch's networks, mostly for "imagenet".
    """
    layers = {name.partition("/")[0] for name in arrays}
    if "conv2_block1_0_conv" in layers:
        return "symmetric" if "post_bn" in layers else "caffe"
    return "caffe" if "block1_conv1" in layers else "imagenet"


def with_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A first kernel [*size, channels, filters] for another number of input channels; the same number leaves it."""
    if kernel.shape[-2] == channels:
        return kernel
    return np.repeat(kernel.sum(axis=-2, keepdims=True) / channels, channels, axis=-2)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """`<layer>/<variable>` -> array, in the file's order.

    .keras: a saved model. .h5: a saved model or weights as keras.applications publishes them. .npz: arrays under such
    names, or a PyTorch state dict, whose kernels are turned to Keras' order of axes. Raises ValueError for other files.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no weight file {path}; nothing is downloaded, so it has to be put there")
    if path.suffix == ".keras":
        model = keras.saving.load_model(path, compile=False)
        return {variable.path: keras.ops.convert_to_numpy(variable.value) for variable in model.variables}
    if path.suffix == ".h5":
        return _read_h5(path)
    if path.suffix == ".npz":
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return _from_torch(arrays) if any(name.endswith(".weight") for name in arrays) else arrays
    raise ValueError(f"{path}: weights are read from .keras, .h5 and .npz files, not {path.suffix or 'this'}")


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    import h5py

    arrays = {}
    with h5py.File(path) as file:
        root = file.get("model_weights", file)
        if "layer_names" not in root.attrs:
            raise ValueError(f"{path} holds no layer names (a .weights.h5 file of Keras 3?); save the model as .keras")
        for layer in root.attrs["layer_names"]:
            group = root[_text(layer)]
            for name in map(_text, group.attrs["weight_names"]):
                parts = name.split(":")[0].split("/")
                arrays["/".join(parts[-2:]) if len(parts) > 1 else f"{_text(layer)}/{parts[0]}"] = group[name][()]
    return arrays


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _from_torch(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`layer.weight` -> `layer/kernel` or `layer/gamma`, and so on; parameters of no layer become `name/value`."""
    made = {}
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(".")
        weight = arrays.get(f"{layer}.weight")
        if kind == "num_batches_tracked":
            continue
        if kind not in NORMALISATION or weight is None:
            made[f"{name}/value"] = array
        elif weight.ndim == 1:
            made[f"{layer}/{NORMALISATION[kind]}"] = array
        elif kind == "bias":
            made[f"{layer}/bias"] = array
        else:
            made[f"{layer}/kernel"] = np.transpose(array, (*range(2, array.ndim), 1, 0))
    return made


def _wanted(encoder) -> dict:
    """Variables by path; those that are not numbers of the network (states of random generators) are left out."""
    return {variable.path: variable for variable in encoder.weights}


def _best(arrays: dict, wanted: dict, first: str) -> tuple[dict, str]:
    """The arrays under the encoder's names, by the naming that fits most variables, and what it is called."""
    modules = {name: plugins.load("encoders", name) for name in plugins.names("encoders")}
    namings: dict[str, Callable] = {"own": dict}
    namings |= {name: module.from_published for name, module in modules.items() if hasattr(module, "from_published")}
    fits = {name: _fitting(naming(arrays), wanted, first) for name, naming in namings.items()}
    fits["layers in order, no"] = _in_order(arrays, wanted, first)
    how = max(fits, key=lambda name: len(fits[name]))
    return fits[how], how


def _fitting(arrays: dict, wanted: dict, first: str) -> dict:
    """name -> array where both exist and the array can be given the variable's shape."""
    found = {
        name: arrays[name] for name in wanted if name in arrays and _fits(arrays[name], wanted[name], name == first)
    }
    for name in arrays:  # a bias that normalisation follows is a shift of its mean
        layer, _, kind = name.rpartition("/")
        mean = f"{layer.replace('_conv', '_norm')}/moving_mean"
        if kind == "bias" and name not in wanted and f"{layer}/kernel" in found and mean in found and "_conv" in layer:
            found[mean] = found[mean] - arrays[name]
    return found


def _fits(array: np.ndarray, variable, is_first: bool) -> bool:
    """Same shape; the same numbers in the same order (attention has an axis of heads, tokens one of images); for the
    first kernel also another number of input channels."""
    shape = tuple(variable.shape)
    if array.ndim != len(shape):
        return array.size == np.prod(shape)
    return array.shape == shape or (
        is_first and array.ndim > 2 and array.shape[:-2] == shape[:-2] and array.shape[-1] == shape[-1]
    )


def _in_order(arrays: dict, wanted: dict, first: str) -> dict:
    """Arrays by position alone, if the file begins with exactly the encoder's shapes."""
    if len(arrays) < len(wanted):
        return {}
    pairs = list(zip(wanted.items(), arrays.values(), strict=False))
    fit = all(array.ndim == len(v.shape) and _fits(array, v, name == first) for (name, v), array in pairs)
    return {name: array for (name, _), array in pairs} if fit else {}


def _scale_input(found: dict, first: str, scale: str, wanted: dict) -> None:
    """Put the scaling of images into the first kernel, and its constant into the bias or the normalisation after it."""
    if scale == "unit":
        return
    kernel = np.asarray(found[first], np.float64)
    channels = kernel.shape[-2]
    mean, std = (np.asarray(part) for part in SCALES[scale])
    if channels != 3:
        mean, std = np.full(channels, mean.mean()), np.full(channels, std.mean())
    kernel = kernel / std[:, None]
    shift = (kernel * mean[:, None]).reshape(-1, kernel.shape[-1]).sum(axis=0)
    found[first] = kernel[..., ::-1, :] if scale == "caffe" and channels == 3 else kernel
    layer = first.rpartition("/")[0]
    bias, moving = f"{layer}/bias", f"{layer.replace('_conv', '_norm')}/moving_mean"
    if bias in wanted:
        found[bias] = found[bias] - shift
    elif moving in wanted and moving != f"{layer}/moving_mean":
        found[moving] = found[moving] + shift
    else:
        raise ValueError(
            f"scale '{scale}' cannot be put into '{layer}', which has neither bias nor normalisation; use scale: unit"
        )


def _shown(variables: dict) -> str:
    first = ", ".join(f"{name} {tuple(variable.shape)}" for name, variable in list(variables.items())[:SHOWN])
    return f"first: {first}" if first else "nothing"
