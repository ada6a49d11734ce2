"""Denoising networks as pure functions of a nested dict of parameters."""

from cdcd_jax.models.functional import Network as Network
from cdcd_jax.models.functional import make_denoiser as make_denoiser
