"""The package's readers of files, called as the package calls them."""

from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.cli.prompts import read_prompts
from cdcd_jax.codecs.codec_file import FORMAT, load_vqgan, read_arrays
from cdcd_jax.conditioning.clip_bpe import ClipTokenizer
from cdcd_jax.data.dance.audio import audio_seconds, load_audio
from cdcd_jax.data.dance.dance_files import load_video
from cdcd_jax.data.dance.motion import load_motion, motion_frames
from cdcd_jax.data.images.caption_list import load_captions
from cdcd_jax.data.images.coco import load_coco
from cdcd_jax.data.images.cub import _read_names
from cdcd_jax.data.images.decoding import decode_image
from cdcd_jax.data.images.imagenet import _read_ground_truth, _read_mapping, _read_solution
from cdcd_jax.data.images.sources import ImageFiles
from cdcd_jax.data.negative_lists import load_negatives
from cdcd_jax.data.shards.manifest import Plan, read_json
from cdcd_jax.evaluation.metrics.images.reference import check_reference
from cdcd_jax.interop import read_state_dict
from cdcd_jax.interop.vqgan import read_used_codes
from cdcd_jax.reading.regular import read_text


def image(path: Path) -> Any:
    """Read and decode an image of a folder."""
    source = ImageFiles("set", path.parent, [path.name], [0], ("a",))
    return decode_image(source[0].data, name=str(path))


def captions(path: Path) -> Any:
    """Read ``train.jsonl``."""
    return load_captions(path.parent)


def coco(path: Path) -> Any:
    """Read COCO's captions."""
    return load_coco(path.parents[1], "train2017")


def negatives(path: Path) -> Any:
    """Read a list of negatives of two images."""
    return load_negatives(path, ["a.jpg", "b.jpg"], np.arange(2), np.arange(2))


def plan(path: Path) -> Any:
    """Read the plan of shards."""
    return Plan.from_json(read_json(path), path)


def entry(path: Path) -> Any:
    """Read the state dict of a checkpoint."""
    return read_state_dict(path, "state_dict")


def codec(path: Path) -> Any:
    """Read the arrays of a codec."""
    return read_arrays(path, FORMAT)


def merges(path: Path) -> Any:
    """Read CLIP's byte pairs."""
    return ClipTokenizer(path)


def prompts(path: Path) -> Any:
    """Read a file of prompts."""
    return read_prompts([], path)


READERS = {
    "checkpoint.pth": read_state_dict, "weights.npz": read_state_dict,
    "weights.safetensors": read_state_dict, "codec.safetensors": codec,
    "vqgan.safetensors": load_vqgan, "motion.npy": load_motion, "motion.npz": load_motion,
    "frames.npy": motion_frames, "motion.pkl": load_motion, "video.npy": load_video,
    "sound.wav": load_audio, "seconds.flac": audio_seconds, "reference.npz": check_reference,
    "used.npy": read_used_codes, "train.jsonl": captions, "negatives.json": negatives,
    "manifest.json": plan, "merges.txt.gz": merges, "filenames.pickle": _read_names,
    "prompts.txt": prompts, "image.png": image, "solution.csv": _read_solution,
    "mapping.txt": _read_mapping, "truth.txt": _read_ground_truth, "list.txt": read_text,
}  # fmt: skip
"""Name of a file -> what reads it."""
