"""Keras, imported on first use.

Plug-ins declare their settings next to their code, and settings are checked while Snakemake plans. Importing Keras and
its TensorFlow backend costs about ten CPU seconds, so plug-ins write `from scanloom.lazy import keras` and pay only
when a function that computes is called.
"""

import importlib


class _Module:
    """Stands for the module `name`; importing it is postponed until an attribute is asked for."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str):
        return getattr(importlib.import_module(self._name), attribute)


keras = _Module("keras")
