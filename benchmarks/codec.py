"""Count how many images a second the codec encodes and decodes.

    python -m benchmarks.codec --batches 1 4 16 --dtypes float32 bfloat16
    python -m benchmarks.codec --smoke

The images are noise, which takes as long as any. A matrix product has its turns with them, so
that the ratio to it shows the effect of the machine's load.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import describe_environment, median_ratio, time_interleaved, write_json
from cdcd_jax.codecs.image_codec import ImageCodec
from cdcd_jax.codecs.vqgan import make_vqgan

MATMUL_SIZE = 1024
PUBLISHED = {
    "f16": {},
    "f8": {
        "multipliers": (1, 1, 2, 4),
        "attention_resolutions": (32,),
        "num_codes": 8192,
        "quantizer": "gumbel",
    },
}
SMOKE = {
    "image_size": 16,
    "channels": 8,
    "multipliers": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (),
    "latent_dim": 8,
    "code_dim": 8,
    "num_codes": 32,
}


def main() -> None:
    options = parse_arguments()
    calls: dict[str, Callable[[], Any]] = {"matmul": matmul()}
    sizes = {}
    for dtype in options.dtypes:
        architecture = SMOKE if options.smoke else PUBLISHED[options.codec]
        vqgan = make_vqgan(**architecture, compute_dtype=dtype)
        params = vqgan.init(jax.random.key(0))
        for batch in options.batches:
            codec = ImageCodec(vqgan, params, batch_size=batch)
            shape = (batch, codec.image_size, codec.image_size, 3)
            random = np.random.default_rng(0)
            images = random.integers(0, 256, shape, dtype=np.uint8)
            tokens = codec.encode(images)
            for name, call in {
                "encode": lambda codec=codec, images=images: codec.encode(images),
                "decode": lambda codec=codec, tokens=tokens: codec.decode(tokens),
            }.items():
                calls[f"{name} {dtype} {batch}"] = call
                sizes[f"{name} {dtype} {batch}"] = batch
    times = time_interleaved(calls, rounds=options.rounds)
    rows = []
    for name, batch in sizes.items():
        seconds = float(np.median(times[name][..., 0]))
        row = {
            "name": name,
            "batch": batch,
            "median_ms": 1e3 * seconds,
            "images_per_second": batch / seconds,
            "ratio_to_matmul": median_ratio(times, name, "matmul"),
        }
        rows.append(row)
        print(f"{name:<24}{row['median_ms']:>10.1f} ms{row['images_per_second']:>10.2f} /s")
    if options.json:
        report = {"environment": describe_environment(), "options": vars(options), "rows": rows}
        write_json(options.json, report)


def matmul() -> Callable[[], Any]:
    factor = jax.random.normal(jax.random.key(0), (MATMUL_SIZE, MATMUL_SIZE))
    product = jax.jit(jnp.dot)
    return lambda: product(factor, factor)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.codec",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--codec", choices=PUBLISHED, default="f16", help="published architecture")
    parser.add_argument("--smoke", action="store_true", help="a tiny codec instead")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="images at once")
    parser.add_argument("--dtypes", choices=("float32", "bfloat16"), nargs="+", default=["float32"])
    parser.add_argument("--rounds", type=int, default=5, help="how often each has its turn")
    parser.add_argument("--json", help="file for the measurements")
    return parser.parse_args()


if __name__ == "__main__":
    main()
