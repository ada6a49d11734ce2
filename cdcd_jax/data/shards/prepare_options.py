"""Options of a preparation of tokens."""

from cdcd_jax.data.images.decoding import CROPS


def check_options(
    *,
    views: int,
    seed: int,
    shard_size: int,
    batch_size: int,
    on_bad: str = "stop",
) -> None:
    """Check what does not depend on what is encoded, so that it can be done before anything else.

    Args:
        views: As for ``prepare``, and so are the others.
        seed: Of all that is random.
        shard_size: Images or pieces in a shard.
        batch_size: Views encoded at once.
        on_bad: What to do with what is broken.

    Raises:
        ValueError: If one of them is out of range; it comes first in the sentence.

    >>> check_options(views=2, seed=0, shard_size=4096, batch_size=0)
    Traceback (most recent call last):
    ValueError: batch_size = 0 must be at least 1
    """
    least = {
        "views": (views, 1),
        "seed": (seed, 0),
        "shard_size": (shard_size, 1),
        "batch_size": (batch_size, 1),
    }
    for name, (value, lowest) in least.items():
        if value < lowest:
            raise ValueError(f"{name} = {value} must be at least {lowest}")
    if on_bad not in ("stop", "skip"):
        raise ValueError(f'on_bad = "{on_bad}" must be "stop" or "skip"')


def check_crops(*, views: int, crop: str, flip: bool) -> None:
    """Check how images are cropped, as ``check_options`` does what music has as well.

    Args:
        views: Number of crops of each image.
        crop: Which square of an image is taken, see ``crop_image``.
        flip: Whether to mirror them at random.

    Raises:
        ValueError: If there is no such crop, or crops that are not random are to differ.

    >>> check_crops(views=2, crop="center", flip=False)
    Traceback (most recent call last):
    ValueError: views = 2 needs a random crop, "random" or "dalle": "center" is the same every time
    """
    if crop not in CROPS:
        known = '", "'.join(CROPS)
        raise ValueError(f'crop = "{crop}" must be one of "{known}"')
    if crop == "center" and (views > 1 or flip):
        random = f"views = {views}" if views > 1 else "flip = True"
        raise ValueError(
            f'{random} needs a random crop, "random" or "dalle": "center" is the same every time'
        )
