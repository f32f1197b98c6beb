"""Readers: one file per image format; each finds images below a folder and gives their pixels in physical units."""
