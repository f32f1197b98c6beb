"""Every view, one after the other, and every preset, on whatever backend runs; views_everywhere.py OUT.npz compiles.

With all optimisations: they join views, and then a number may be computed twice with different rounding.
"""

import sys

import keras
import numpy as np

from scanloom import plugins
from scanloom.pretraining.view_choice import preset, presets
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of

SHAPES = {"colour": (10, 10, 3), "volume": (6, 7, 8, 1)}
ALWAYS = {"p": 1.0}


def pipeline_of(shape: tuple[int, ...]) -> Pipeline:
    """All views that images of this shape can have, in the order of their names."""
    names = [name for name in plugins.names("views") if name != "greyscale" or shape[-1] == 3]
    return Pipeline([(name, ALWAYS) for name in names], shape)


def run(compiled=lambda function: function) -> dict[str, np.ndarray]:
    """The views of some images of each shape, made by what `compiled` makes of the pipeline's `apply`."""
    made = {}
    for name, shape in SHAPES.items():
        pipeline = pipeline_of(shape)
        images = np.random.default_rng(0).random((4, *shape), np.float32)
        draws = pipeline.draw(1, 0, 0, keys_of(range(4)))
        made[name] = keras.ops.convert_to_numpy(compiled(pipeline.apply)(images, draws))
    for name in presets():
        for branch, pipeline in enumerate(pipelines_of(name)):
            images = np.random.default_rng(0).random((8, *pipeline.image_shape), np.float32)
            draws = pipeline.draw(1, 0, 0, keys_of(range(8)))
            made[f"{name} {branch}"] = keras.ops.convert_to_numpy(compiled(pipeline.apply)(images, draws))
    return made


def pipelines_of(name: str) -> list[Pipeline]:
    """The preset's list for each branch; in colour where images can be."""
    views = preset(name)["views"]
    lists = list(views.values()) if isinstance(views, dict) else [views]
    shape = SHAPES["volume"] if "rank 3" in preset(name)["title"] else (16, 16, 3)
    return [Pipeline([next(iter(view.items())) for view in listed], shape) for listed in lists]


if __name__ == "__main__":
    import jax

    np.savez(sys.argv[1], **run(jax.jit))
