"""Where images come from: one file per source, each with `Settings`, `check`, `fetch` and `LABEL_COLUMNS`."""
