"""Two random views of every image of a batch, against a tf.data pipeline that maps tf.image operations over images.

Per view: random resized crop, flip, Gaussian blur with probability one half, brightness and contrast, in the order of
config.yaml; uint8 images in, two float32 views in [0, 1] out, of the same size. Ours is what a training step does:
`Pipeline.draw` on the host (counted, though in training it runs in another thread) and `Pipeline.apply` on the batch,
in a plain tf.function and under XLA (TensorFlow trains the first way, JAX the second).
The peer draws and applies in a parallel map, batches and prefetches. First, both are given the same parameters and
must make the same views, up to the border: there the peer repeats the box's outermost pixels and pads the blur with
zeros. Times are wall times per image with its two views.

With `--peers PYTHON`, a Python with the CPU build of torch, torchvision and lightly, lightly's SimCLR transform with
the same amounts is a second peer: PIL images (grey ones as RGB, which it needs) in two workers of a DataLoader that
stay alive. Its views are not compared: it jitters, blurs and rounds as PIL does.
"""

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from _measure import compared, interleaved, run
from _other_python import OtherPython
from _synthetic import images_of

GOAL, LARGE_GOAL = 2.0, 1.5
LIGHTLY_GOAL, LARGE_LIGHTLY_GOAL = 3.0, 2.5
LARGE_PX = 224
WORKERS = 2
VIEWS = [("random_resized_crop", {}), ("flip", {}), ("gaussian_blur", {}), ("brightness_contrast", {"p": 1.0})]
TAPS = {48: 7, 64: 7, 128: 13, 224: 23}
"""Width of the peer's blur, a tenth of the image as SimCLR has it."""


def rows(
    folder: Path,
    peers: str | None = None,
    sizes=(64, 128, 224),
    channels=(1, 3),
    images: int = 512,
    batch: int = 128,
    rounds: int = 7,
) -> list:
    """The table; images: a multiple of the batch."""
    if not peers:
        print("no --peers: rows against lightly are left out\n")
    table = []
    for size in sizes:
        goal, lightly_goal = (GOAL, LIGHTLY_GOAL) if size < LARGE_PX else (LARGE_GOAL, LARGE_LIGHTLY_GOAL)
        for depth in channels:
            stored = images_of(images, size, depth, "uint8")
            check_equal(stored[:batch], size)
            ways = {
                "graph": our_views(stored, batch, jit_compile=False),
                "XLA": our_views(stored, batch, jit_compile=True),
                "peer": tf_image_views(stored, batch, TAPS[size]),
            }
            with ExitStack() as stack:
                if peers:
                    ways["lightly"] = lightly_views(stack, peers, stored, size, batch, folder / "images.npy")
                timings = interleaved(ways, rounds)
            ms = {name: [1000 * s for s in timing.wall_s] for name, timing in timings.items()}
            for name in ("graph", "XLA"):
                measure = f"{size} px, channels: {depth}, {name}"
                table.append(compared(measure, "ms/image", ms[name], ms["peer"], goal))
                if peers:
                    against = f"{measure}, against lightly"
                    table.append(compared(against, "ms/image", ms[name], ms["lightly"], lightly_goal))
    return table


def lightly_views(stack: ExitStack, python: str, stored: np.ndarray, size: int, batch: int, file: Path):
    """A function that lets lightly make two views of all images in another Python and returns their number."""
    np.save(file, stored)
    told = {"file": str(file), "size": size, "batch": batch, "workers": WORKERS, "threads": WORKERS}
    other = stack.enter_context(OtherPython(python, "_lightly_peers.py", "views", json.dumps(told)))
    return lambda: other.ask("views")["images"]


def our_views(stored: np.ndarray, batch: int, jit_compile: bool):
    """A function that makes two views of all images and returns their number."""
    import tensorflow as tf

    from scanloom.images.intensity import to_unit
    from scanloom.pretraining.view_pipeline import Pipeline
    from scanloom.stateless_random import keys_of

    pipeline = Pipeline(VIEWS, stored.shape[1:])
    keys = keys_of(f"item-{i}" for i in range(len(stored)))
    epoch = iter(range(10**9))

    @tf.function(jit_compile=jit_compile)
    def apply(images, first, second):
        unit = to_unit(images)
        return pipeline.apply(unit, first), pipeline.apply(unit, second)

    def made() -> int:
        number = next(epoch)
        for start in range(0, len(stored), batch):
            chosen = keys[start : start + batch]
            draws = [
                {name: tf.constant(values) for name, values in pipeline.draw(1, branch, number, chosen).items()}
                for branch in (0, 1)
            ]
            views = apply(tf.constant(stored[start : start + batch]), *draws)
        views[1].numpy()
        return len(stored)

    return made


