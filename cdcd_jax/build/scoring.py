"""What scores the samples of an experiment, from the section ``eval``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdcd_jax.build.pictures import load_source
from cdcd_jax.build.sections import make_section
from cdcd_jax.codecs.codec import Codec
from cdcd_jax.evaluation.pretrained import make_picture_scorers, missing_weights
from cdcd_jax.evaluation.real_pictures import RealPictures

WEIGHTS = ("inception_weights", "resnet_weights")
PLACES = (*WEIGHTS, "reference")
"""Keys that are files."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Say how samples are scored.

    Attributes:
        make_options: ``make_options() -> options of evaluate``: scorers, the codec's way back and
            real test pictures. It reads pictures and fits a judge, so it is called when there is
            something to score.
        check: Raises a ValueError if there are no real pictures to score by.
        unmeasured: Sentences on what is not measured, and which file would change that.
    """

    make_options: Callable[[], dict[str, Any]]
    check: Callable[[], None] = lambda: None
    unmeasured: tuple[str, ...] = ()


def make_scoring(config: Any, codec: Codec, num_classes: int, workdir: Path) -> Scoring:
    """Choose the scorers: a judge of tokens for the digits, all those of pictures for pictures.

    Args:
        config: The whole configuration.
        codec: Between tokens and pictures.
        num_classes: Number of classes of the data.
        workdir: Folder of the run, for the reference statistics if they have no place of their own.

    Returns:
        The scoring.

    Raises:
        ValueError: If a file of weights is not there.
    """
    if config.data.name == "digits":
        return Scoring(make_options=dict)
    weights = {name: config.eval[name] for name in WEIGHTS}
    for name, path in weights.items():
        if path is not None and not Path(path).is_file():
            raise ValueError(f"eval.{name} = {path} is no file")

    def pictures(split: str) -> RealPictures:
        source = load_source(config, split)
        return RealPictures(source, image_size=config.codec.image_size, limit=config.eval.num_real)

    def make_options() -> dict[str, Any]:
        scorers = make_section(
            config,
            "eval",
            make_picture_scorers,
            pictures("train"),
            vocab_size=codec.vocab_size,
            num_classes=num_classes,
            reference=config.eval.reference or workdir / "inception_reference.npz",
            batch_size=config.eval.batch_size,
            **weights,
        )
        return {
            "scorers": scorers,
            "decode_fn": codec.decode,
            "test_pictures": pictures("test"),
        }

    def check() -> None:
        for split in ("train", "test"):
            load_source(config, split)

    return Scoring(
        make_options=make_options,
        check=check,
        unmeasured=tuple(missing_weights(**weights, num_classes=num_classes)),
    )
