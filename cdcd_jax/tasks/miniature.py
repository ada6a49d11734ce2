"""Data of a run on synthetic files: a miniature set, a codec and CLIP, written once.

Everything goes into ``<workdir>/data``, in the layouts and files that the real ones have, and is
then read as those are.
"""

import hashlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.codecs.jukebox import JukeboxOptions, make_jukebox
from cdcd_jax.codecs.vqgan import VQGANOptions, make_vqgan
from cdcd_jax.conditioning.clip_bpe import BYTE_TOKENS
from cdcd_jax.data.images.stream import load_images
from cdcd_jax.data.miniature.aist import make_aist
from cdcd_jax.data.miniature.coco import draw_coco
from cdcd_jax.data.miniature.cub import draw_cub
from cdcd_jax.data.miniature.imagenet import draw_imagenet
from cdcd_jax.data.miniature.shapes import COLOURS, SHAPES, describe_shape
from cdcd_jax.data.miniature.tiktok import make_tiktok
from cdcd_jax.distributed.agreement import on_first_host
from cdcd_jax.interop.jukebox import jukebox_to_state_dict
from cdcd_jax.interop.tiny_clip import merge_words, write_clip, write_merges
from cdcd_jax.interop.torch_writer import write_torch
from cdcd_jax.interop.vqgan import vqgan_to_state_dict
from cdcd_jax.io import atomic_folder
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.codec_family import take_options
from cdcd_jax.tasks.music import load_dances
from cdcd_jax.tasks.places import find_places
from cdcd_jax.tasks.sources import load_split
from cdcd_jax.typing import Params, PRNGKey

SETS: dict[str, Callable[[Path], None]] = {
    "aist": make_aist,
    "coco": draw_coco,
    "cub": draw_cub,
    "imagenet": draw_imagenet,
    "tiktok": make_tiktok,
}
"""What ``data.name`` may be where ``data.synthetic`` is True -> what writes it into a folder."""

NOTICE = (
    "Data, codec and frozen weights that this run is not given are synthetic "
    "(data.synthetic = True): it shows that the program works, and its scores mean nothing."
)

SHARE_USED = 0.75
"""Of the codes, where a list says which are in use; of the published f16 codec's it is 0.06."""

NUM_EXAMPLES = 16
"""Images or dances whose features become the codes."""

CODEC, USED_CODES = "vqvae.ckpt", "taming_vqvae_used.pt"
WEIGHTS, MERGES = "model.safetensors", "bpe_simple_vocab_16e6.txt.gz"
"""Names of the files, like those of the published ones."""


def is_synthetic(config: Any) -> bool:
    """Return whether a run writes its own data."""
    return bool(config.data.get("synthetic", False))


def provide_synthetic(config: Any, workdir: Path) -> None:
    """Write the data of a synthetic run where they are not there yet, and give their places.

    Each part is written atomically, by the first of many hosts. A place that the
    configuration gives is left as it is.

    Args:
        config: The whole configuration; places that are None are set.
        workdir: Folder of the run.

    Raises:
        ValueError: If there is no miniature of the set, or a value is wrong.
        OSError: If something cannot be written.
    """
    if not is_synthetic(config):
        return
    if config.data.name not in SETS:
        raise ValueError(
            f'data.synthetic = True: there is no miniature of "{config.data.name}", only of '
            f"{', '.join(SETS)}"
        )
    root = workdir / "data"
    if config.data.path is None:
        config.data.path = str(_once(root / config.data.name, SETS[config.data.name]))
        wants_video = config.data.name == "aist" and config.condition.video is not False
        if wants_video and config.data.video is None:
            config.data.video = str(root / config.data.name / "video")
    if config.condition.kind == "clip":
        _provide_clip(config, root)
    if "weights" not in config.codec:
        return
    places = find_places(config, workdir)
    if config.codec.weights is not None or places.codec_file.exists():
        return  # an own codec, from --mode=codec, is taken where there is one
    write = _write_jukebox if config.codec.name == "jukebox" else _write_vqgan
    folder = root / f"{config.codec.name}-{_digest(config.codec)}"
    _once(folder, lambda part: make_section(config, "codec", write, config, part))
    config.codec.weights = str(folder / CODEC)
    if "used_codes" in config.codec and config.codec.used_codes is None:
        config.codec.used_codes = str(folder / USED_CODES)


def _once(folder: Path, write: Callable[[Path], None]) -> Path:
    """Have a folder written by the first host unless it is there; all hosts wait for it."""

    def write_it() -> None:
        if not folder.exists():
            with atomic_folder(folder) as part:
                write(part)

    on_first_host(f"writing the synthetic data {folder}", write_it)
    return folder


