"""Other programs' checkpoints as our parameters, by explicit tables of names."""

from cdcd_jax.interop.clip import clip_image_from_state_dict as clip_image_from_state_dict
from cdcd_jax.interop.clip import clip_text_from_state_dict as clip_text_from_state_dict
from cdcd_jax.interop.clip_shapes import describe_clip_image as describe_clip_image
from cdcd_jax.interop.clip_shapes import describe_clip_text as describe_clip_text
from cdcd_jax.interop.denoiser import denoiser_from_reference as denoiser_from_reference
from cdcd_jax.interop.denoiser import denoiser_to_reference as denoiser_to_reference
from cdcd_jax.interop.diffusers import read_pipeline as read_pipeline
from cdcd_jax.interop.published import describe_vqgan as describe_vqgan
from cdcd_jax.interop.published import read_published as read_published
from cdcd_jax.interop.state_dict import open_state_dict as open_state_dict
from cdcd_jax.interop.state_dict import read_state_dict as read_state_dict
from cdcd_jax.interop.vqgan import read_used_codes as read_used_codes
from cdcd_jax.interop.vqgan import read_vqgan as read_vqgan
from cdcd_jax.interop.vqgan import vqgan_from_state_dict as vqgan_from_state_dict
from cdcd_jax.interop.vqgan import vqgan_to_state_dict as vqgan_to_state_dict
