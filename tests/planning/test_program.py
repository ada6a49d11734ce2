"""Programs parsed from their text: shapes, calls and how often loops run."""

import pytest

from cdcd_jax.planning.program import Program, read_shapes

LOOP = """%condition (state: (s32[], f32[4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(19)
  %state = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %number = s32[]{:T(128)} get-tuple-element(%state), index=0
  ROOT %less = pred[]{:T(512)} compare(%number, %limit), direction=DIRECTION
}
%body (state: (s32[], f32[4])) -> (s32[], f32[4]) {
  %state = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  ROOT %next = (s32[]{:T(128)}, f32[4]{0:T(128)}) tuple(%state, %state)
}
ENTRY %main (x: (s32[], f32[4])) -> (s32[], f32[4]) {
  %x = (s32[], f32[4]{0}) parameter(0)
  ROOT %loop = (s32[]{:T(128)}, f32[4]{0:T(128)}) while(%x), condition=%condition, body=%body
}"""


@pytest.mark.parametrize(("direction", "trips"), [("LT", 19), ("GT", 1)])
def test_a_loop_runs_as_often_as_its_condition_says(direction, trips):
    program = Program(LOOP.replace("DIRECTION", direction))
    assert program.runs == {"": 1, "condition": trips, "body": trips}
    ran = {each.opcode: times for computation, each, times in program if computation == "body"}
    assert ran == {"parameter": trips, "tuple": trips}


def test_layouts_and_tuples_do_not_confuse_what_is_called():
    program = Program(LOOP.replace("DIRECTION", "LT"))
    loop = program.computations[""]["loop"]
    assert (loop.opcode, loop.operands) == ("while", ("x",))
    assert [shape.sizes for shape in loop.shapes] == [(), (4,)]
    assert program.operands("body", program.computations["body"]["next"])[0].dtype == "s32"


def test_bytes_follow_from_types():
    shapes = read_shapes("(bf16[2,3]{1,0:T(8,128)(2,1)S(1)}, s4[5], pred[7]{0}, f32[])")
    assert [shape.bytes for shape in shapes] == [12, 3, 7, 4]
    assert shapes[0].layout == "1,0:T(8,128)(2,1)S(1)"
