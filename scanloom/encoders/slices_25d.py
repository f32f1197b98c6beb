"""A 2D encoder on all slices of a volume along all three axes, pooled: rank 3 from a pretrained rank 2.

Volumes are padded with zeros to cubes and cut along each axis; every slice passes the same 2D encoder. The last maps of
the slices along an axis are averaged to as many places as they have along their own edges, so each axis gives a map of
the whole volume; the three side by side are the "feature_map", their mean over all places the features. The layers keep
the 2D encoder's names, so the weights of its saved file find their places (`methods/frozen_25d`, `methods/imagenet`).

Frozen, this is the baseline that 3D pretraining has to beat: as in Raptor (An et al., arXiv 2507.08254), without its
random projection. An encoder that does something after the mean of its map (convnext) is used up to that map.
"""

from pydantic import Field, model_validator

from scanloom import plugins
from scanloom.encoders._layers import ending, rank_of
from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.training.initial_weights import initialise

RANKS = (3,)
AXES = (((1, 2, 3, 4), (1, 2, 3, 4)), ((2, 1, 3, 4), (2, 1, 3, 4)), ((3, 1, 2, 4), (2, 3, 1, 4)))
"""For slices along each axis: the volume's axes with that one first, and the way back."""


class Settings(Strict):
    """Which 2D encoder."""

    encoder: str = Field("resnet", description="a file of scanloom/encoders for rank 2")
    settings: dict = Field({}, description="its settings")
    edge: int | None = Field(
        None, ge=2, description="voxels per edge of the cube that volumes are padded to; null: their longest edge"
    )

    @model_validator(mode="after")
    def _known(self):
        plugins.settings("encoders", self.encoder, self.settings)
        return self


def build(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """keras.Model from float32 volumes [batch, depth, height, width, channels] in [0, 1] to features [batch, D].

    D is three times the channels of the 2D encoder's last map. Raises ValueError where the volume is larger than `edge`
    or a slice's last map does not divide it.
    """
    rank_of(image_shape, "slices_25d", RANKS)
    edge, channels = settings.edge or max(image_shape[:-1]), image_shape[-1]
    if edge < max(image_shape[:-1]):
        raise ValueError(f"image shape {tuple(image_shape)}: slices_25d pads to edge {edge}, which is less; raise edge")
    checked = plugins.settings("encoders", settings.encoder, settings.settings)
    flat = plugins.load("encoders", settings.encoder).build(checked, (edge, edge, channels), seed)
    places = flat.get_layer("feature_map").output.shape[1]
    if edge % places:
        raise ValueError(
            f"slices_25d: {settings.encoder} makes {places} places of an edge of {edge}, which is no multiple; "
            "set `edge` to one"
        )
    inputs = keras.Input(image_shape, name="images")
    x = _cube(inputs, edge)
    turned = [keras.layers.Permute(there, name=f"axis{axis}")(x) for axis, (there, _) in enumerate(AXES)]
    slices = keras.layers.Concatenate(axis=1, name="slices")(turned)
    maps = _on_slices(flat, keras.ops.reshape(slices, (-1, edge, edge, channels)))
    maps = keras.ops.reshape(maps, (-1, edge, *maps.shape[1:]))
    pooled = keras.layers.AveragePooling3D((edge // places, 1, 1), name="along_axes")(maps)
    pooled = keras.ops.reshape(pooled, (-1, 3, *pooled.shape[1:]))
    back = [keras.layers.Permute(back, name=f"map{axis}")(pooled[:, axis]) for axis, (_, back) in enumerate(AXES)]
    x = keras.layers.Concatenate(name="feature_map")(back)
    return initialise(ending(inputs, x, 3, "slices_25d"), seed)


def _cube(x, edge: int):
    """Zeros on both sides of each axis, one more behind where the number is odd."""
    missing = [edge - size for size in x.shape[1:-1]]
    return keras.layers.ZeroPadding3D([(m // 2, m - m // 2) for m in missing], name="cube")(x)


def _on_slices(flat, slices):
    """The last map of the 2D encoder on these slices, with layers of its own under the same names."""

    def clone(layer):
        config = layer.get_config()
        config["name"] = "slice_feature_map" if layer.name == "feature_map" else layer.name
        return type(layer).from_config(config)

    return (
        keras.models.clone_model(flat, input_tensors=slices, clone_function=clone).get_layer("slice_feature_map").output
    )
