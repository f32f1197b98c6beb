"""The report: one self-contained page from the tables of a study; sections/ holds one file per section."""
