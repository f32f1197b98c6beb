"""Files that are the channels of one volume, one each: registered MR sequences, for example.

They lie side by side and have names that differ in one part, at the end of the name: `case_t1.nii`, `case_flair.nii`.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from scanloom.readers._volume import Volume

NO_CHANNEL = "not a channel of a stacked series"
MISSING = "channel is missing"
DIFFERENT = "channels of different geometry"
COLOURED = "a stacked channel has channels of its own"
_HERE = "\0"


def split_name(path: str, parts: Sequence[str]) -> tuple[str, str] | None:
    """(what the files of one volume have in common, the part of this one); None where the name has none of them."""
    longest_first = "|".join(re.escape(part) for part in sorted(parts, key=len, reverse=True))
    match = re.fullmatch(rf"(.*)({longest_first})(\.[^/]*)", path, re.DOTALL)
    return None if match is None else (match[1] + _HERE + match[3], match[2])


def paths_of(path: str, parts: Sequence[str]) -> list[str]:
    """The files of the volume to which the file belongs, in the order of the channels."""
    common, _ = split_name(path, parts)
    return [common.replace(_HERE, part) for part in parts]


def stacked(files: dict, parts: Sequence[str]) -> tuple[dict, dict[str, str], dict[str, str]]:
    """(file of the first channel of each whole volume -> what it holds, other file -> reason, other channel -> first).

    files: path -> _stored_volume.Stored.
    """
    volumes, first, reasons, beside = defaultdict(dict), {}, {}, {}
    for path in files:
        found = split_name(path, parts)
        if found is None:
            reasons[path] = NO_CHANNEL
        else:
            volumes[found[0]][found[1]] = path
    for channels in volumes.values():
        reason = _fault([files[path] for path in channels.values()], [part for part in parts if part not in channels])
        if reason:
            reasons |= dict.fromkeys(channels.values(), reason)
        else:
            lead, *others = (channels[part] for part in parts)
            first[lead] = files[lead]
            beside |= dict.fromkeys(others, lead)
    return first, reasons, beside


def _fault(channels: list, missing: list[str]) -> str:
    """Why these files cannot be stacked, or ""."""
    if missing:
        return f"{MISSING}: {', '.join(missing)}"
    lead, *others = channels
    if any(channel.shape[0] > 1 for channel in channels):
        return "several volumes in one file"
    if any(channel.shape[4] > 1 for channel in channels):
        return COLOURED
    alike = all(channel.shape == lead.shape and _same_place(channel, lead) for channel in others)
    return "" if alike else DIFFERENT


def _same_place(a, b) -> bool:
    if a.affine_lps is None or b.affine_lps is None:
        return a.affine_lps is b.affine_lps
    return np.allclose(a.affine_lps, b.affine_lps, atol=1e-3)


def joined(volumes: list[Volume], parts: Sequence[str]) -> Volume:
    """One volume with a channel per part, of volumes without channels. Padding is where any of them has some."""
    units = {volume.unit for volume in volumes}
    if len(units) > 1:
        raise ValueError(f"channels in different units ({', '.join(sorted(units))}): say `unit`")
    masks = [volume.padding_mask for volume in volumes if volume.padding_mask is not None]
    lead = volumes[0]
    return Volume(
        values=np.stack([volume.values for volume in volumes], axis=-1),
        unit=lead.unit,
        spacing_mm=lead.spacing_mm,
        padding_mask=np.logical_or.reduce(masks) if masks else None,
        channels=tuple(part.strip("_-. ") for part in parts),
        slice_index=lead.slice_index,
        affine_lps=lead.affine_lps,
    )
