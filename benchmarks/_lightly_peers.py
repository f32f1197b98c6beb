"""PyTorch with lightly, run by another Python that has torch, torchvision and lightly: its steps and its views.

usage: python _lightly_peers.py step|views SETTINGS, with the settings as JSON. It says in one line of JSON what it can
do, then reads a request per line and answers each with a line of JSON. No Scanloom here: these environments do not
have it.
"""

import json
import sys

import numpy as np
import torch
from torch import nn


def main(kind: str, settings: dict) -> None:
    """Answer until the input ends."""
    torch.set_num_threads(settings["threads"])
    # Beside the CPU build of torch, PyPI's torchvision lacks its compiled operations; its import only asks for these.
    for operation in ("nms", "qnms"):
        try:
            torch.library.define(f"torchvision::{operation}", "(Tensor d, Tensor s, float t) -> Tensor")
        except RuntimeError:
            continue
    ways = {"step": steps, "views": views}[kind](**settings)
    print(json.dumps({"ways": list(ways), "versions": versions()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        name = request.pop("way")
        print(json.dumps(ways[name](**request)), flush=True)


def versions() -> dict:
    """Of what is measured here."""
    from importlib import metadata

    return {name: metadata.version(name) for name in ("torch", "torchvision", "lightly")}


def steps(threads: int, shape: list, batch: int, encoder: dict, projector: list, compiled: bool, matrix: int) -> dict:
    """Barlow Twins steps on views in memory, channels first and last, eager and compiled; also "gemm" and "loss"."""
    from lightly.loss import BarlowTwinsLoss

    *spatial, channels = shape
    last = torch.channels_last if len(spatial) == 2 else torch.channels_last_3d

    def step(memory_format, compile_it: bool):
        torch.manual_seed(0)
        network = network_of(len(spatial), channels, encoder, projector).to(memory_format=memory_format).train()
        pair = [torch.rand(batch, channels, *spatial).to(memory_format=memory_format) for _ in range(2)]
        criterion = BarlowTwinsLoss(lambda_param=0.005)
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
        forward = torch.compile(network) if compile_it else network

        def update() -> dict:
            loss = criterion(forward(pair[0]), forward(pair[1]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return {"loss": loss.item()}

        update.parameters = sum(p.numel() for p in network.parameters())
        return update

    a, b = torch.rand(2, matrix, matrix)

    def gemm() -> dict:
        torch.mm(a, b)
        return {}

    def loss(file: str) -> dict:
        with np.load(file) as stored:
            z1, z2 = (torch.from_numpy(stored[name]) for name in ("z1", "z2"))
        return {"loss": BarlowTwinsLoss(lambda_param=0.005)(z1, z2).item()}

    ways = {"eager": step(torch.contiguous_format, False), "eager, channels_last": step(last, False)}
    if compiled:
        ways["compile, channels_last"] = step(last, True)
    parameters = next(iter(ways.values())).parameters
    return ways | {"gemm": gemm, "loss": loss, "parameters": lambda: {"parameters": parameters}}


def network_of(rank: int, channels: int, encoder: dict, projector: list) -> nn.Module:
    """Images to embeddings: torchvision's ResNet-18 where that is asked for, else the same blocks in any rank."""
    from lightly.models.modules import BarlowTwinsProjectionHead

    if rank == 2 and encoder == {"depth": 18, "stem": "imagenet"} and channels == 3:
        import torchvision

        trunk = torchvision.models.resnet18()
        trunk.fc = nn.Identity()
        features = 512
    else:
        trunk, features = resnet(rank, channels, **encoder), 8 * encoder.get("width", 64)
    hidden, out = projector[0], projector[-1]
    return nn.Sequential(trunk, BarlowTwinsProjectionHead(features, hidden, out))


def resnet(rank: int, channels: int, depth: int, stem: str, width: int = 64) -> nn.Module:
    """torchvision's ResNet of basic blocks in another rank or with another stem; [batch, 8 * width] comes out."""
    conv, norm = getattr(nn, f"Conv{rank}d"), getattr(nn, f"BatchNorm{rank}d")

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int):
            super().__init__()
            self.conv1, self.norm1 = conv(before, after, 3, stride, 1, bias=False), norm(after)
            self.conv2, self.norm2 = conv(after, after, 3, 1, 1, bias=False), norm(after)
            self.shortcut = nn.Identity()
            if stride != 1 or before != after:
                self.shortcut = nn.Sequential(conv(before, after, 1, stride, bias=False), norm(after))
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.relu(self.norm1(self.conv1(x)))
            return self.relu(self.norm2(self.conv2(y)) + self.shortcut(x))

    kernel, stride, padding = {"small": (3, 1, 1), "strided": (4, 2, 1), "imagenet": (7, 2, 3)}[stem]
    layers = [conv(channels, width, kernel, stride, padding, bias=False), norm(width), nn.ReLU(inplace=True)]
    if stem == "imagenet":
        layers.append(getattr(nn, f"MaxPool{rank}d")(3, 2, 1))
    before = width
    for stage, count in enumerate({10: (1, 1, 1, 1), 18: (2, 2, 2, 2)}[depth]):
        for block in range(count):
            after = width * 2**stage
            layers.append(Block(before, after, 2 if stage and not block else 1))
            before = after
    return nn.Sequential(*layers, getattr(nn, f"AdaptiveAvgPool{rank}d")(1), nn.Flatten())


def views(threads: int, file: str, size: int, batch: int, workers: int) -> dict:
    """lightly's SimCLR transform of the images in the file, with the jitter of ours, by a DataLoader with workers."""
    from lightly.transforms import SimCLRTransform
    from PIL import Image

    pictures = [Image.fromarray(image.squeeze()).convert("RGB") for image in np.load(file)]
    transform = SimCLRTransform(
        input_size=size,
        cj_prob=1.0,
        cj_strength=1.0,
        cj_bright=0.1,
        cj_contrast=0.2,
        cj_sat=0.0,
        cj_hue=0.0,
        min_scale=0.3,
        random_gray_scale=0.0,
        gaussian_blur=0.5,
        sigmas=(0.1, 2.0),
        normalize=None,
    )

    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, i: int) -> tuple:
            return tuple(transform(pictures[i]))

    loader = torch.utils.data.DataLoader(Pairs(), batch, num_workers=workers, persistent_workers=workers > 0)
    return {"views": lambda: {"images": sum(len(first) for first, second in loader)}}


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
