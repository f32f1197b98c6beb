"""Ways of MONAI and TorchIO from a folder of DICOM to a cube, run by another Python that has these packages.

usage: python _volume_peers.py FOLDER SIZE. Prints the names of what it can do, then reads a name per line and answers
with the CPU seconds it took. One thread each. No Scanloom here: these environments do not have it.
"""

import sys
import time


def main(folder: str, size: int) -> None:
    """Answer until the input ends."""
    ways = monai_ways(folder, size) | torchio_ways(folder, size)
    print(" ".join(ways), flush=True)
    for line in sys.stdin:
        start = time.process_time()
        shape = ways[line.strip()]()
        print(time.process_time() - start, *shape, flush=True)


def monai_ways(folder: str, size: int) -> dict:
    """Both of MONAI's DICOM readers, Spacing to 1 mm (bilinear), centre crop."""
    import monai.transforms as transforms
    import SimpleITK
    import torch

    torch.set_num_threads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

    def way(reader: str):
        chain = transforms.Compose(
            [
                transforms.LoadImage(reader=reader, image_only=True),
                transforms.EnsureChannelFirst(),
                transforms.Spacing((1.0, 1.0, 1.0), mode="bilinear"),
                transforms.CenterSpatialCrop((size, size, size)),
            ]
        )
        return lambda: chain(folder).shape

    return {"MONAI_ITKReader": way("ITKReader"), "MONAI_PydicomReader": way("PydicomReader")}


def torchio_ways(folder: str, size: int) -> dict:
    """TorchIO: Resample to 1 mm (linear), CropOrPad."""
    import torchio

    def way():
        return torchio.CropOrPad(size)(torchio.Resample(1)(torchio.ScalarImage(folder))).data.shape

    return {"TorchIO": way}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
