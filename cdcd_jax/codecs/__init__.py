"""Frozen codecs between data (pictures, sound) and tokens."""
