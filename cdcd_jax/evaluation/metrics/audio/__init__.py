"""Metrics of music: beats, tempo and genre."""
