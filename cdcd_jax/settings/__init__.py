"""Configurations: how files are read, and sections, kinds and ranges of values."""
