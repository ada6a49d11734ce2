"""A sampler that keeps the most likely token wherever the reverse process unmasks one."""

import jax.numpy as jnp

from cdcd_jax import make_sampler, register


def make_greedy(
    schedule, denoise_fn, *, num_steps=None, truncation=1.0, top_k=None, temperature=1.0
):
    """Build the ancestral sampler of the one token that is most likely at each position."""
    del truncation, top_k, temperature  # which change no maximum

    def most_likely(zt, t, cond):
        logits = denoise_fn(zt, t, cond)
        return jnp.where(logits == logits.max(-1, keepdims=True), logits, -1e9)

    return make_sampler(schedule, most_likely, num_steps=num_steps)


register("sampler", "greedy", make_greedy)
