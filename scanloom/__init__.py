"""Scanloom: from a folder of medical images to how many labels self-supervised pretraining saves."""

__version__ = "0.1.0"
