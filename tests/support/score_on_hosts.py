"""Score the small model on all devices of all hosts: ``python score_on_hosts.py FOLDER``.

With ``--coordinator``, ``--num_hosts`` and ``--host_index`` it is one of several.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from cdcd_jax.distributed.mesh import make_mesh, replicated
from cdcd_jax.distributed.partition import shard_params
from cdcd_jax.distributed.shard_batch import place_arrays
from cdcd_jax.evaluation.metrics.images.frechet import Moments
from cdcd_jax.evaluation.metrics.images.reference import Reference, load_reference
from tests.support.small_model import DecodedImages, make_small_model, random_params, score_on

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--coordinator")
    parser.add_argument("--num_hosts", type=int)
    parser.add_argument("--host_index", type=int)
    args = parser.parse_args()
    if args.coordinator:
        jax.distributed.initialize(args.coordinator, args.num_hosts, args.host_index)
    mesh = make_mesh(fsdp=2)
    params = random_params(make_small_model())
    whole = place_arrays(params, replicated(mesh))
    params = jax.jit(lambda tree: tree, out_shardings=shard_params(params, mesh))(whole)
    # Only the first host has this file, as where hosts have disks of their own.
    kept = args.folder / f"kept{jax.process_index()}.npz"
    one = Moments(1, np.zeros(2), np.zeros((2, 2)))
    nothing = Reference(one, np.zeros((0, 2), np.float32))
    for _ in range(2):
        load_reference(kept, "nothing", DecodedImages(()), lambda _: nothing)
    result = {
        "devices": jax.device_count(),
        "files": sorted(file.name for file in args.folder.glob("kept*")),
        **score_on(mesh, params),
    }
    (args.folder / f"host{jax.process_index()}.json").write_text(json.dumps(result))
