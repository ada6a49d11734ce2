"""Agreement of images with captions, by CLIP."""
