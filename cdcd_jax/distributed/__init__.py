"""Devices and hosts: the mesh, partition rules, joining hosts and losing them."""

from cdcd_jax.lazy import attach

__getattr__, __dir__ = attach(__name__, {"make_mesh": "mesh", "shard_params": "partition"})
