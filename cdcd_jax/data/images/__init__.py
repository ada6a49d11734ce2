"""Sets of images, with classes or captions."""
