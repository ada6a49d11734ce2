"""The settings that experiments share; a configuration file changes what differs."""