def tf_view(image, box, flipped, brightness, contrast, sigma, blurred, taps: int):
    """One view of one uint8 image by tf.image; box: top, left, height, width in pixels."""
    import tensorflow as tf

    size, channels = image.shape[0], image.shape[-1]
    view = tf.image.resize(tf.slice(image, [box[0], box[1], 0], [box[2], box[3], -1]), (size, size)) / 255.0
    view = tf.cond(flipped, lambda: tf.image.flip_left_right(view), lambda: view)

    def blur():
        place = tf.range(-(taps // 2), taps // 2 + 1, dtype=tf.float32)
        weights = tf.exp(-place * place / (2 * sigma * sigma))
        weights = tf.tile((weights / tf.reduce_sum(weights))[:, None], [1, channels])
        once = tf.nn.depthwise_conv2d(view[None], weights[:, None, :, None], (1, 1, 1, 1), "SAME")
        return tf.nn.depthwise_conv2d(once, weights[None, :, :, None], (1, 1, 1, 1), "SAME")[0]

    view = tf.cond(blurred, blur, lambda: view)
    view = tf.image.adjust_brightness(tf.image.adjust_contrast(view, contrast), brightness)
    return tf.clip_by_value(view, 0.0, 1.0)


def tf_image_views(stored: np.ndarray, batch: int, taps: int):
    """A function that makes two views of all images and returns their number, by tf.image in a tf.data map."""
    import tensorflow as tf

    # Seeds per operation: TensorFlow refuses unseeded ones where a training made the process deterministic.
    def draw(seed, low=0.0, high=1.0):
        return tf.random.uniform([], low, high, seed=seed)

    def view(image, first_seed):
        corner, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image),
            tf.zeros([0, 0, 4]),
            seed=first_seed,
            area_range=(0.3, 1.0),
            aspect_ratio_range=(0.75, 1.33),
            use_image_if_no_bounding_boxes=True,
        )
        box = tf.concat([corner[:2], extent[:2]], 0)
        flipped, blurred, sigma = draw(first_seed + 1) < 0.5, draw(first_seed + 2) < 0.5, draw(first_seed + 3, 0.1, 2.0)
        brightness, contrast = draw(first_seed + 4, -0.1, 0.1), draw(first_seed + 5, 0.8, 1.2)
        return tf_view(image, box, flipped, brightness, contrast, sigma, blurred, taps)

    dataset = tf.data.Dataset.from_tensor_slices(stored)
    dataset = dataset.map(lambda image: (view(image, 1), view(image, 11)), tf.data.AUTOTUNE, deterministic=False)
    dataset = dataset.batch(batch).prefetch(tf.data.AUTOTUNE)
    return lambda: sum(int(first.shape[0]) for first, second in dataset)


def check_equal(stored: np.ndarray, size: int) -> None:
    """Raise ValueError unless both make the same views from the same parameters, away from the border."""
    import tensorflow as tf

    from scanloom.images.intensity import to_unit
    from scanloom.pretraining.view_pipeline import Pipeline
    from scanloom.stateless_random import keys_of

    stored = stored[:16]
    pipeline = Pipeline(VIEWS, stored.shape[1:])
    draws = pipeline.draw(1, 0, 0, keys_of(range(len(stored))))
    start = np.round(draws["0.random_resized_crop.start"] * size).astype(int)
    extent = np.clip(np.round(draws["0.random_resized_crop.size"] * size).astype(int), 1, size - start)
    draws["0.random_resized_crop.start"] = (start / size).astype(np.float32)
    draws["0.random_resized_crop.size"] = (extent / size).astype(np.float32)
    ours = np.asarray(pipeline.apply(tf.constant(to_unit(stored)), draws))
    border, wide = 8 if size >= 64 else 6, 2 * 8 + 1
    for i, image in enumerate(stored):
        sigma = draws["2.gaussian_blur.sigma_px"][i]
        peer = tf_view(
            tf.constant(image),
            tf.constant([*start[i], *extent[i]]),
            tf.constant(bool(draws["1.flip.flipped"][i, 0])),
            draws["3.brightness_contrast.brightness"][i],
            draws["3.brightness_contrast.contrast"][i],
            sigma,
            tf.constant(bool(sigma > 0.05)),
            wide,
        )
        difference = np.abs(ours[i] - peer.numpy())[border:-border, border:-border].max()
        if difference > 0.01:
            raise ValueError(f"{size} px: view {i} differs from the peer's by {difference:.3f}")


if __name__ == "__main__":
    peers = {"metavar": "PYTHON", "help": "a Python with torch, torchvision and lightly"}
    run(__file__, __doc__, rows, {"peers": peers})
