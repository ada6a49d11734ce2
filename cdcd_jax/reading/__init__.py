"""Reading untrusted files: regular files only, within limits, and never executed."""
