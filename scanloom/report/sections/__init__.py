"""Sections of the report, one file each: TITLE, ORDER and build(tables) -> Section."""
