"""A source of tiny images and an encoder in NumPy, for tests of the preparation.

As a program it prepares them in processes that it kills at random moments, until all come to the
end, and prints how many shards each kill found complete:

    python tests/support/numpy_encoder.py FOLDER SEED NUM_PROCESSES
"""

import io
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cdcd_jax.data.images.caption_files import CaptionedImages
from cdcd_jax.data.images.sources import ImageBytes
from cdcd_jax.data.shards.prepare import prepare

GRID = (4, 4)
VOCAB_SIZE = 50
NUM_CLASSES = 5


def make_source(count, num_classes=NUM_CLASSES):
    """Make noise images of several sizes and shapes."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        height, width = rng.integers(10, 20, 2)
        file = io.BytesIO()
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        images.append(file.getvalue())
    labels = [index % num_classes for index in range(count)]
    return ImageBytes("noise", images, labels, [f"class {k}" for k in range(num_classes)])


def make_captioned_source(count):
    """Make noise images with one to three captions, not all in ASCII."""
    captions = [[f"bruit {k}, numéro {text}" for text in range(k % 3 + 1)] for k in range(count)]
    return CaptionedImages(make_source(count), captions)


def encode(images):
    """Map each 2x2 block of an 8x8 image to a token."""
    blocks = images.reshape(len(images), 4, 2, 4, 2, 3).astype(np.int32)
    return (blocks.sum(axis=(2, 4, 5), dtype=np.int32) % VOCAB_SIZE).reshape(len(images), 16)


def options(**changes):
    """Return the arguments that fit the encoder."""
    return {
        "fingerprint": "f" * 64,
        "vocab_size": VOCAB_SIZE,
        "grid": GRID,
        "image_size": 8,
        "shard_size": 16,
        "batch_size": 6,
        "progress": False,
        **changes,
    }


def slow_encode(images):
    """Take some time, as a network would."""
    time.sleep(0.005)
    return encode(images)


def prepare_slowly(folder, process_index=0, num_processes=1):
    prepare(
        make_captioned_source(240),
        slow_encode,
        folder,
        **options(views=2, crop="random", flip=True),
        process_index=process_index,
        num_processes=num_processes,
    )


def fork(function, *arguments):
    child = os.fork()  # before there are threads; imports are paid for once
    if child == 0:
        function(*arguments)
        os._exit(0)
    return child


def prepare_and_kill(folder, rng, num_processes):
    """Return the number of complete shards and of half-written files at each kill."""
    found = []
    while True:
        children = [fork(prepare_slowly, folder, k, num_processes) for k in range(num_processes)]
        time.sleep(rng.uniform(0.02, 0.2 + 0.02 * len(found)))  # longer where it is slow
        for child in children:
            os.kill(child, signal.SIGKILL)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        if not any(statuses):
            return found
        files = os.listdir(folder) if folder.exists() else []
        complete = sum(name.startswith("tokens-") and name.endswith(".json") for name in files)
        found.append((complete, sum(name.endswith(".tmp") for name in files)))


if __name__ == "__main__":
    folder, seed, num_processes = sys.argv[1:]
    rng = random.Random(int(seed))
    print(json.dumps(prepare_and_kill(Path(folder), rng, int(num_processes))))
