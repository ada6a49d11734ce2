"""Networks as pairs of pure functions; the rest of the package has no modules."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cdcd_jax.checks import check_array, check_ids, check_integers, check_key, check_steps, require
from cdcd_jax.models.denoiser import Denoiser
from cdcd_jax.models.options import DenoiserOptions
from cdcd_jax.typing import LogProbs, Params, PRNGKey, Timed, Timesteps, Tokens


class Network(NamedTuple):
    """A denoiser as pure functions of its parameters.

    Attributes:
        init: ``init(key) -> params``, a nested dict of float32 arrays.
        apply: ``apply(params, zt, t, cond) -> log p(z0 | zt, cond)``, normalised natural logs over
            the K real tokens, float32.
        logits: The same before normalisation, which the loss and the sampler do themselves, and
            without ``apply``'s checks of its arguments. It is ``head`` after ``hidden``.
        hidden: ``hidden(params, zt, t, cond) -> [batch length width]``, what the blocks make of
            the tokens, in the dtype of the computation.
        source: ``source(params, cond)``, a tree that ``logits`` and ``hidden`` take in place of
            ``cond``, with a row for each example: the keys and values of all blocks. They depend on
            neither tokens nor timestep, so that all steps of a sample share them.
        head: ``head(params, hidden) -> logits`` of any choice of the positions of ``hidden``, each
            by itself, so that [batch length K] need never be there at once.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Array, Array, Any], Array]
    logits: Callable[[Params, Array, Array, Any], Array]
    hidden: Callable[[Params, Array, Array, Any], Array]
    head: Callable[[Params, Array], Array]
    source: Callable[[Params, Any], Any] = lambda params, cond: cond


def make_denoiser(**options: Any) -> Network:
    """Build the denoising transformer p(z0 | zt, cond) of CDCD Sec. 3 (VQ-Diffusion Fig. 2).

    Args:
        **options: The fields of :class:`~cdcd_jax.models.options.DenoiserOptions`.
            vocab_size: K, the number of real tokens; the mask is token K.
            num_steps: T; ``apply`` takes t in 1..T.
            grid: (height, width) of the token image, or (1, length) for a sequence.
            num_layers, width, num_heads: Blocks, features per position, attention heads.
            mlp: ``linear``, or ``conv`` for two 3x3 convolutions over the grid.
            mlp_ratio: Hidden features of the MLP per feature.
            condition: ``none`` (cond is None), ``class`` (cond is labels [batch] in
                0..num_classes-1) or ``cross`` (cond is features [batch source cond_dim]).
            num_classes, cond_dim: Given with ``class`` and with ``cross``.
            seconds: What the sequence lasts, for a ``cross`` condition with times: cond
                is then :class:`~cdcd_jax.typing.Timed`, and near features weigh more.
            compute_dtype: ``float32`` or ``bfloat16`` (``float64`` for checks). Parameters, the
                statistics of norms, softmax and the result stay in float32 or better.
            remat: What the backward pass recomputes, for memory: ``none``, all ``blocks``, or
                all but the results of their ``dots``, the products with parameters.
            attention: ``auto`` takes the machine's fused kernel where it has one for bfloat16,
                ``plain`` never does.
            activation: ``gelu2`` or ``gelu``.
            timestep: ``table`` is learned, ``sinusoidal`` is not.
            class_norm: What the class modulates: features normalised per position (``layer``) or
                per sequence (``instance``).
            embedding_grid: Grid of the position embedding where larger than ``grid``.
            unroll: Blocks per iteration of the scan over them; None chooses by machine.

    Returns:
        A network of pure functions that work under jit, grad, vmap and ``jax.eval_shape``. Under
        a vmap over ``zt`` alone, what depends on ``t`` and ``cond`` only is computed once.

    Raises:
        ValueError: An option is out of range, or an array given to ``apply`` has another shape.

    Note:
        Weights of dense layers and embeddings start from N(0, 0.02) and biases from 0, norms as
        the identity, convolutions uniform as in PyTorch: as the published code does, save that
        everything is drawn from ``key``.

    >>> network = make_denoiser(vocab_size=5, num_steps=10, grid=(1, 4), num_layers=1, width=8,
    ...                         num_heads=2, condition="class", num_classes=3)
    >>> params = network.init(jax.random.key(0))
    >>> zt, t, label = jnp.array([[5, 5, 1, 2]]), jnp.array([10]), jnp.array([2])
    >>> log_probs = network.apply(params, zt, t, label)
    >>> log_probs.shape
    (1, 4, 5)
    """
    checked = DenoiserOptions(**options)
    structure, _ = nnx.split(
        nnx.eval_shape(lambda: Denoiser(checked, rngs=nnx.Rngs(params=jax.random.key(0))))
    )

    def init(key: PRNGKey) -> Params:
        check_key(key)
        return nnx.to_pure_dict(nnx.split(Denoiser(checked, rngs=nnx.Rngs(params=key)))[1])

    def merge(params: Params) -> Denoiser:
        # NumPy is welcome, traced or not.
        return nnx.merge(structure, jax.tree.map(jnp.asarray, params))

    def hidden(
        params: Params, zt: Tokens, t: Timesteps, cond: Any
    ) -> Float[Array, "batch length width"]:
        zt, t, cond = jax.tree.map(jnp.asarray, (zt, t, cond))
        return merge(params).hidden(zt, t, cond)

    def source(params: Params, cond: Any) -> Any:
        return merge(params).source(jax.tree.map(jnp.asarray, cond))

    def head(
        params: Params, hidden: Float[Array, "batch positions width"]
    ) -> Float[Array, "batch positions K"]:
        return merge(params).logits(hidden)

    def logits(
        params: Params, zt: Tokens, t: Timesteps, cond: Any
    ) -> Float[Array, "batch length K"]:
        denoiser = nnx.merge(structure, jax.tree.map(jnp.asarray, params))
        zt, t, cond = jax.tree.map(jnp.asarray, (zt, t, cond))
        return denoiser.logits(denoiser.hidden(zt, t, cond))

    def apply(params: Params, zt: Tokens, t: Timesteps, cond: Any) -> LogProbs:
        check_inputs(checked, zt, t, cond)
        return jax.nn.log_softmax(logits(params, zt, t, cond), axis=-1)

    return Network(jax.jit(init), apply, logits, hidden, head, source)


