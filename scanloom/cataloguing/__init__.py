"""Every file found becomes part of a series, or is left out with one reason."""
