"""Tokenised examples and the batches a training step takes."""
