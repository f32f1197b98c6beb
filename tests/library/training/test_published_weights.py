"""Weights from files: the same outputs as the network they came from, for any number of channels."""

import keras
import numpy as np
import pytest
import small_encoders

from scanloom.training.published_weights import SCALES, load_published, read_arrays, usual_scale, with_channels

RESNET = {"depth": 10, "width": 4, "stem": "imagenet", "padding": "symmetric", "zero_init_residual": False}
TORCH_PARTS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"} | {
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def build(name, shape, seed=0, settings=None, noisy=True):
    """With other biases and statistics than at the start, so that a forgotten one is seen."""
    encoder, random = small_encoders.build(name, shape, seed, settings), np.random.default_rng(seed)
    for variable in encoder.variables if noisy else ():
        kind = variable.path.split("/")[-1]
        if kind in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif kind in ("beta", "bias", "moving_mean"):
            variable.assign(random.normal(0, 0.1, variable.shape))
    return encoder


def torchvision_names(encoder):
    """The resnet's state dict as torchvision would name and order it, written from its documentation."""
    state = {}
    for variable in encoder.variables:
        layer, kind = variable.path.split("/")
        array = keras.ops.convert_to_numpy(variable.value)
        if layer.startswith("stem"):
            prefix = "conv1" if "conv" in layer else "bn1"
        else:
            stage, block, part = layer.removeprefix("stage").replace("block", "").split("_", 2)
            shortcut = {"shortcut_conv": "downsample.0", "shortcut_norm": "downsample.1"}
            prefix = f"layer{stage}.{int(block) - 1}." + shortcut.get(part, part.replace("norm", "bn"))
        state[f"{prefix}.{TORCH_PARTS[kind]}"] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        state.setdefault(f"{prefix}.num_batches_tracked", np.int64(3))
    return state | {"fc.weight": np.zeros((1000, 32)), "fc.bias": np.zeros(1000)}


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_torch_state_dict_fills_the_encoder_for_any_number_of_equal_channels(channels, tmp_path):
    source, target = build("resnet", (32, 32, 3), 1, RESNET), build("resnet", (32, 32, channels), 2, RESNET)
    np.savez(tmp_path / "resnet.npz", **torchvision_names(source))
    said = load_published(target, tmp_path / "resnet.npz", "unit")
    assert said == "60 variables from resnet.npz (resnet names), images scaled as unit"
    grey = small_encoders.images((32, 32, 1))
    expected = source(np.repeat(grey, 3, axis=-1))
    assert np.allclose(target(np.repeat(grey, channels, axis=-1)), expected, rtol=1e-4, atol=1e-5)


def test_more_channels_share_the_sum_of_the_first_kernel():
    kernel = np.arange(2 * 3 * 4, dtype=float).reshape(2, 3, 4)
    assert with_channels(kernel, 3) is kernel
    assert np.allclose(with_channels(kernel, 1)[:, 0], kernel.sum(axis=1))
    assert np.allclose(with_channels(kernel, 2), kernel.sum(axis=1, keepdims=True) / 2)


@pytest.mark.parametrize(
    ("scale", "scaled"),
    [
        ("imagenet", lambda x: (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        ("symmetric", lambda x: 2 * x - 1),
        ("caffe", lambda x: (255 * x - [123.68, 116.779, 103.939])[..., ::-1]),
    ],
)
def test_the_scale_that_weights_expect_becomes_part_of_the_first_layer(scale, scaled, tmp_path):
    """Exact where nothing is padded (patches); elsewhere away from the border, here behind the stem of a resnet."""
    images = small_encoders.images((32, 32, 3))
    for name, settings, layer, inside in (
        ("vit", None, "patch_embedding", slice(None)),
        ("convnext", None, "features", slice(None)),
        ("resnet", RESNET, "stem_norm", slice(2, -2)),
    ):
        source = build(name, (32, 32, 3), 1, settings)
        source.save(tmp_path / "source.keras")
        target = build(name, (32, 32, 3), 2, settings)
        assert load_published(target, tmp_path / "source.keras", scale).endswith(f"images scaled as {scale}")
        expected, found = (keras.Model(m.input, m.get_layer(layer).output) for m in (source, target))
        expected = keras.ops.convert_to_numpy(expected(scaled(images).astype(np.float32)))
        found = keras.ops.convert_to_numpy(found(images))
        if found.ndim == 4:
            expected, found = expected[:, inside, inside], found[:, inside, inside]
        assert np.allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["ResNet50", "ResNet50V2", "VGG16", "DenseNet121"])
def test_the_usual_scale_is_that_of_keras_own_preprocessing(name):
    """`preprocess_input` of the network's module says what its published weights expect."""
    modules = {"ResNet50": "resnet", "ResNet50V2": "resnet_v2", "VGG16": "vgg16", "DenseNet121": "densenet"}
    build_it = getattr(keras.applications, name)
    network = build_it(weights=None, include_top=False, input_shape=(32, 32, 3))
    scale = usual_scale({variable.path: None for variable in network.variables})
    image = np.random.default_rng(0).random((1, 1, 3))
    wanted = getattr(keras.applications, modules[name]).preprocess_input(255 * image)
    mean, std = map(np.array, SCALES[scale])
    own = (image[..., ::-1] if scale == "caffe" else image) - mean
    assert np.allclose(own / std, wanted, atol=1e-4)


def test_a_file_of_this_library_needs_no_scale_and_fits_an_encoder_of_slices(tmp_path):
    flat = build("resnet", (8, 8, 1), 1)
    flat.save(tmp_path / "flat.keras")
    target = build("slices_25d", (8, 8, 8, 1), 2)
    assert "(own names), images scaled as unit" in load_published(target, tmp_path / "flat.keras")
    weights = {v.path: v for v in flat.variables}
    assert all(np.array_equal(v.value, weights[v.path].value) for v in target.variables)


def test_what_does_not_fit_is_an_error_that_shows_both_sides(tmp_path):
    source = build("resnet", (16, 16, 3), settings={"depth": 10, "width": 2})
    source.save(tmp_path / "source.keras")
    target = build("resnet", (16, 16, 3))
    before = target.get_weights()
    message = (
        r"does not fit 'resnet': 60 of 60 .* stem_conv/kernel \(3, 3, 3, 4\).*the file has first: stem_conv/kernel"
    )
    with pytest.raises(ValueError, match=message):
        load_published(target, tmp_path / "source.keras")
    assert all(np.array_equal(a, b) for a, b in zip(before, target.get_weights(), strict=True))
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        load_published(target, tmp_path / "absent.h5")
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"read from \.keras, \.h5 and \.npz files, not \.pth"):
        load_published(target, tmp_path / "weights.pth")
    source.save_weights(tmp_path / "new.weights.h5")
    with pytest.raises(ValueError, match="holds no layer names"):
        read_arrays(tmp_path / "new.weights.h5")


