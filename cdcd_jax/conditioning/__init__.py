"""Frozen encoders of what a generation is asked for: they turn a condition into features."""
