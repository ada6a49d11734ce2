"""From a configuration to objects: the only place that reads a ConfigDict.

Everything is checked here, shapes included, before any long work starts.
"""
