"""Sets that need no download: digits, glyphs and groove."""
