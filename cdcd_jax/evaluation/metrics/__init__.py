"""Metrics of samples, computed as examples stream by."""
