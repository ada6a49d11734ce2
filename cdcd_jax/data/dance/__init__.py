"""Sets of dances with their music, and sound files."""
