"""Checkpoints of a run: written atomically by one process, read without side effects."""
