"""The fused kernels must do what plain attention does; TPU's runs interpreted here."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from cdcd_jax.networks import fused_attention
from cdcd_jax.networks.attention import attend, attend_to_self, split_heads

BATCH, HEADS, DEPTH = 4, 2, 12


def draw(length, dtype=jnp.float32):
    shape = (4, BATCH, length, HEADS * DEPTH)
    return (3 * jax.random.normal(jax.random.key(0), shape)).astype(dtype)


def by_splash(query, key, value, interpret=True):
    heads = (split_heads(x, HEADS) for x in (query, key, value))
    return fused_attention.by_splash(*heads, interpret=interpret).reshape(query.shape)


def value_and_grads(attention, query, key, value, weight):
    return jax.value_and_grad(
        lambda *inputs: (attention(*inputs) * weight).sum(), argnums=(0, 1, 2)
    )(query, key, value)


@pytest.mark.parametrize(("length", "devices"), [(128, 1), (136, 8)])
def test_splash_attention_is_attention(length, devices):
    # 136 positions are padded to 256, all on 2x2 parts of the batch and each head by itself.
    shape = (2, 2, 2) if devices == 8 else (1, 1, 1)
    mesh = jax.make_mesh(
        shape,
        ("data", "fsdp", "tensor"),
        axis_types=(AxisType.Auto,) * 3,
        devices=jax.devices()[:devices],
    )
    inputs = draw(length)
    plain = jax.jit(functools.partial(value_and_grads, functools.partial(attend, num_heads=HEADS)))

    @functools.partial(
        jax.jit,
        in_shardings=NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, "tensor")),
    )
    def fused(*inputs):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return value_and_grads(by_splash, *inputs)

    text = fused.lower(*inputs).as_text()
    assert ("sdy.manual_computation" in text) == (devices > 1)
    value, grads = fused(*inputs)
    plain_value, plain_grads = plain(*inputs)
    np.testing.assert_allclose(value, plain_value, rtol=1e-5)
    for ours, theirs in zip(grads, plain_grads, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("length", "depth", "chains"), [(1033, 64, None), (256, 32, None), (256, 32, 3)]
)
def test_splash_attention_lowers_for_a_tpu(length, depth, chains):
    # The music and the picture model's sizes; the last as parallel chains, under their vmap.
    shape = (2, length, 16, depth) if chains is None else (chains, 2, length, 16, depth)
    attention = fused_attention.by_splash
    if chains is not None:
        attention = jax.vmap(attention)
    step = jax.jit(
        jax.grad(lambda *qkv: attention(*qkv).astype(jnp.float32).sum(), argnums=(0, 1, 2))
    )
    traced = step.trace(*[jax.ShapeDtypeStruct(shape, jnp.bfloat16)] * 3)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("tpu_custom_call") == 3  # forward, query's gradient, key's with value's


@pytest.mark.parametrize(
    ("backend", "dtype", "depth", "attention", "kernel"),
    [
        ("gpu", "bfloat16", 16, "auto", "by_cudnn"),
        ("gpu", "bfloat16", 12, "auto", None),
        ("gpu", "float32", 16, "auto", None),
        ("gpu", "bfloat16", 16, "plain", None),
        ("tpu", "bfloat16", 12, "auto", "by_splash"),
        ("tpu", "bfloat16", 12, "plain", None),
        ("cpu", "bfloat16", 16, "auto", None),
    ],
)
def test_the_machine_chooses_the_kernel(monkeypatch, backend, dtype, depth, attention, kernel):
    called = []
    for name in ("by_cudnn", "by_splash"):
        monkeypatch.setattr(
            fused_attention, name, lambda query, *_, name=name: called.append(name) or query
        )
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x = jnp.ones((1, 3, 2 * depth), dtype)
    assert attend_to_self(x, x, x, 2, attention=attention).shape == x.shape
    assert called == ([kernel] if kernel else [])
