"""TFRecord shards: written, checked and read, without TensorFlow."""