def _provide_clip(config: Any, root: Path) -> None:
    """Write both towers of a tiny CLIP; the condition and the scores share its file."""
    folder = _once(root / "clip", _write_clip)
    for section, prefix in ((config.condition, ""), (config.eval, "clip_")):
        for name, file in {"weights": WEIGHTS, "merges": MERGES}.items():
            if section[prefix + name] is None:
                section[prefix + name] = str(folder / file)


def _write_clip(folder: Path) -> None:
    captions = (describe_shape(colour, shape) for colour in COLOURS for shape in SHAPES)
    words = {word for texts in captions for text in texts for word in re.findall(r"\w+", text)}
    merges = merge_words(sorted({word.lower() for word in words}))
    write_merges(folder / MERGES, merges)
    write_clip(folder / WEIGHTS, vocab_size=BYTE_TOKENS + len(merges) + 2)


def _write_vqgan(config: Any, folder: Path) -> None:
    """Write a codec as taming-transformers does, and which of its codes are in use."""
    vqgan, random = make_vqgan(**take_options(config.codec, VQGANOptions)), np.random.default_rng(0)
    params = _draw_weights(random, vqgan.init)
    source = load_split(config, "train")
    chosen = random.permutation(len(source))[:NUM_EXAMPLES].tolist()
    images, _ = load_images(source, chosen, image_size=vqgan.options.image_size)
    features = jax.jit(vqgan.encode)(params, images.astype(np.float32) / 127.5 - 1)
    num_codes = vqgan.options.num_codes
    codes = _choose_codes(random, np.asarray(features), num_codes)
    quantizer: Params = {"codebook": codes}
    if vqgan.options.quantizer == "gumbel":
        # argmax_k of c_k.f - |c_k|^2 / 2 is the nearest code.
        quantizer["scores"] = {"kernel": codes.T, "bias": -0.5 * np.sum(codes**2, axis=1)}
    params["quantizer"] = quantizer
    state = {"state_dict": vqgan_to_state_dict(params), "epoch": 0, "global_step": 0}
    write_torch(folder / CODEC, state)
    # Unused codes have number 0, as the first used one has.
    num_used, table = max(2, round(SHARE_USED * num_codes)), np.zeros(num_codes, np.int64)
    used = np.sort(random.permutation(np.arange(1, num_codes))[: num_used - 1])
    table[used] = np.arange(1, num_used)
    write_torch(folder / USED_CODES, table)


def _write_jukebox(config: Any, folder: Path) -> None:
    """Write a codec as the dance-to-music project publishes Jukebox's."""
    jukebox, level = make_jukebox(**take_options(config.codec, JukeboxOptions)), config.codec.level
    jukebox.options.check_level(level)
    random = np.random.default_rng(0)
    params = _draw_weights(random, jukebox.init)
    dances = load_dances(config, "train")
    audio = [dances[index].audio for index in range(min(len(dances), NUM_EXAMPLES))]
    size = min(map(len, audio))
    sounds = np.stack([sound[:size] for sound in audio]).astype(np.float32)
    features = jax.jit(jukebox.encode, static_argnums=2)(params, sounds, level)
    codes = _choose_codes(random, np.asarray(features), jukebox.options.num_codes)
    params[f"level_{level}"]["quantizer"] = {"codebook": codes}
    write_torch(folder / CODEC, jukebox_to_state_dict(params))


def _draw_weights(random: np.random.Generator, init: Callable[[PRNGKey], Params]) -> Params:
    """Draw what ``init`` would, without compiling it."""

    def draw(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        constant = {"bias": 0.0, "scale": 1.0}.get(path[-1].key)
        if constant is not None:
            return np.full(leaf.shape, constant, np.float32)
        fan_in = math.prod(leaf.shape[:-1])
        return (random.normal(size=leaf.shape) / math.sqrt(fan_in)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(init, jax.random.key(0)))


def _choose_codes(random: np.random.Generator, features: np.ndarray, number: int) -> np.ndarray:
    """Choose features far from each other as codes, so that all of them are met.

    Args:
        random: Draws the first.
        features: [... code_dim].
        number: Of the codes.

    Returns:
        [number code_dim], float32; drawn at random beyond the different features that there are.
    """
    rows = features.reshape(-1, features.shape[-1]).astype(np.float32)
    chosen = [rows[random.integers(len(rows))]]
    nearest = np.full(len(rows), np.inf)
    while len(chosen) < min(number, len(rows)):
        nearest = np.minimum(nearest, np.sum((rows - chosen[-1]) ** 2, axis=1))
        chosen.append(rows[nearest.argmax()])
    rest = random.normal(0, rows.std(), (number - len(chosen), rows.shape[1]))
    return np.concatenate([np.stack(chosen), rest]).astype(np.float32)


def _digest(codec: Any) -> str:
    """Name the architecture of a codec: another one is another file."""
    options = take_options(codec, JukeboxOptions if codec.name == "jukebox" else VQGANOptions)
    return hashlib.sha256(str(sorted(options.items())).encode()).hexdigest()[:8]
