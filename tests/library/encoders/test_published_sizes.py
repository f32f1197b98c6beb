"""Encoders have as many trainable parameters as their published namesakes without the classifier.

torchvision: resnet18 to 152, densenet121, 169, 201, convnext_tiny (11,689,512 and so on less the 1000-way layer). timm:
resnet200, resnetv2_*, vit_*_patch16_224, convnext_base. Counted with 3 channels.
"""

import numpy as np
import pytest

from scanloom import plugins

VIT = {"patch": 16, "depth": 12, "pooling": "class", "positions": "learned"}
QUICK = [
    ("resnet", {"depth": 18}, 11_176_512),
    ("resnet", {"depth": 34}, 21_284_672),
    ("resnet", {"depth": 50}, 23_508_032),
    ("resnet", {"depth": 18, "version": 2}, 11_174_720),
    ("vit", {**VIT, "width": 192, "heads": 3}, 5_524_416),
    ("vit", {**VIT, "width": 384, "heads": 6}, 21_665_664),
    ("convnext", {"depths": (3, 3, 9, 3), "width": 96, "patch": 4}, 27_820_128),
]
SLOW = [
    ("resnet", {"depth": 50, "version": 2}, 23_500_352),
    ("resnet", {"depth": 101}, 42_500_160),
    ("resnet", {"depth": 101, "version": 2}, 42_492_480),
    ("resnet", {"depth": 152}, 58_143_808),
    ("resnet", {"depth": 200}, 62_624_832),
    ("densenet", {"depth": 121}, 6_953_856),
    ("densenet", {"depth": 169}, 12_484_480),
    ("densenet", {"depth": 201}, 18_092_928),
    ("vit", {**VIT, "width": 768, "heads": 12}, 85_798_656),
    ("convnext", {"depths": (3, 3, 27, 3), "width": 128, "patch": 4}, 87_566_464),
]


@pytest.mark.parametrize(
    ("name", "settings", "published"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_parameters_are_as_many_as_published(name, settings, published):
    stem = {"stem": "imagenet"} if name in ("resnet", "densenet") else {}
    edge = 224 if name == "vit" else 64
    checked = plugins.settings("encoders", name, settings | stem)
    encoder = plugins.load("encoders", name).build(checked, (edge, edge, 3), 0)
    assert sum(int(np.prod(v.shape)) for v in encoder.trainable_variables) == published


def test_resnet_18_for_grey_images_lacks_two_channels_of_the_first_kernel():
    checked = plugins.settings("encoders", "resnet", {"depth": 18, "stem": "imagenet"})
    encoder = plugins.load("encoders", "resnet").build(checked, (32, 32, 1), 0)
    assert sum(int(np.prod(v.shape)) for v in encoder.trainable_variables) == 11_176_512 - 2 * 7 * 7 * 64
