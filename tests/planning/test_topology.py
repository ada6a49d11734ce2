"""Devices described for their own compilers, and what is said where that cannot be."""

from collections import Counter
from importlib import metadata

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cdcd_jax.cli.plan_text import describe_mesh_plan
from cdcd_jax.distributed.mesh import make_mesh, split_batch
from cdcd_jax.distributed.partition import shard_params
from cdcd_jax.experiment.plan import build_plan
from cdcd_jax.models import make_denoiser
from cdcd_jax.planning import topology
from cdcd_jax.planning.compiled import Collective, read_collectives
from cdcd_jax.planning.hardware import HARDWARE
from cdcd_jax.planning.mesh_plan import plan_mesh
from cdcd_jax.planning.products import count_kernels, read_products
from cdcd_jax.planning.program import Program
from cdcd_jax.planning.topology import describe_topology, missing_compiler, parse_layout
from cdcd_jax.settings.config_file import load_config
from cdcd_jax.training.optimizer import make_optimizer
from cdcd_jax.training.state import init_state
from cdcd_jax.training.step import Objective, make_train_step


@pytest.mark.parametrize(
    ("hardware", "layout", "match"),
    [
        ("a100", "1x8", "no compiler for a100 here; take hardware = tpu-v4, tpu-v5e"),
        ("tpu-v5e", "4x4x4", "4x4x4 is no arrangement of tpu-v5e; take one such as 1x1, 2x2"),
        ("tpu-v5p", "4x4", "4x4 is no arrangement of tpu-v5p; take one such as 2x2x1"),
        ("h200", "8", "8 is no arrangement of h200; take one such as 1x8, which is hosts x GPUs"),
        ("tpu-v5e", "0x4", "0x4 is no arrangement"),
        ("tpu-v5e", "banana", "banana is no arrangement"),
        ("tpu-v5e", "9999x9999", "9999x9999 is no arrangement"),
    ],
)
def test_what_does_not_exist_is_refused(hardware, layout, match):
    with pytest.raises(ValueError, match=match):
        parse_layout(hardware, layout)


def test_every_form_that_is_named_is_taken():
    for hardware, forms in topology.LAYOUTS.items():
        assert hardware in HARDWARE
        for layout in [word for word in forms.replace(",", " ").split() if "x" in word[1:3]]:
            assert parse_layout(hardware, layout)


@pytest.mark.parametrize(("hardware", "extra"), [("tpu-v5e", "tpu"), ("h200", "cuda")])
def test_a_missing_compiler_is_named_with_the_command(monkeypatch, hardware, extra):
    monkeypatch.setattr(topology, "find_spec", lambda name: None)
    assert f'pip install "cdcd_jax[{extra}]"' in (missing_compiler(hardware) or "")


def test_a_compiler_of_another_version_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(topology, "find_spec", lambda name: object())
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.1")
    match = rf'libtpu is of version 0.0.1, but jax .* takes .*"jax\[tpu\]=={jax.__version__}"'
    with pytest.raises(ValueError, match=match):
        missing_compiler("tpu-v6e")


def describe_tpu(layout, hardware="tpu-v5e"):
    pytest.importorskip("libtpu", reason="the compiler for TPUs is not installed")
    assert missing_compiler(hardware) is None
    return describe_topology(hardware, layout, 16e9, 8e11)


def test_a_tpu_that_does_not_exist_is_refused_by_its_compiler():
    with pytest.raises(ValueError, match="3x5 is no arrangement of tpu-v5e; take one such as"):
        describe_tpu("3x5")


def test_a_compiler_that_does_not_start_is_no_wrong_arrangement(monkeypatch):
    def fail(*_, **options):
        raise jax.errors.JaxRuntimeError("ABORTED: the lock of libtpu is another's")

    monkeypatch.setattr(topology.topologies, "get_topology_desc", fail)
    with pytest.raises(OSError, match="does not start: ABORTED: the lock of libtpu"):
        describe_topology("tpu-v5e", "2x2", 16e9, 8e11)


