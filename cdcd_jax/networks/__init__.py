"""Denoising networks as pure functions of a nested dict of parameters."""

from cdcd_jax.networks.functional import Network as Network
from cdcd_jax.networks.functional import make_denoiser as make_denoiser
