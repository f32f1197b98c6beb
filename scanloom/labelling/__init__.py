"""From label tables, names and masks to one row of class indices per image."""
