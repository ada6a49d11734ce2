"""Other programs' checkpoints as our parameters, by explicit tables of names."""

from cdcd_jax.interop.denoiser import denoiser_from_reference as denoiser_from_reference
from cdcd_jax.interop.denoiser import denoiser_to_reference as denoiser_to_reference
from cdcd_jax.interop.state_dict import read_state_dict as read_state_dict
