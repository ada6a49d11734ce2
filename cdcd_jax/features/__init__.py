"""Frozen pretrained networks that metrics and perceptual losses see pictures through."""
