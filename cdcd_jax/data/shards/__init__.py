"""Tokens on disk: written once, read by index."""
