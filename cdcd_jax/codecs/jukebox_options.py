"""Options of a Jukebox codec and what they imply: hop length, receptive field."""

from dataclasses import dataclass
from itertools import accumulate
from operator import mul

from cdcd_jax.codecs.vqgan import DTYPES


@dataclass(frozen=True, kw_only=True)
class JukeboxOptions:
    """Options of a Jukebox codec.

    Attributes:
        sample_rate: Of the audio, in Hz.
        downs: For each level, how often it shortens what the level below it has.
        strides: For each level, by how much at a time; even.
        multipliers: For each level, its width and depth in units of ``width`` and ``depth``.
        width: Features between the layers.
        depth: Residual blocks after each downsampling, and before each upsampling.
        dilation_growth: Factor of the dilation from one residual block to the next.
        code_dim: Length of a code vector (``emb_width``).
        num_codes: Number of codes of each level (``l_bins``).
        compute_dtype: ``"float32"`` or ``"bfloat16"``; the choice of codes is float32.

    Raises:
        ValueError: If a value is out of range.

    >>> JukeboxOptions().hops
    (8, 32, 128)
    """

    sample_rate: int = 22050
    downs: tuple[int, ...] = (3, 2, 2)
    strides: tuple[int, ...] = (2, 2, 2)
    multipliers: tuple[int, ...] = (2, 1, 1)
    width: int = 32
    depth: int = 4
    dilation_growth: int = 3
    code_dim: int = 64
    num_codes: int = 2048
    compute_dtype: str = "float32"

    def __post_init__(self):
        for name in ("sample_rate", "width", "depth", "dilation_growth", "code_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.num_codes < 2:
            raise ValueError(f"num_codes = {self.num_codes} must be at least 2")
        for name in ("downs", "multipliers"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be one or more, each >= 1")
        if not len(self.downs) == len(self.strides) == len(self.multipliers):
            raise ValueError(
                f"downs = {self.downs}, strides = {self.strides} and multipliers = "
                f"{self.multipliers} must have one entry for each level"
            )
        if min(self.strides) < 2 or any(stride % 2 for stride in self.strides):
            raise ValueError(f"strides = {self.strides} must be even numbers")
        if self.compute_dtype not in DTYPES:
            raise ValueError(f'compute_dtype = "{self.compute_dtype}" must be one of {DTYPES}')

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return len(self.downs)

    @property
    def hops(self) -> tuple[int, ...]:
        """Samples per token, level by level."""
        factors = [stride**downs for stride, downs in zip(self.strides, self.downs, strict=True)]
        return tuple(accumulate(factors, mul))

    def check_level(self, level: int) -> None:
        """Raise a ValueError unless there is such a level."""
        if not 0 <= level < self.num_levels:
            raise ValueError(
                f"level = {level} does not exist: the codec has {self.num_levels}, from 0 (the "
                f"bottom, {self.hops[0]} samples to a token) to {self.num_levels - 1} (the top, "
                f"{self.hops[-1]})"
            )

    def context(self, level: int) -> int:
        """Return the receptive field: tokens on either side that a sample or token depends on.

        The reach of all convolutions of an encoder, or of a decoder, added up and rounded up.
        """
        self.check_level(level)
        depth = self.depth * self.multipliers[level]
        residual = sum(self.dilation_growth**index for index in range(depth))
        reach, samples = 1, 1  # the decoder's last convolution; samples to a position
        for downs, stride in list(zip(self.downs, self.strides, strict=True))[: level + 1]:
            for _ in range(downs):
                reach += samples * stride  # of 2 strides around one: less than one to each side
                samples *= stride
                reach += samples * residual
            reach += samples  # the convolution between the blocks
        return -(-reach // samples)