@pytest.mark.parametrize(
    ("hardware", "layout", "count"), [("tpu-v5e", "1x1", 1), ("tpu-v5p", "2x2x2", 8)]
)
def test_a_tpu_has_as_many_devices_as_its_arrangement(hardware, layout, count):
    found = describe_tpu(layout, hardware)
    assert len(found.devices) == count
    assert found.compiler.startswith("libtpu ")


def test_the_program_of_a_tpu_is_read():
    """Split weights are gathered, their gradients scattered, and a head of 12 is padded."""
    mesh = make_mesh(describe_tpu("2x2").devices, fsdp=4)

    def loss(weights, x):
        def layer(x, w):
            return jnp.tanh(x @ w), None

        return jnp.sum(jax.lax.scan(layer, x, weights)[0].astype(jnp.float32))

    split = NamedSharding(mesh, PartitionSpec(None, "fsdp"))
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    weights = jax.ShapeDtypeStruct((6, 512, 512), jnp.bfloat16, sharding=split)
    x = jax.ShapeDtypeStruct((64, 512), jnp.bfloat16, sharding=rows)
    step = jax.jit(jax.grad(loss), out_shardings=split)
    program = Program(step.lower(weights, x).compile().as_text())
    products = read_products(program)
    each = 2 * 16 * 512 * 512
    # Forward, and two of the backward pass but that of the first layer's input.
    assert 6 * 3 * each - each <= sum(p.flops for p in products) <= 6 * 3 * each
    size = 2 * 6 * 512 * 512
    sizes = {"all-gather": 0, "reduce-scatter": 0}
    for found in read_collectives(program, mesh.size):
        sizes[found.kind] = sizes.get(found.kind, 0) + found.size * found.runs
    assert sizes["reduce-scatter"] == size
    assert size <= sizes["all-gather"] <= 2 * size
    assert count_kernels(program) == {}


@pytest.mark.parametrize(
    ("sizes", "collectives"),
    [
        ({}, {"all-reduce"}),
        ({"fsdp": 2, "tensor": 2}, {"all-reduce", "all-gather"}),
    ],
)
def test_a_training_step_compiles_for_tpus(sizes, collectives):
    """Its products are those of the model, and every device holds its part of the state."""
    devices = describe_tpu("2x2")
    config = load_config("configs/digits_sample_inter.py:smoke")
    with config.unlocked():
        config.mesh.update(data=None, **sizes)
    run = build_plan(config)
    mesh, shardings = run.arrange(devices.devices)
    v5e = HARDWARE["tpu-v5e"]
    plan = plan_mesh(run.planned, mesh, shardings, v5e, compiler=devices.compiler)
    model = run.planned.cost(plan.batch_size, saving=False).flops / mesh.size
    computed, padded = plan.computed
    if not sizes:
        assert computed == pytest.approx(model, rel=0.01)
    assert padded > computed >= 0.99 * model
    assert collectives <= set(plan.collected())
    size = 4 * sum(run.planned.count_parameters().values())
    # Of so small a model the vectors, which are not split, are a third.
    assert plan.memory.parameters <= (0.4 * size if sizes else size)
    assert plan.memory.total < 1e8
    assert f"as {devices.compiler} lays them out" in describe_mesh_plan(plan, v5e)


def test_a_step_makes_no_second_copy_of_the_state():
    """Beside it there are the gradient and the parameters in bfloat16, half as large each."""
    mesh = make_mesh(describe_tpu("1x1").devices)

    def loss(params, batch, stats):
        def layer(x, w):
            return jnp.tanh(x @ w), None

        y = jax.lax.scan(layer, batch["x"], params["w"].astype(jnp.bfloat16))[0]
        return jnp.mean(y.astype(jnp.float32) ** 2), ({}, ())

    optimizer = make_optimizer(lr=0.1, num_steps=9)
    train_step = make_train_step(Objective(loss), optimizer, max_skipped=3, ema_every=25)

    def init(key):
        return {"w": jnp.zeros((4, 4096, 4096))}

    whole = NamedSharding(mesh, PartitionSpec())
    state, batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
        (
            jax.eval_shape(lambda: init_state(jax.random.key(0), init, optimizer, None)),
            {"x": jax.ShapeDtypeStruct((64, 4096), jnp.bfloat16)},
        ),
    )
    compiled = jax.jit(train_step, donate_argnums=0).lower(state, batch).compile()
    size, memory = 4 * 4 * 4096**2, compiled.memory_analysis()
    assert memory.alias_size_in_bytes >= 4 * size
    assert memory.temp_size_in_bytes < 1.05 * size


