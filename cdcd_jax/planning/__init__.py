"""The cost of a training step, from its jaxpr and its compiled program."""
