"""The published PyTorch denoisers' numbers: activations, logits and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cdcd_jax.interop.denoiser import denoiser_from_reference, denoiser_to_reference
from cdcd_jax.models import make_denoiser
from cdcd_jax.models.denoiser import Denoiser, Source
from cdcd_jax.models.options import DenoiserOptions
from tests.support.published_denoiser import AIST, COCO, GOLDEN, ProceduralWeights, load, template

TOLERANCE = 2e-5


def relative_error(ours, theirs):
    return np.abs(np.asarray(ours, np.float64) - theirs).max() / np.abs(theirs).max()


def inputs(data):
    return jnp.asarray(data["tokens"], jnp.int32), jnp.asarray(data["t"], jnp.int32) + 1


@pytest.mark.parametrize("name", GOLDEN)
def test_logits_and_every_gradient(golden, name):
    data = golden(f"denoiser/{name}.npz")
    network, params, cond = load(data, GOLDEN[name])
    cotangent = np.swapaxes(data["grad_R"], 1, 2)

    def scalar(params):
        logits = network.logits(params, *inputs(data), cond)
        return (logits * cotangent).sum(), logits

    (value, logits), grads = jax.jit(jax.value_and_grad(scalar, has_aux=True))(params)
    assert relative_error(np.swapaxes(logits, 1, 2), data["logits"]) < TOLERANCE
    assert abs(value - data["scalar"]) < TOLERANCE * np.abs(data["logits"] * data["grad_R"]).sum()
    grads = denoiser_to_reference(grads)
    largest = max(np.abs(data[key]).max() for key in data if key.startswith("grad/"))
    for key in filter(lambda key: key.startswith("grad/"), data):
        theirs, ours = data[key], grads.pop(key.removeprefix("grad/"), None)
        if ours is None:  # a position table that is a bare parameter there, [1 size width]
            ours = grads.pop(key.removeprefix("grad/") + ".weight")[None]
        scale = np.abs(theirs).max()
        if scale < 1e-4 * largest:  # zero but for rounding: what softmax ignores, such as key.bias
            scale = largest
        assert np.abs(ours - theirs).max() <= TOLERANCE * scale, key
    assert all(".mlp.conv" in key for key in grads), "only large convolutions may lack a gradient"


@pytest.mark.parametrize("name", GOLDEN)
def test_activations_block_by_block(golden, name):
    data = golden(f"denoiser/{name}.npz")
    _, params, cond = load(data, GOLDEN[name])
    options = DenoiserOptions(**GOLDEN[name])
    structure, _ = nnx.split(
        nnx.eval_shape(lambda: Denoiser(options, rngs=nnx.Rngs(params=jax.random.key(0))))
    )
    denoiser = nnx.merge(structure, params)
    block_structure, stacked = nnx.split(denoiser.blocks)
    zt, t = inputs(data)
    x = denoiser.embedding(zt, jnp.dtype("float32"))
    assert relative_error(x, data["content_emb_out"]) < TOLERANCE
    for index in range(options.num_layers):
        layer = jax.tree.map(lambda leaf, index=index: leaf[index], stacked)
        block = nnx.merge(block_structure, layer)
        source = None
        if options.condition == "cross":
            source = Source(*block.cross_attention.source(cond))

        def step(x, block=block, source=source):
            return block(x, block.modulation(t, cond, jnp.dtype("float32")), source)

        x = jax.jit(step)(x)
        assert relative_error(x, data[f"block{index}_out"]) < TOLERANCE


@pytest.mark.parametrize("name", GOLDEN)
def test_float64_logits(golden, name):
    data = golden(f"denoiser/{name}.npz")
    with jax.enable_x64(True):
        network, params, cond = load(data, GOLDEN[name], compute_dtype="float64")
        logits = jax.jit(network.logits)(params, *inputs(data), cond)
    assert logits.dtype == np.float64
    # The published sinusoids are in float32 even then.
    tolerance = 1e-6 if GOLDEN[name].get("timestep") == "sinusoidal" else 1e-12
    assert relative_error(np.swapaxes(logits, 1, 2), data["logits_f64"]) < tolerance


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "base", "stride"),
    [("coco_cub", COCO, 481, 16), ("aist_music", AIST, 482, 24)],
)
def test_published_sizes(golden, name, options, base, stride):
    data = golden(f"denoiser/{name}_real_procedural.npz")
    network = make_denoiser(**options)
    shapes = denoiser_to_reference_shapes(template(network))
    params = denoiser_from_reference(ProceduralWeights(shapes, base), template(network))
    logits = jax.jit(network.logits)(params, *inputs(data), data["cond"])
    strided = np.swapaxes(logits, 1, 2)[:, :, ::stride]
    assert relative_error(strided, data["logits_strided"]) < TOLERANCE


def denoiser_to_reference_shapes(params):
    """Return the shapes there of our parameters' shapes, no array being made."""
    empty = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), params)
    return {key: array.shape for key, array in denoiser_to_reference(empty).items()}