@pytest.mark.parametrize("sizes", [{"tensor": 2}, {"fsdp": 4}])
def test_a_denoiser_for_tpus_repeats_no_attention_and_sends_each_gradient_once(sizes):
    """Though blocks are computed again but for products with parameters."""
    mesh = make_mesh(describe_tpu("2x2").devices, **sizes)
    network = make_denoiser(
        vocab_size=5, num_steps=3, grid=(8, 16), num_layers=2, width=48, num_heads=4,
        compute_dtype="bfloat16", remat="dots", unroll=1,
    )  # fmt: skip
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    shardings = shard_params(shapes, mesh)
    params = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes, shardings,
    )  # fmt: skip

    def loss(params, zt, t):
        return network.hidden(params, zt, t, None).astype(jnp.float32).sum()

    rows = split_batch(mesh)
    zt = jax.ShapeDtypeStruct((4, 128), jnp.int32, sharding=rows)
    t = jax.ShapeDtypeStruct((4,), jnp.int32, sharding=rows)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        step = jax.jit(jax.grad(loss), out_shardings=shardings)
        program = Program(step.lower(params, zt, t).compile().as_text())
    calls = {"splash_mha_fwd_residuals": 2, "splash_mha_dkv_no_residuals": 2}
    assert count_kernels(program) == calls
    # Of 2 blocks 2 + 5 products, on each device of 2 examples and 2 heads of 12, or of 1 and 4.
    attention = [p for p in read_products(program) if p[1:4] == (128, 16, 128)]
    assert sum(p.batch * p.runs for p in attention) == 2 * (2 + 5) * 4
    if "fsdp" in sizes:
        size = sum(4 * x.size for x in jax.tree.leaves(shapes))
        sent: Counter[str] = Counter()
        for found in read_collectives(program, mesh.size):
            sent[found.kind] += found.sent / (3 / 4 * size)
        assert sent["all-gather"] < 1.1  # kernels, once forward and once backward
        assert sent["reduce-scatter"] + sent["all-reduce"] < 1.1


@pytest.mark.parametrize("compiler", ["for CPUs", "for TPUs"])
@pytest.mark.parametrize(("schedule", "guidance"), [("mask_replace", 2.0), ("absorbing", 1.0)])
def test_a_sampler_makes_keys_and_values_of_the_condition_once(compiler, schedule, guidance):
    """They are products of its features alone; and no chip waits for another in the loop."""
    devices = jax.devices()[:4] if compiler == "for CPUs" else describe_tpu("2x2").devices
    num_steps, width = 5, 24
    config = load_config("configs/glyphs_sample_inter.py:smoke")
    with config.unlocked():
        config.denoiser.compute_dtype = "bfloat16"
        config.schedule.name, config.sample.guidance = schedule, guidance
        config.condition.update(width=width, dropout=0.1)
        config.eval.num_steps = (num_steps,)
        config.mesh.data = None
    run = build_plan(config, "sample")
    mesh, shardings = run.arrange(devices)
    lowered, _ = run.planned.lower(mesh, shardings, 16)
    program = Program(lowered.compile().as_text())
    runs = {product.runs for product in read_products(program) if product.contracted == width}
    assert runs == {1}
    assert num_steps in {product.runs for product in read_products(program)}
    tokens = Collective("all-gather", 4 * 16 * run.length, (0, 1, 2, 3), 1)
    assert read_collectives(program, mesh.size) == [tokens]
