"""Preprocessing steps: one file each, `apply(volume, settings) -> Volume`.

A step that changes the pixel grid or drops slices also has `apply_to_mask(mask, settings)`, which moves a lesion mask
(a Volume of zeros and ones on the grid of its series) the same way, to the nearest pixel, so that masks fit the images.
`slice_index` of the result says which slice of the stack each slice is, -1 where a step made a new one. The values it
is given stay as they are, unless they are `expendable`: then `volume.room()` is them.

A step that moves pixels to where the image's content says (crop_to_foreground) takes the image too:
`apply_to_mask(mask, settings, volume)`. `IDEMPOTENT = True` claims that a second time changes nothing,
`slicewise(settings)` that each slice is treated whatever the others are. Contract tests hold every step to its claims.

A step that can make a part of its result for less has `apply_part(volume, settings, kept)`, one that keeps only part of
what it is given `kept(volume, shape, settings)`: where the first comes right before the second, pixels that would be
cut off are never made.

A first step that treats grey slices one by one may have `of_slices(shape, settings)` and `placed(volume, values,
settings)` (readers._volume.EarlyStep): a reader then does it to each slice as it reads it.
"""
