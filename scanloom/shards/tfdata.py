"""Shards as a tf.data.Dataset, for TensorFlow code outside Scanloom. Training itself reads `records.open_shards`."""

from pathlib import Path

import tensorflow as tf

from scanloom.shards.records import TEXTS, BadShard, joined_spec, read_manifest


def tfdata(manifest_paths, splits, batch: int, drop_remainder: bool = False):
    """A tf.data.Dataset of dictionaries of batches: image (integers [batch, *spatial, channels]), label, item_id, ...

    Serialized records are batched first and parsed together, and pixels stay integers: half the cost of parsing one by
    one to float32 (benchmarks).
    """
    manifests = [(Path(path), read_manifest(path)) for path in manifest_paths]
    used = [(path, m) for path, m in manifests if any(m["splits"][split]["records"] for split in splits)]
    if not used:
        raise BadShard(f"no images of split {' or '.join(splits)} in the {len(manifests)} manifests given")
    spec, label_names = used[0][1]["image"], used[0][1]["labels"]
    compression = used[0][1]["compression"]
    for path, manifest in used:
        joined_spec(spec, manifest["image"], path)
        if manifest["compression"] != compression:
            raise BadShard(f"{path}: compression {manifest['compression']}, other shards have {compression}")
        if manifest["labels"] != label_names:
            raise BadShard(f"{path}: labels {manifest['labels']}, other shards have {label_names}: read them apart")
    files = [str(path.parent / m["splits"][split]["file"]) for path, m in used for split in splits]
    shape, channels = spec["shape"], spec["shape"][-1]
    features = {
        **{name: tf.io.FixedLenFeature([], tf.string) for name in ("image", *TEXTS)},
        "slice_index": tf.io.FixedLenFeature([], tf.int64),
        **({"label": tf.io.FixedLenFeature([len(label_names)], tf.float32)} if label_names else {}),
        "spacing_mm": tf.io.FixedLenFeature([len(shape) - 1], tf.float32),
        "slope": tf.io.FixedLenFeature([channels], tf.float32),
        "intercept": tf.io.FixedLenFeature([channels], tf.float32),
    }

    def parse(serialized):
        parsed = tf.io.parse_example(serialized, features)
        pixels = tf.io.decode_raw(parsed["image"], spec["dtype"])
        return {**parsed, "image": tf.reshape(pixels, [-1, *shape])}

    packed = {"none": "", "gzip": "GZIP"}[compression]
    records = tf.data.TFRecordDataset(files, compression_type=packed).batch(batch, drop_remainder=drop_remainder)
    return records.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
