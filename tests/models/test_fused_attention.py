"""The fused kernels must do what plain attention does; TPU's runs interpreted here."""

import functools
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, NamedSharding, PartitionSpec

from cdcd_jax.models import attention, fused_attention, make_denoiser
from cdcd_jax.models.attention import attend, split_heads

BATCH, HEADS, DEPTH = 4, 2, 12


def draw(length, dtype=jnp.float32):
    shape = (4, BATCH, length, HEADS * DEPTH)
    return (3 * jax.random.normal(jax.random.key(0), shape)).astype(dtype)


def by_splash(query, key, value, interpret=True):
    heads = (split_heads(x, HEADS) for x in (query, key, value))
    return fused_attention.by_splash(*heads, interpret=interpret).reshape(query.shape)


def value_and_grads(function, query, key, value, weight):
    return jax.value_and_grad(
        lambda *inputs: (function(*inputs) * weight).sum(), argnums=(0, 1, 2)
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
    # The music and the image model's sizes; the last as parallel chains, under their vmap.
    shape = (2, length, 16, depth) if chains is None else (chains, 2, length, 16, depth)
    fused = fused_attention.by_splash if chains is None else jax.vmap(fused_attention.by_splash)
    step = jax.jit(jax.grad(lambda *qkv: fused(*qkv).astype(jnp.float32).sum(), argnums=(0, 1, 2)))
    traced = step.trace(*[jax.ShapeDtypeStruct(shape, jnp.bfloat16)] * 3)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("tpu_custom_call") == 2  # forward, and all gradients


@pytest.mark.parametrize("length", [6, 7])
def test_the_request_to_cudnn_is_attention(monkeypatch, length):
    # The request is real, XLA answers it: what cuDNN itself returns only a GPU can tell.
    monkeypatch.setattr(
        jax.nn,
        "dot_product_attention",
        functools.partial(ask_xla, jax.nn.dot_product_attention),
    )
    inputs = draw(length)

    def by_cudnn(query, key, value):
        heads = (split_heads(x, HEADS) for x in (query, key, value))
        return fused_attention.by_cudnn(*heads).reshape(query.shape)

    fused = jax.jit(functools.partial(value_and_grads, by_cudnn))(*inputs)
    plain = functools.partial(attend, num_heads=HEADS)
    expected = jax.jit(functools.partial(value_and_grads, plain))(*inputs)
    np.testing.assert_allclose(fused[0], expected[0], rtol=1e-5)
    for ours, theirs in zip(fused[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def ask_xla(function, *inputs, implementation, **lengths):
    assert implementation == "cudnn"
    assert inputs[0].shape[1] % 2 == inputs[0].shape[3] % 8 == 0
    return function(*inputs, **lengths)


@pytest.mark.parametrize(
    ("backend", "capability", "dtype", "depth", "kernel"),
    [
        ("gpu", "9.0", "bfloat16", 16, fused_attention.by_cudnn),
        ("gpu", "9.0", "bfloat16", 12, fused_attention.by_cudnn),
        ("gpu", "9.0", "bfloat16", 136, None),
        ("gpu", "9.0", "float32", 16, None),
        ("gpu", "7.5", "bfloat16", 16, None),
        ("gpu", "gfx942", "bfloat16", 16, None),
        ("tpu", None, "bfloat16", 12, fused_attention.by_splash),
        ("tpu", None, "float32", 12, None),
        ("cpu", None, "bfloat16", 16, None),
    ],
)
def test_the_machine_chooses_the_kernel(monkeypatch, backend, capability, dtype, depth, kernel):
    device = types.SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert fused_attention.choose_kernel(256, depth, jnp.dtype(dtype)) is kernel


@pytest.mark.parametrize(
    ("platform", "kind", "dtype", "depth", "kernel"),
    [
        ("tpu", "TPU v5 lite", "bfloat16", 12, fused_attention.by_splash),
        ("tpu", "TPU v5 lite", "float32", 12, None),
        ("cuda", "NVIDIA H200", "bfloat16", 16, fused_attention.by_cudnn),
        ("cuda", "NVIDIA H200", "bfloat16", 12, fused_attention.by_cudnn),
        ("cuda", "NVIDIA H200", "bfloat16", 136, None),
        ("cpu", "cpu", "bfloat16", 16, None),
    ],
)
def test_the_devices_of_the_mesh_choose_the_kernel(platform, kind, dtype, depth, kernel):
    # They need not be this machine's: a plan takes the kernels that the run will take.
    device = AbstractDevice(device_kind=kind, num_cores=None, platform=platform)
    mesh = AbstractMesh((4,), ("data",), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        if kernel is fused_attention.by_splash:  # 64 positions would fill half of a block
            assert fused_attention.choose_kernel(64, depth, jnp.dtype(dtype)) is None
        assert fused_attention.choose_kernel(256, depth, jnp.dtype(dtype)) is kernel


@pytest.mark.parametrize(("choice", "used"), [("auto", 1), ("plain", 0)])
def test_a_denoiser_uses_the_kernel_by_default(monkeypatch, choice, used):
    called = []
    kernel = lambda query, key, value: called.append(query.shape) or query  # noqa: E731
    monkeypatch.setattr(attention, "choose_kernel", lambda length, depth, dtype: kernel)
    network = make_denoiser(
        vocab_size=5, num_steps=3, grid=(1, 4), num_layers=2, width=8, num_heads=2,
        condition="cross", cond_dim=6, attention=choice, unroll=1,
    )  # fmt: skip
    params = jax.eval_shape(network.init, jax.random.key(0))
    called.clear()
    shapes = [((3, 4), int), ((3,), int), ((3, 5, 6), float)]
    jax.eval_shape(network.apply, params, *(jax.ShapeDtypeStruct(*each) for each in shapes))
    # Traced once for all blocks, in self-attention alone.
    assert called == [(3, 4, 2, 4)] * used


@pytest.mark.parametrize(("remat", "times"), [("blocks", 2), ("dots", 1)])
def test_attention_is_not_among_what_dots_computes_again(monkeypatch, remat, times):
    # By cuDNN; tests/planning/test_topology.py compiles the same for a TPU.
    network = make_denoiser(
        vocab_size=5, num_steps=3, grid=(8, 16), num_layers=2, width=24, num_heads=2,
        compute_dtype="bfloat16", remat=remat, unroll=1,
    )  # fmt: skip
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    params = jax.eval_shape(network.init, jax.random.key(0))
    device = AbstractDevice(device_kind="one", num_cores=None, platform="cuda")
    inputs = [jax.ShapeDtypeStruct(*each) for each in [((3, 128), int), ((3,), int)]]

    def loss(params, zt, t):
        return network.hidden(params, zt, t, None).astype(jnp.float32).sum()

    with jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("data",), abstract_device=device)):
        text = str(jax.make_jaxpr(jax.grad(loss))(params, *inputs))
    assert re.findall(r"\bdot_product_attention_(\w+)_wrapper\[", text) == ["fwd"] * times + ["bwd"]
