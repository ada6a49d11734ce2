"""Attention by kernels that never write the [length source] scores to memory.

Both take [batch length heads depth] and give the same shape. Their mesh is the ambient one
(:mod:`cdcd_jax.models.layout`).
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from cdcd_jax.models.layout import BATCH, divide, free_axes, platform
from cdcd_jax.spacing import round_up

Kernel: TypeAlias = Callable[[Array, Array, Array], Array]

LANES = 128
"""Positions that one row of a TPU's registers holds: blocks of a sequence are multiples."""

ROWS = 16
"""Rows of a TPU's registers in bfloat16, along which the features of a head lie."""

LARGEST_BLOCK = 512

SPLASH_RESULT = "splash_attention"
"""The name, for ``jax.checkpoint``, of what splash attention keeps for its backward pass."""

CUDNN_FORWARD = "dot_product_attention_fwd_wrapper"
"""The operation whose results cuDNN's kernel keeps for it."""


def choose_kernel(length: int, depth: int, dtype: jnp.dtype) -> Kernel | None:
    """Return the kernel for such heads on the devices of the ambient mesh, or None.

    Splash attention is not used where a sequence fills less than two thirds of its blocks.

    >>> choose_kernel(256, 64, jnp.dtype("float32")) is None
    True
    """
    if dtype != jnp.bfloat16:
        return None
    if platform() == "tpu":
        return by_splash if 3 * length >= 2 * round_up(length, LANES) else None
    fits = platform() in ("gpu", "cuda") and depth <= 128
    return by_cudnn if fits and _is_ampere_or_later() else None


def _is_ampere_or_later() -> bool:
    """Return whether the GPU that is compiled for has what cuDNN's kernel takes.

    Asked of this machine's where it is the same; all that can only be described are new enough.
    """
    device, here = jax.sharding.get_abstract_mesh().abstract_device, jax.devices()[0]
    if device is not None and device.device_kind != here.device_kind:
        return True
    # Others' GPUs name no number, such as "gfx942".
    capability = getattr(here, "compute_capability", "")
    return capability[:1].isdigit() and float(capability) >= 8.0


def by_cudnn(
    query: Float[Array, "batch length heads depth"],
    key: Float[Array, "batch length heads depth"],
    value: Float[Array, "batch length heads depth"],
) -> Float[Array, "batch length heads depth"]:
    """Attend by cuDNN's kernel, which splits itself over a mesh.

    In bfloat16, with a depth of at most 128, padded with zeros to a multiple of 8. JAX refuses to
    differentiate it at odd lengths, so that these get one more key, which is masked.
    """
    length, depth = query.shape[1], query.shape[3]
    lengths: dict[str, Any] = {}
    room = ((0, 0), (0, length % 2), (0, 0), (0, -depth % 8))
    query, key, value = (jnp.pad(x, room) for x in (query, key, value))
    if length % 2:
        # The same for every example, but made of them: a vmap over chains has to see chains here.
        seen, asking = (jnp.where(query[:, 0, 0, 0] > 0, n, n) for n in (length, length + 1))
        lengths = {"query_seq_lengths": asking, "key_value_seq_lengths": seen}
    mixed = jax.nn.dot_product_attention(
        query, key, value, scale=1 / math.sqrt(depth), implementation="cudnn", **lengths
    )
    return mixed[:, :length, :, :depth]


def by_splash(
    query: Float[Array, "batch length heads depth"],
    key: Float[Array, "batch length heads depth"],
    value: Float[Array, "batch length heads depth"],
    *,
    interpret: bool = False,
) -> Float[Array, "batch length heads depth"]:
    """Attend by JAX's splash attention for TPU, on every device its examples and heads.

    The compiler cannot split a Pallas kernel, so ``jax.shard_map`` does. Lengths are padded to
    blocks, with a mask, and depths with zeros to ``ROWS``: positions lie along the lanes, as a head
    of a few features would leave most of them empty.

    Args:
        query: In bfloat16 or float32.
        key: For each position of the query's sequence.
        value: Likewise.
        interpret: Run on any machine, slowly, for tests.

    Returns:
        The mixed values.
    """
    free = free_axes()
    attend = lambda *inputs: splash_here(*inputs, interpret=interpret)  # noqa: E731
    if not free:
        return attend(query, key, value)
    entries = divide(query.shape, (BATCH, None, "tensor", None), free)
    # What an axis does not divide, every device along it computes whole.
    spec = PartitionSpec(*(None if e is PartitionSpec.UNCONSTRAINED else e for e in entries))
    split = jax.shard_map(
        attend, in_specs=spec, out_specs=spec, axis_names=set(free), check_vma=False
    )
    return split(query, key, value)


def splash_here(
    query: Float[Array, "batch length heads depth"],
    key: Float[Array, "batch length heads depth"],
    value: Float[Array, "batch length heads depth"],
    *,
    interpret: bool,
) -> Float[Array, "batch length heads depth"]:
    """Attend by splash attention on one device."""
    # Experimental and for TPUs only, so it is imported only there.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    _, length, num_heads, depth = query.shape
    padded = round_up(length, LANES)
    room = ((0, 0), (0, 0), (0, padded - length), (0, -depth % ROWS))
    scaled = query * (1 / math.sqrt(depth))  # splash attention does not
    heads_first = (jnp.pad(x.swapaxes(1, 2), room) for x in (scaled, key, value))
    seen = np.broadcast_to(np.arange(padded) < length, (padded, padded))
    block = block_size(padded)
    kernel = splash.make_splash_mha(
        masks.MultiHeadMask([masks.NumpyMask(seen)] * num_heads),
        block_sizes=splash.BlockSizes(
            block_q=block,
            block_kv=block,
            block_q_dkv=block,
            # One backward pass: all keys at once, so that a query's gradient is whole.
            use_fused_bwd_kernel=True,
            block_kv_dkv=padded,
            block_kv_dkv_compute=block,
            q_layout=splash.QKVLayout.SEQ_MINOR,
            k_layout=splash.QKVLayout.SEQ_MINOR,
            v_layout=splash.QKVLayout.SEQ_MINOR,
        ),
        head_shards=1,
        q_seq_shards=1,
        residual_checkpoint_name=SPLASH_RESULT,
        interpret=interpret,
    )
    mixed = cast(Array, jax.vmap(kernel)(*heads_first))  # [batch heads padded depth]
    return mixed[:, :, :length, :depth].swapaxes(1, 2)


def block_size(length: int) -> int:
    """Return the largest block that divides a length which is a multiple of 128.

    >>> block_size(1024), block_size(1152)
    (512, 384)
    """
    return max(size for size in range(LANES, LARGEST_BLOCK + 1, LANES) if length % size == 0)
