"""Images of samples, drawn by a generator and written to disk."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cdcd_jax.generator import Generator
from cdcd_jax.io import is_first_host
from cdcd_jax.training.checkpoints.folder import writing
from cdcd_jax.visualization import samples as figures
from cdcd_jax.visualization.animation import draw_frames, save_gif
from cdcd_jax.visualization.prompts import name_after_prompt


def read_request(
    generator: Generator,
    *,
    prompts: Sequence[str] = (),
    label: int | None = None,
    num_samples: int,
    **sampling: Any,
) -> Any:
    """Check what the flags request, and return it as ``Generator.sample`` takes it.

    Raises:
        ValueError: If a value is out of its range, or the model does not use it.
    """
    conditioning = generator.conditioning
    given = {"label": label, "prompt": [*prompts] or None}
    for name, value in given.items():
        if value is not None and name != conditioning.flag:
            raise ValueError(
                f"{name}: this is a model of {conditioning.noun}; give --{conditioning.flag} "
                "instead"
            )
    generator.check(num_samples=num_samples, **sampling)
    request = given.get(conditioning.flag)
    if request is not None:
        conditioning.encode_for(request, num_samples)
    elif not conditioning.has_default:
        raise ValueError(
            f"{conditioning.flag}: this is a model of {conditioning.noun}; give "
            f'--{conditioning.flag}="..."'
        )
    return request


def check_negative(generator: Generator, text: str, guidance: Any) -> None:
    """Raise a ValueError unless samples can be guided away from a text."""
    conditioning = generator.conditioning
    if conditioning.flag != "prompt":
        raise ValueError(f"negative_prompt: this is a model of {conditioning.noun}; leave it out")
    if guidance == 1.0:
        raise ValueError("negative_prompt has no effect with a guidance of 1; add --guidance=3")
    conditioning.encode_for(text, None)


def draw_trajectory(
    generator: Generator,
    path: Path,
    seed: int,
    *,
    request: Any = None,
    num_samples: int,
    animate: bool = False,
    **options: Any,
) -> Path:
    """Draw the reverse process of a sample of each class or text, as a strip or animated.

    All hosts draw together, and the first writes.

    Args:
        generator: What the samples are drawn from.
        path: The file: PNG, or GIF if animated.
        seed: Seed of the samples.
        request: Classes or texts; some that are evenly spaced if None.
        num_samples: At most so many texts without a request.
        animate: Whether to write a GIF.
        **options: Of ``generator.draw``.

    Returns:
        The path.
    """
    wanted = generator.conditioning.rows(request, num_samples)
    _, states = generator.draw(jax.random.key(seed), wanted.cond, return_trajectory=True, **options)
    if not is_first_host():
        return path
    drawing = {
        "decode_fn": generator.codec.decode,
        "grid": generator.codec.grid,
        "mask_id": generator.schedule.mask_id,
    }
    trajectory = np.asarray(states)
    if animate:
        frames = draw_frames(trajectory, wanted.names, **drawing)
        with writing(path.parent):
            return save_gif(frames, path)
    image = figures.draw_trajectory(
        trajectory,
        np.arange(len(wanted.names)),
        caption=f"steps done of {options['num_steps']}, truncation {options['truncation']:g}",
        class_names=wanted.names,
        **drawing,
    )
    with writing(path.parent):
        return figures.save_image(image, path)


def describe(seed: int, prompts: Sequence[str] = (), **sampling: Any) -> str:
    """Name an image after how it was drawn, so that no other overwrites it.

    >>> describe(0, num_samples=100, label=None, num_steps=50, truncation=0.86)
    'seed0-num_samples100-num_steps50-truncation0.86'
    """
    given = {name: value for name, value in sampling.items() if value is not None}
    for name, usual in {"guidance": 1.0, "sampler": "ancestral", "times": "uniform"}.items():
        if given.get(name) == usual:
            del given[name]
    if "negative" in given:
        given["negative"] = f"not-{name_after_prompt(given['negative'])}"
    words = [name_after_prompt("\n".join(prompts))] if prompts else []
    words += [given.pop(name) for name in [*given] if isinstance(given[name], str)]
    lists = {
        name: "_".join(number(each) for each in np.atleast_1d(value).tolist())
        for name, value in {"seed": seed, **given}.items()
    }
    return "-".join([*words, *(f"{name}{values}" for name, values in lists.items())])


def name_after_file(path: Path) -> str:
    """Name an output after an input, and after its folder by a digest.

    >>> name_after_file(Path("/a/jump.pkl")) == name_after_file(Path("/b/jump.pkl"))
    False
    """
    return f"{path.stem[:40]}-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]}"


def number(value: int | float) -> str:
    """Write a number so that no other is written like it.

    >>> [number(value) for value in (4294967297, 1.0, 0.86, 0.8600000001)]
    ['4294967297', '1', '0.86', '0.8600000001']
    """
    short = f"{value:g}"
    return short if float(short) == value else f"{value}"
