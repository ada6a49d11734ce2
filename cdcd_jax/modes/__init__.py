"""What the command line can do, one file for each ``--mode`` or two that share their work."""
