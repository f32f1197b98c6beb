"""A lesion mask taken through the steps of its series, so that it fits the images."""

import inspect
from collections.abc import Sequence
from types import ModuleType

from scanloom.readers._volume import Volume


def follows_image(module: ModuleType) -> bool:
    """Whether the step moves pixels to where the image's content says: `apply_to_mask(mask, settings, volume)`."""
    return hasattr(module, "apply_to_mask") and "volume" in inspect.signature(module.apply_to_mask).parameters


def moved(mask: Volume, steps: Sequence[tuple[ModuleType, object]], volume: Volume | None = None) -> Volume:
    """The mask after all steps (module, settings) that move pixels; steps that change values only are passed over.

    mask: Volume of zeros and ones on the grid of its series as read. volume: that series, needed only for steps that
    follow the image; raises ValueError where it is missing.
    """
    last = max((place for place, (module, _) in enumerate(steps) if follows_image(module)), default=-1)
    if last >= 0 and volume is None:
        name = steps[last][0].__name__.rpartition(".")[2]
        raise ValueError(
            f"the step {name} moves pixels to where the image says, so a mask alone cannot follow it; use crop_or_pad "
            "for datasets with masks"
        )
    for place, (module, settings) in enumerate(steps):
        if follows_image(module):
            mask = module.apply_to_mask(mask, settings, volume)
        elif hasattr(module, "apply_to_mask"):
            mask = module.apply_to_mask(mask, settings)
        if place < last:
            volume = module.apply(volume, settings)
    return mask
