"""The pure core: discrete diffusion on tokens, its contrastive losses and its sampler.

Only jax and numpy are imported here. A network is one function,
``denoise_fn(zt, t, cond) -> log p(z0 | zt, cond)``.
"""
