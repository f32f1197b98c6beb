"""Preprocessing steps: one file each, `apply(volume, settings) -> Volume`.

A step that changes the pixel grid or drops slices also has `apply_to_mask(mask, settings)`, which moves a lesion mask
(a Volume of zeros and ones on the grid of its series) the same way, to the nearest pixel, so that masks fit the images.
`slice_index` of the result says which slice of the stack each slice is, -1 where a step made a new one.
"""