def check_inputs(options: DenoiserOptions, zt: Array, t: Array, cond: Any) -> None:
    """Raise a ValueError that names the argument whose shape does not fit the denoiser."""
    check_array("zt", zt, "batch length")
    batch = zt.shape[0] if zt.ndim else 0
    if zt.ndim != 2 or zt.shape[1] != options.length:
        raise ValueError(
            f"zt must be [batch {options.length}] for the grid {options.grid}, but its shape is "
            f"{zt.shape}."
        )
    check_ids("zt", zt, options.vocab_size, mask=True)
    check_array("t", t, "batch")
    if t.shape != (batch,):
        raise ValueError(f"t must be [{batch}], one per row of zt, but its shape is {t.shape}.")
    check_steps(t, batch, options.num_steps)
    if options.condition == "none":
        if cond is not None:
            raise ValueError("cond must be None for a denoiser with condition='none'.")
        return
    if cond is None:
        raise ValueError(f"cond is None, but the denoiser has condition={options.condition!r}.")
    if options.seconds is not None:
        if not isinstance(cond, Timed):
            raise ValueError(f"cond must be Timed, as seconds={options.seconds}, got {type(cond)}.")
        if jnp.shape(cond.seconds) != jnp.shape(cond.features)[:2]:
            raise ValueError(
                f"cond.seconds must be one for each of the features {jnp.shape(cond.features)}, "
                f"but its shape is {jnp.shape(cond.seconds)}."
            )
        cond = cond.features
    check_array("cond", cond, "batch" if options.condition == "class" else "batch source features")
    shape = jnp.shape(cond)
    if options.condition == "class":
        if shape != (batch,):
            raise ValueError(f"cond must be labels [{batch}], but its shape is {shape}.")
        check_integers("cond", cond, "batch", "labels")
        last = (options.num_classes or 1) - 1
        require(
            lambda labels: (labels >= 0) & (labels <= last),
            f"cond{{place}} = {{value}} is not a label: those are 0..{last}",
            cond,
        )
    if options.condition == "cross" and (
        len(shape) != 3 or (shape[0], shape[2]) != (batch, options.cond_dim)
    ):
        raise ValueError(
            f"cond must be [{batch} source {options.cond_dim}], but its shape is {shape}."
        )
