"""What TensorBoard shows of a pretraining while it runs: curves, pictures, histograms of features and weights."""

from pathlib import Path

import numpy as np

from scanloom.files.png import png_of
from scanloom.lazy import keras

NO_CURVE = ("step", "collapsing")


class Board:
    """Event files below `folder`. Of a resumed training, what older files say from `first_step` on is left out."""

    def __init__(self, folder: Path, first_step: int):
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.writer.close()

    def curves(self, row: dict) -> None:
        """Every number of a row of the history, under its column's name."""
        for name, value in row.items():
            if name not in NO_CURVE:
                self.writer.add_scalar(name, value, row["step"])

    def histograms(self, encoder, features: np.ndarray, step: int) -> None:
        """The features [n, D], and each kernel of the encoder."""
        everything = {"features": features}
        for variable in encoder.trainable_variables:
            if len(variable.shape) > 1:
                everything[f"weights/{variable.path}"] = keras.ops.convert_to_numpy(variable)
        for name, values in everything.items():
            if np.isfinite(values).all():
                self.writer.add_histogram(name, values.ravel(), step)


def add_image(writer, name: str, pixels: np.ndarray, step: int) -> None:
    """Show uint8 pixels [height, width] or [height, width, 3]; tensorboardX would ask an image library for the PNG."""
    from tensorboardX.proto.summary_pb2 import Summary

    picture = Summary.Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        colorspace=1 if pixels.ndim == 2 else 3,
        encoded_image_string=png_of(pixels),
    )
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=picture)]), step)
