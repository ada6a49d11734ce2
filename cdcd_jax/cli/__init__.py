"""The command line: flags, one file for each ``--mode``, and errors as one sentence."""
