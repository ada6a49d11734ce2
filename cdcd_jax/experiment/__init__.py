"""From a configuration to an ``Experiment``, checked as a whole before any long work."""
