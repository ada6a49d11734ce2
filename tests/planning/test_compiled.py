"""Collectives read from programs: of each form that XLA writes, and of real compilations."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.planning.compiled import read_collectives
from cdcd_jax.planning.program import Program

WIDTH, LAYERS, BATCH = 16, 3, 32


def program(line):
    return Program(f"ENTRY %main (x: f32[4]) -> f32[4] {{\n  %y = {line}\n}}")


@pytest.mark.parametrize(
    ("line", "kind", "size", "group"),
    [
        ("f32[4,8]{1,0} all-reduce(%x), replica_groups={{0,2},{1,3}}", "all-reduce", 128, (0, 2)),
        ("f32[] all-reduce(%x), replica_groups={}, to_apply=%add", "all-reduce", 4, (0, 1, 2, 3)),
        (
            "(bf16[4]{0}, f32[2]{0}) all-reduce(%x, %z), replica_groups=[2,2]<=[4]",
            "all-reduce", 16, (0, 1),
        ),
        ("f32[8]{0} all-gather(%x), replica_groups=[2,2]<=[2,2]T(1,0)", "all-gather", 32, (0, 2)),
        (
            "f32[8]{0} all-gather(%x), replica_groups=mesh['axis_0'=2,'axis_1'=2] {'axis_1'}",
            "all-gather", 32, (0, 1),
        ),
        (
            "f32[8]{0} all-gather(%x), replica_groups=mesh['a'=2,'b'=4,'c'=2] {'a','c'}",
            "all-gather", 32, (0, 1, 8, 9),
        ),
        (
            "f32[8]{0} all-gather(%x), replica_groups=mesh['axis_0'=2,'axis_1'=1,'axis_2'=4], "
            "device_ids=([4,2]T(1,0)) {'axis_2'}",
            "all-gather", 32, (0, 2, 4, 6),
        ),
        (
            "f32[8]{0} all-gather(%x), replica_groups=mesh['a'=2,'b'=4] {'b':(2)2}",
            "all-gather", 32, (0, 1),
        ),
        (
            "f32[8]{0} all-gather(%x), replica_groups=mesh['a'=2,'b'=4] {'b':(1)2}",
            "all-gather", 32, (0, 2),
        ),
        ("f32[2]{0} reduce-scatter(%x), replica_groups={{0,2}}", "reduce-scatter", 16, (0, 2)),
        ("s8[8]{0} all-to-all(%x), replica_groups={{0,3},{1,2}}", "all-to-all", 8, (0, 3)),
        (
            "pred[8]{0} collective-permute(%x), source_target_pairs={{0,1},{1,0}}",
            "collective-permute", 8, (0, 1),
        ),
        (
            "(f32[4]{0}, f32[8]{0}) all-gather-start(%x), replica_groups={{0,1},{2,3}}",
            "all-gather", 32, (0, 1),
        ),
        (
            "((f32[8]{0}, f32[4]{0}), (f32[4]{0}, f32[2]{0})) reduce-scatter-start(%x, %y), "
            "replica_groups={{0,1},{2,3}}",
            "reduce-scatter", 48, (0, 1),
        ),
        (
            "(f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%x), "
            "source_target_pairs={{0,2},{2,0}}",
            "collective-permute", 16, (0, 2),
        ),
        ("f32[4]{0} all-reduce-start(%x), replica_groups={{0,1},{2,3}}", "all-reduce", 16, (0, 1)),
    ],
)  # fmt: skip
def test_every_form_is_read(line, kind, size, group):
    (found,) = read_collectives(program(line), 4)
    assert found == (kind, size, group, 1)
    n = len(group)
    whole = {"all-reduce": 2 * (n - 1) / n, "collective-permute": 1.0}
    assert found.sent == pytest.approx(size * whole.get(kind, (n - 1) / n))


def test_other_lines_are_not_read():
    for line in (
        "f32[4]{0} all-reduce-done(%x)",
        "f32[4]{0} add(%all-reduce.1, %x)",
        "f32[4]{0} all-reduce(%x), replica_groups={{0},{1},{2},{3}}",  # each with itself
    ):
        assert read_collectives(program(line), 4) == []


def test_what_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="no ENTRY"):
        Program("HloModule step")
    with pytest.raises(ValueError, match=r"unknown way: %y = .* replica_groups=ring"):
        read_collectives(program("f32[4]{0} all-reduce(%x), replica_groups=ring(4)"), 4)


def test_loops_inside_loops_multiply():
    text = """%inner (x: f32[4]) -> f32[4] {
  %y = f32[4]{0} all-reduce(%x), replica_groups={}, to_apply=%add
}
%outer (x: f32[4]) -> f32[4] {
  %y = f32[4]{0} while(%x), condition=%c, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
  %z = f32[4]{0} while(%x), condition=%c, body=%inner
}
%unused (x: f32[4]) -> f32[4] {
  %y = f32[4]{0} all-reduce(%x), replica_groups={}, to_apply=%add
}
ENTRY %main (x: f32[4]) -> f32[4] {
  %y = f32[4]{0} while(%x), condition=%c, body=%outer, backend_config={"known_trip_count":{"n":"5"}}
  %z = f32[4]{0} call(%y), to_apply=%inner
}"""
    (found,) = read_collectives(Program(text), 2)
    assert found == ("all-reduce", 16, (0, 1), 5 * (3 + 1) + 1)


def test_what_a_tpu_spreads_over_fusions_counts_once():
    text = """%fused.1 (x: bf16[2]) -> bf16[8] {
  %x = bf16[2]{0} parameter(0)
  %y = bf16[8]{0} all-gather(%x), channel_id=7, replica_groups={}, attributes={chain_id="3"}
}
%fused.2 (x: bf16[2]) -> bf16[8] {
  %x = bf16[2]{0} parameter(0)
  %y = bf16[8]{0} all-gather(%x), channel_id=7, replica_groups={}, attributes={chain_id="3"}
}
%all-reduce-scatter.4 (x: f32[8]) -> f32[2] {
  %x = f32[8]{0} parameter(0)
  %y = f32[8]{0} all-reduce(%x), channel_id=8, replica_groups=[1,4]<=[4], to_apply=%add
  ROOT %z = f32[2]{0} dynamic-slice(%y, %c)
}
ENTRY %main (x: f32[4]) -> f32[4] {
  %a = bf16[8]{0} fusion(%x), kind=kOutput, calls=%fused.1
  %b = bf16[8]{0} fusion(%a), kind=kOutput, calls=%fused.2
  %c = f32[2]{0} fusion(%b), kind=kCustom, calls=%all-reduce-scatter.4
}"""
    gathered, scattered = read_collectives(Program(text), 4)
    assert gathered == ("all-gather", 16, (0, 1, 2, 3), 1)
    assert scattered == ("reduce-scatter", 32, (0, 1, 2, 3), 1)
    assert scattered.sent == 24.0


def compile_gradient(mesh, params_spec):
    """Compile the gradient of a stack of layers whose parameters are split as told."""

    def loss(params, x):
        y, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, params)
        return jnp.mean(y**2)

    params = jax.ShapeDtypeStruct((LAYERS, WIDTH, WIDTH), "float32")
    x = jax.ShapeDtypeStruct((BATCH, WIDTH), "float32")
    split = NamedSharding(mesh, params_spec)
    batch = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    step = jax.jit(jax.grad(loss), in_shardings=(split, batch), out_shardings=split)
    return Program(step.lower(params, x).compile().as_text())


@pytest.mark.parametrize("num_devices", [2, 8])
def test_data_parallelism_reduces_each_gradient_once(num_devices):
    mesh = make_mesh(jax.devices()[:num_devices])
    found = read_collectives(compile_gradient(mesh, PartitionSpec()), num_devices)
    assert {c.kind for c in found} == {"all-reduce"}
    reduced = sum(c.size * c.runs for c in found)
    assert reduced == 4 * LAYERS * WIDTH**2
    sent = sum(c.sent for c in found)
    assert sent == pytest.approx(2 * (num_devices - 1) / num_devices * reduced)
