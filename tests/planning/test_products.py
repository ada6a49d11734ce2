"""Matrix products of compiled programs, against formulas, and what a device pads them by."""

import jax
import jax.numpy as jnp
import pytest

from cdcd_jax.planning.flops import count_cost
from cdcd_jax.planning.products import Product, Tile, count_kernels, read_products
from cdcd_jax.planning.program import Program

MXU = Tile(8, 128, 128)


def line(text, *operands):
    parameters = [f"  %p{i} = {shape} parameter({i})" for i, shape in enumerate(operands)]
    return Program(
        "\n".join(["ENTRY %main (x: f32[4]) -> f32[4] {", *parameters, f"  {text}", "}"])
    )


@pytest.mark.parametrize(
    ("text", "operands", "product"),
    [
        (
            "%y = f32[2,5,7]{2,1,0} dot(%p0, %p1), lhs_batch_dims={0}, lhs_contracting_dims={2}, "
            "rhs_batch_dims={0}, rhs_contracting_dims={1}",
            ("f32[2,5,3]", "f32[2,3,7]"),
            (2, 5, 3, 7),
        ),
        (
            "%y = f32[256,16]{0,1:T(8,128)} convolution(%p0, %p1), dim_labels=bf_io->bf",
            ("bf16[256,96]{1,0:T(8,128)(2,1)}", "bf16[96,16]"),
            (1, 256, 96, 16),
        ),
        (  # attention's scores on a TPU: batch and heads as places that meet one tap each
            "%y = f32[4,2,64,64] convolution(%p0, %p1), window={size=4x2 stride=3x1 "
            "lhs_dilate=4x2}, dim_labels=01bf_01io->01bf",
            ("bf16[4,2,64,12]", "bf16[4,2,12,64]"),
            (8, 64, 12, 64),
        ),
        (  # a convolution of 3x3 over 8x8, padded by one: the border meets fewer taps
            "%y = f32[2,8,8,6] convolution(%p0, %p1), window={size=3x3 pad=1_1x1_1}, "
            "dim_labels=b01f_01io->b01f",
            ("f32[2,8,8,4]", "f32[3,3,4,6]"),
            (1, 128, 4 * (22 * 22 // 64), 6),
        ),
        (
            '%y = (f32[32,16]{1,0}, s8[4]) custom-call(%p0, %p1), custom_call_target='
            '"__cublas$gemm", backend_config={"gemm_backend_config":{"dot_dimension_numbers":'
            '{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}',
            ("bf16[32,8]", "bf16[8,16]"),
            (1, 32, 8, 16),
        ),
        (
            '%splash_mha_dkv.1 = bf16[2,6,128,64] custom-call(%p0, %p1, %p2), custom_call_target='
            '"tpu_custom_call"',
            ("s8[1,1,1]", "bf16[2,6,64,128]", "bf16[2,6,64,256]"),
            (2 * 6 * 5, 128, 64, 256),
        ),
        (  # of a single example
            '%splash_mha_fwd_residuals.1 = (bf16[6,128,64], f32[6,128]) custom-call(%p0, %p1, %p2),'
            ' custom_call_target="tpu_custom_call"',
            ("s8[1,1,1]", "bf16[6,64,128]", "bf16[6,64,256]"),
            (6 * 2, 128, 64, 256),
        ),
        (
            '%y = (bf16[3,4,256,64], u8[0]) custom-call(%p0, %p1), custom_call_target='
            '"__cudnn$fmhaSoftmaxBackward"',
            ("bf16[3,256,4,64]", "bf16[3,128,4,64]"),
            (3 * 4 * 5, 256, 64, 128),
        ),
    ],
)  # fmt: skip
def test_each_form_of_a_product_is_read(text, operands, product):
    assert read_products(line(text, *operands)) == [(*product, 1)]


def test_a_scanned_network_has_the_products_of_its_jaxpr():
    def loss(weights, x):
        def layer(x, w):
            return jnp.tanh(x @ w), None

        return jnp.sum(jax.lax.scan(layer, x, weights)[0])

    arguments = jnp.zeros((5, 128, 128)), jnp.zeros((256, 128))
    step = jax.grad(loss)
    program = Program(jax.jit(step).lower(*arguments).compile().as_text())
    assert sum(p.flops for p in read_products(program)) == count_cost(step, *arguments).flops


def test_padding_rounds_up_to_tiles_with_the_better_operand_in_place():
    heads = Product(batch=16, rows=1024, contracted=12, columns=1024, runs=1)
    assert heads.padded(MXU) / heads.flops == pytest.approx(128 / 12)
    narrow = Product(batch=1, rows=1024, contracted=1024, columns=12, runs=3)
    # Twelve columns pass through as 16 rows instead of standing in 128 columns.
    assert narrow.padded(MXU) / narrow.flops == pytest.approx(16 / 12)
    exact = Product(batch=1, rows=64, contracted=256, columns=128, runs=1)
    assert exact.padded(MXU) == exact.flops


def test_other_peoples_kernels_are_counted():
    text = '%y = f32[4] custom-call(%p0), custom_call_target="TARGET"'
    for target, found in {
        "__cudnn$convForward": {"__cudnn$convForward": 1},
        "AllocateBuffer": {},
    }.items():
        assert count_kernels(line(text.replace("TARGET", target), "f32[4]")) == found
    triton = '%y = f32[4] fusion(%p0), backend_config={"fusion_backend_config":{"kind":"__triton"}}'
    assert count_kernels(line(triton, "f32[4]")) == {"__triton": 1}
