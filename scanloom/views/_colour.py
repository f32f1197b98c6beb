"""What views of colours share: luminance and hue of red, green and blue in [0, 1]."""

from scanloom.lazy import keras

WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue in the luminance: ITU-R BT.601."""


def three_channels(image_shape: tuple[int, ...]) -> bool:
    """Whether images of this shape, (*spatial, channels), can be in colour."""
    return image_shape[-1] == 3


def luminance(images):
    """[batch, *spatial, 1] of colour images [batch, *spatial, 3]."""
    return sum(weight * images[..., channel : channel + 1] for channel, weight in enumerate(WEIGHTS))


def hue_turned(images, turns):
    """Colour images with their hue turned by `turns` [batch, 1, ...] of a full circle; value and saturation stay.

    The hexcone model (Smith, SIGGRAPH 1978): HSV to RGB in one formula, channel n = v - chroma * clip(min(k, 4 - k)),
    k = (n + 6 hue) mod 6 for n = 5, 3, 1.
    """
    ops = keras.ops
    red, green, blue = (images[..., channel : channel + 1] for channel in range(3))
    value, least = ops.max(images, axis=-1, keepdims=True), ops.min(images, axis=-1, keepdims=True)
    chroma = value - least
    safe = ops.where(chroma > 0, chroma, 1.0)
    # Which is largest is asked of the channels: a compiler may compute `value` with other rounding than a channel.
    sector = ops.where(
        ops.logical_and(red >= green, red >= blue),
        (green - blue) / safe,
        ops.where(green >= blue, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    places = [ops.mod(n + sector + 6.0 * turns, 6.0) for n in (5.0, 3.0, 1.0)]
    return ops.concatenate(
        [value - chroma * ops.clip(ops.minimum(place, 4.0 - place), 0.0, 1.0) for place in places], axis=-1
    )
