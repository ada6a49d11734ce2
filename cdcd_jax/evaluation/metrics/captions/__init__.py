"""How well images match captions, by CLIP."""
