"""How files of others are read: regular files only, within limits, and never executed."""
