"""Judging samples, measuring the bound, and drawing pictures."""
