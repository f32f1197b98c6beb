"""Scanloom: from a folder of medical images to how many labels self-supervised pretraining saves."""

import os

# TensorFlow leaves its oneDNN kernels off on AMD's processors, although they make a training step there 1.6 to 30 times
# faster as well (benchmarks/README.md, "Training step"). It reads this once, when it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"
