"""Compare feeding training from token shards with encoding images at every step.

    python -m benchmarks.token_shards --batch 16 --negatives 10

Noise JPEGs are prepared once. Then a batch of positives and inter negatives is either read from
the shards, or, as the published code does, decoded from the images and encoded by the codec, the
negatives like the positives. Nothing else is done with a batch, so both are the most that training
could be fed; the ratio is that of one process, turn by turn.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks.timing import describe_environment, median_ratio, time_interleaved, write_json
from cdcd_jax.codecs.vqgan import VQGAN, make_vqgan
from cdcd_jax.data.images.decoding import crop_image, decode_image
from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.data.pipeline import make_train_dataset
from cdcd_jax.data.shards.prepare import prepare
from cdcd_jax.data.shards.token_shards import TokenShards

FINGERPRINT = "benchmark"


def main() -> None:
    options = _parse()
    source = _make_source(options.images, options.source_size)
    vqgan = make_vqgan(
        image_size=options.image_size,
        channels=options.channels,
        multipliers=tuple(options.multipliers),
        num_res_blocks=options.res_blocks,
        attention_resolutions=(options.image_size // 2 ** (len(options.multipliers) - 1),),
        num_codes=options.codes,
        compute_dtype=options.dtype,
    )
    encode_fn = _make_encoder(vqgan)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.threads) as pool:
        # Compiled before the clock starts; every batch of the preparation has this size.
        jax.block_until_ready(encode_fn(_noise(options.batch, options.image_size)))
        start = time.perf_counter()
        _prepare(source, encode_fn, folder, vqgan, options)
        prepared_per_second = len(source) / (time.perf_counter() - start)
        shards = TokenShards(folder, fingerprint=FINGERPRINT)
        load = partial(_encode_images, source, encode_fn, pool, options)
        calls = {
            "shards": _take_batches(shards, options),
            "on_the_fly": _encode_batches(load, shards, options, num_negatives=options.negatives),
            "on_the_fly_no_negatives": _encode_batches(load, shards, options, num_negatives=0),
        }
        times = time_interleaved(calls, rounds=options.rounds)
    rows = [
        {
            "name": name,
            "median_ms": 1e3 * float(np.median(seconds[..., 0])),
            "cpu_ms": 1e3 * float(np.median(seconds[..., 1])),
            "examples_per_second": options.batch / float(np.median(seconds[..., 0])),
            "speed_to_on_the_fly": median_ratio(times, "on_the_fly", to=name),
        }
        for name, seconds in times.items()
    ]
    print(f"prepared {prepared_per_second:.1f} images/s, once")
    for row in rows:
        print(
            f"{row['name']:24s} {row['median_ms']:10.2f} ms a batch "
            f"{row['examples_per_second']:10.1f} examples/s "
            f"{row['speed_to_on_the_fly']:8.1f} times on_the_fly"
        )
    if options.json:
        report = {"environment": describe_environment(), "options": vars(options), "rows": rows}
        write_json(options.json, report | {"prepared_per_second": prepared_per_second})


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.token_shards",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--batch", type=int, default=16, help="examples in a batch")
    parser.add_argument("--negatives", type=int, default=10, help="inter negatives per example")
    parser.add_argument("--images", type=int, default=512, help="images, multiple of --batch")
    parser.add_argument("--source-size", type=int, default=80, help="their height and width")
    parser.add_argument("--image-size", type=int, default=64, help="what the codec sees")
    parser.add_argument("--channels", type=int, default=32, help="the codec's; published 128")
    parser.add_argument("--multipliers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--res-blocks", type=int, default=2, help="at each size")
    parser.add_argument("--codes", type=int, default=1024)
    parser.add_argument("--dtype", default="float32", help="the codec's compute_dtype")
    parser.add_argument("--shard-size", type=int, default=128, help="multiple of --batch")
    parser.add_argument("--threads", type=int, default=4, help="that decode images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the measurements")
    return parser.parse_args()


def _make_source(count: int, size: int) -> ImageBytes:
    images = []
    for image in _noise(count, size // 4, seed=1):
        file = io.BytesIO()
        # Enlarged, as noise at full size would be dearer to decode than a photograph.
        Image.fromarray(image).resize((size, size)).save(file, "JPEG", quality=92)
        images.append(file.getvalue())
    return ImageBytes("noise", images, [k % 10 for k in range(count)], map(str, range(10)))


def _noise(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def _make_encoder(vqgan: VQGAN) -> Callable[[Any], jax.Array]:
    # Weights of NumPy's: any will do, and compiling the initialisation would take long.
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(vqgan.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.05, leaf.shape).astype("float32"), shapes)
    params = jax.device_put(params)

    @jax.jit
    def encode(params: Any, images: jax.Array) -> jax.Array:
        features = vqgan.encode(params, images.astype(jnp.float32) / 127.5 - 1)
        return vqgan.indices(params, features).reshape(len(images), -1)

    return partial(encode, params)


def _prepare(
    source: ImageBytes,
    encode_fn: Callable[[Any], Any],
    folder: str,
    vqgan: VQGAN,
    options: argparse.Namespace,
) -> None:
    prepare(
        source,
        encode_fn,
        folder,
        fingerprint=FINGERPRINT,
        vocab_size=options.codes,
        grid=vqgan.options.grid,
        image_size=options.image_size,
        shard_size=options.shard_size,
        batch_size=options.batch,
        num_threads=options.threads,
        progress=False,
    )


def _take_batches(shards: TokenShards, options: argparse.Namespace) -> Callable[[], Any]:
    return _counted(_make_dataset(shards, options, num_negatives=options.negatives))


class _Numbers:
    """Examples whose one token is their number: the pipeline then says whom a batch is made of."""

    length = 1

    def __init__(self, shards: TokenShards):
        self.cond, self.group = shards.cond, shards.group

    def __len__(self) -> int:
        return len(self.cond)

    def draw_cond(self, indices: np.ndarray, rng: np.random.Generator, /) -> np.ndarray:
        return self.cond[indices]

    def take(self, indices: np.ndarray, /) -> np.ndarray:
        return indices[..., None]


def _encode_batches(
    load: Callable[[np.ndarray], Any],
    shards: TokenShards,
    options: argparse.Namespace,
    *,
    num_negatives: int,
) -> Callable[[], Any]:
    """Draw the same positives and negatives as the shards' batches, and encode their images."""
    next_batch = _counted(_make_dataset(_Numbers(shards), options, num_negatives=num_negatives))

    def call() -> Any:
        batch = next_batch()
        parts = [batch["tokens"].ravel(), batch.get("negatives", np.zeros(0, int)).ravel()]
        return load(np.concatenate(parts))

    return call


def _make_dataset(
    examples: Any, options: argparse.Namespace, *, num_negatives: int
) -> grain.MapDataset:
    return make_train_dataset(
        examples, batch_size=options.batch, seed=0, num_negatives=num_negatives
    )


def _counted(dataset: grain.MapDataset) -> Callable[[], Any]:
    numbers = iter(range(2**62))
    return lambda: dataset[next(numbers)]


def _encode_images(
    source: ImageBytes,
    encode_fn: Callable[[Any], Any],
    pool: ThreadPoolExecutor,
    options: argparse.Namespace,
    indices: np.ndarray,
) -> list[np.ndarray]:
    def crop(index: int) -> np.ndarray:
        image = source[index]
        return crop_image(decode_image(image.data, name=image.name), size=options.image_size)

    images = np.stack(list(pool.map(crop, indices.tolist())))
    batches = np.split(images, len(images) // options.batch)
    return [np.asarray(encode_fn(batch)) for batch in batches]


if __name__ == "__main__":
    main()
