"""What a training step will take, counted and read from its compiled program before it runs."""
