"""The network and its terms in parts, to save memory: some positions or chains at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cdcd_jax.diffusion.contrastive import SequenceTerms
from cdcd_jax.typing import Negatives, Tokens

TermsFn = Callable[[Array, Negatives, Tokens], SequenceTerms]
"""``(output, clean, zt) -> terms`` of clean sequences under the network's output at one zt."""


def sum_over_chunks(
    terms_fn: TermsFn, size: int, output: Array, clean: Negatives, zt: Tokens
) -> SequenceTerms:
    """Sum over so many positions at a time, with the rest of the length at the end."""
    if output.ndim != 3 or output.shape[:2] != zt.shape:
        raise ValueError(
            f"denoise_fn must return features of shape ({zt.shape[0]}, {zt.shape[1]}, width) for "
            f"head_fn, got {output.shape}"
        )
    num_chunks = zt.shape[1] // size
    split = num_chunks * size
    # The batch stays in one piece, because it is what devices share between them.
    terms_fn = jax.checkpoint(terms_fn, prevent_cse=False)
    sums = []
    if num_chunks:
        chunks = [
            jnp.moveaxis(x[..., :split, :].reshape(*x.shape[:-2], num_chunks, size, -1), -3, 0)
            for x in (output, clean[..., None], zt[..., None])
        ]
        parts = jax.lax.map(
            lambda chunk: terms_fn(chunk[0], chunk[1][..., 0], chunk[2][..., 0]), chunks
        )
        sums.append(jax.tree.map(lambda x: jnp.sum(x, axis=0), parts))
    if split < zt.shape[1]:
        sums.append(terms_fn(output[:, split:], clean[:, :, split:], zt[:, split:]))
    return jax.tree.map(lambda *x: sum(x), *sums)


def denoise_chains(
    terms_fn: TermsFn,
    predict: Callable[[Tokens], Array],
    zt: Tokens,
    clean: Negatives,
    zt_negatives: Negatives,
    *,
    chains_per_pass: int | None = None,
    one_by_one: bool = False,
) -> tuple[Array, SequenceTerms]:
    """Run the positive and the negatives that are corrupted on their own through the network.

    All chains of an example share t and the condition, so under `jax.vmap` whatever the network
    computes from those alone is computed once, not N+1 times.

    Args:
        terms_fn: From `cdcd_jax.diffusion.terms.sum_terms`, with schedule and steps bound.
        predict: ``(zt) -> output``, the network at the examples' steps and conditions.
        zt: The positive's noised tokens.
        clean: Clean negatives that are corrupted on their own.
        zt_negatives: Their noised tokens.
        chains_per_pass: Negatives per pass through the network; None takes all together with the
            positive.
        one_by_one: Sum the terms of one chain after the other, to bound memory.

    Returns:
        The network's output for the positive, and the terms of each negative under its own zt.
    """

    def sum_chain(output: Array, clean: Tokens, zt: Tokens) -> SequenceTerms:
        kl, nll = terms_fn(output, clean[:, None], zt)
        return SequenceTerms(kl[:, 0], nll[:, 0])

    def sum_chains(output: Array, clean: Array, zt: Array) -> SequenceTerms:
        if one_by_one:
            return jax.lax.map(lambda chain: sum_chain(*chain), (output, clean, zt))
        return jax.vmap(sum_chain)(output, clean, zt)

    clean, zt_negatives = clean.swapaxes(0, 1), zt_negatives.swapaxes(0, 1)  # chains first
    num_chains = clean.shape[0]
    if chains_per_pass is None or chains_per_pass >= num_chains:
        outputs = jax.vmap(predict)(jnp.concatenate([zt[None], zt_negatives]))
        terms = sum_chains(outputs[1:], clean, zt_negatives)
        return outputs[0], SequenceTerms(terms.kl.T, terms.nll.T)

    # One chunk's activations at a time; the backward pass computes them again.
    @jax.checkpoint
    def together(clean: Array, zt: Array) -> SequenceTerms:
        return sum_chains(jax.vmap(predict)(zt), clean, zt)

    split = num_chains // chains_per_pass * chains_per_pass
    chunks = [x[:split].reshape(-1, chains_per_pass, *x.shape[1:]) for x in (clean, zt_negatives)]
    terms = jax.lax.map(lambda pair: together(*pair), chunks)
    terms = jax.tree.map(lambda x: x.reshape(split, -1), terms)
    if split < num_chains:
        rest = together(clean[split:], zt_negatives[split:])
        terms = jax.tree.map(lambda *x: jnp.concatenate(x), terms, rest)
    return predict(zt), SequenceTerms(terms.kl.T, terms.nll.T)
