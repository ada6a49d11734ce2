"""One host of two that take twenty steps of a real experiment: ``digits_host.py FILE ...``."""

import argparse

import jax
import numpy as np
from test_devices import train_on

from cdcd_jax.training.hosts import join_hosts

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--coordinator")
parser.add_argument("--num_hosts", type=int)
parser.add_argument("--host_index", type=int)
parser.add_argument("--fsdp", type=int, default=1)
parser.add_argument("--tensor", type=int, default=1)

if __name__ == "__main__":
    given = parser.parse_args()
    join_hosts(given.coordinator, given.num_hosts, given.host_index, timeout=120)
    losses, params = train_on(jax.devices(), fsdp=given.fsdp, tensor=given.tensor)
    if jax.process_index() == 0:
        np.savez(given.file, losses=losses, **params)
