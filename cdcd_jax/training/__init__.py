"""One training loop: state, optimizer, step, checkpoints, metrics."""
