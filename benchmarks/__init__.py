"""Measurements; nothing here is imported by the package or asserted by its tests."""
