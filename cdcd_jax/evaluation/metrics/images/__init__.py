"""Metrics of images: Frechet distance, precision and recall, classifiers."""
