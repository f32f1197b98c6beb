"""Files as such: packed, listed, written, none of them an image yet."""