def application(name, shape, **changed):
    network = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=shape, pooling="avg", **changed
    )
    random = np.random.default_rng(0)
    for variable in network.variables:
        kind = variable.path.split("/")[-1]
        if kind in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif kind in ("beta", "bias", "moving_mean"):
            variable.assign(random.normal(0, 0.1, variable.shape))
        elif "layer_scale" in variable.path:
            variable.assign(random.uniform(0.1, 0.5, variable.shape))
    return network


@pytest.mark.parametrize(
    ("name", "edge", "prepared"),
    [
        ("MobileNet", 32, "mobilenet"),
        *(
            pytest.param(*one_of_a_family, marks=pytest.mark.slow)
            for one_of_a_family in (
                ("MobileNetV2", 32, "mobilenet_v2"),
                ("MobileNetV3Small", 32, None),
                ("EfficientNetB0", 32, None),
                ("EfficientNetV2B0", 32, None),
                ("InceptionV3", 75, "inception_v3"),
                ("InceptionResNetV2", 75, "inception_resnet_v2"),
                ("Xception", 71, "xception"),
                ("NASNetMobile", 32, "nasnet"),
                ("VGG16", 32, "vgg16"),
                ("ResNet50", 32, "resnet"),
                ("ResNet50V2", 32, "resnet_v2"),
                ("DenseNet121", 32, "densenet"),
            )
        ),
    ],
)
def test_an_application_computes_what_keras_applications_computes_on_its_own_inputs(name, edge, prepared, tmp_path):
    """From an HDF5 file as keras.applications publishes them; images in [0, 1] here, preprocess_input there."""
    network = application(name, (edge, edge, 3))
    network.save(tmp_path / "published.h5")
    target = small_encoders.build("keras_application", (edge, edge, 3), 1, {"name": name})
    load_published(target, tmp_path / "published.h5")
    images = small_encoders.images((edge, edge, 3))
    given = getattr(keras.applications, prepared).preprocess_input(255 * images) if prepared else 255 * images
    expected = keras.ops.convert_to_numpy(network(given))
    assert np.abs(expected).max() > 0
    assert np.allclose(target(images), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", [pytest.param("ResNet50", marks=pytest.mark.slow), "DenseNet121"])
def test_a_grey_image_gives_an_application_what_three_equal_channels_do(name, tmp_path):
    """Red, green and blue have other means and deviations there."""
    application(name, (32, 32, 3)).save(tmp_path / "published.h5")
    grey, colour = (small_encoders.build("keras_application", (32, 32, c), 1, {"name": name}) for c in (1, 3))
    for network in (grey, colour):
        load_published(network, tmp_path / "published.h5")
    images = small_encoders.images((32, 32, 1))
    expected = keras.ops.convert_to_numpy(colour(np.repeat(images, 3, axis=-1)))
    assert np.allclose(grey(images), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0", "InceptionV3", "NASNetMobile"]
)
def test_an_application_takes_grey_images(name):
    edge = 75 if name == "InceptionV3" else 32
    network = small_encoders.build("keras_application", (edge, edge, 1), 1, {"name": name})
    features = keras.ops.convert_to_numpy(network(small_encoders.images((edge, edge, 1))))
    assert np.isfinite(features).all()
    assert (features.std(axis=0) > 0).any(), "features must depend on the image"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "encoder", "settings"),
    [
        (
            "ResNet50",
            "resnet",
            {"depth": 50, "stem": "imagenet", "padding": "symmetric", "bottleneck_stride": "first"},
        ),
        ("DenseNet121", "densenet", {"stem": "imagenet"}),
        ("ConvNeXtTiny", "convnext", {"depths": (3, 3, 9, 3), "width": 96, "patch": 4}),
    ],
)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_our_encoders_with_the_weights_of_keras_applications_compute_the_same(
    name, encoder, settings, suffix, tmp_path
):
    changed = {"include_preprocessing": False} if name.startswith("ConvNeXt") else {}
    network = application(name, (64, 64, 3), **changed)
    network.save(tmp_path / f"published.{suffix}")
    target = small_encoders.build(encoder, (64, 64, 3), 1, settings)
    load_published(target, tmp_path / f"published.{suffix}", "unit")
    images = small_encoders.images((64, 64, 3))
    expected = keras.ops.convert_to_numpy(network(images))
    assert np.allclose(target(images), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
