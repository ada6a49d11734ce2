"""Frozen pretrained networks, whose features metrics and perceptual losses compare."""
