"""What TensorBoard will find in a folder."""

import pytest


def board_entries(folder):
    """{(tag, step): PNG} and {(tag, step): histogram} of TensorBoard's logs, read by TensorFlow."""
    tf = pytest.importorskip("tensorflow")
    images, histograms = {}, {}
    for record in tf.data.TFRecordDataset([str(path) for path in sorted(folder.glob("events.*"))]):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            if value.HasField("image"):
                images[value.tag, event.step] = value.image.encoded_image_string
            if value.HasField("histo"):
                histograms[value.tag, event.step] = value.histo
    return images, histograms
