"""Checkpoints of a run: written whole, by one process, and read without changing anything."""
