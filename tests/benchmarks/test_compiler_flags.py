"""What flags of XLA change in a program."""

from benchmarks.compiler_flags import (
    Collectives,
    format_rows,
    read_flags,
    schedule_of,
    strip_names,
)
from cdcd_jax.planning.program import Program

LOOP = """HloModule jit_step, is_scheduled=true
%body (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %a = f32[4]{0} all-gather-start(%x), replica_groups={}
  %b = f32[4]{0} all-reduce-start(%x), replica_groups={}
  %c = f32[4]{0} all-gather-done(%a), metadata={op_name="one"}
  %d = f32[4]{0} fusion(%c), kind=kLoop
  ROOT %e = f32[4]{0} all-reduce-done(%b)
}
ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %y = f32[4]{0} while(%x), body=%body, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %z = f32[4]{0} all-reduce(%y), replica_groups={}
}"""


def test_collectives_are_counted_by_what_hides_them():
    """Of the two pairs in a loop of three, only one has computation between start and done."""
    assert schedule_of(Program(LOOP)) == Collectives(waiting=1, pairs=6, hidden=3)


def test_programs_are_the_same_whatever_their_metadata_says():
    other = LOOP.replace('"one"', '"two"').replace("jit_step", "jit_other")
    assert strip_names(LOOP) == strip_names(other)
    assert strip_names(LOOP) != strip_names(LOOP.replace('"n":"3"', '"n":"4"'))


def test_flags_are_options_of_the_compiler_and_a_line_of_the_table():
    assert read_flags("") == {}
    assert read_flags("one=true,two=3") == {"one": True, "two": 3}
    row = {"flags": "one=true,two=3", "same": False, "bytes": 33_440_000}
    line = format_rows([row | Collectives(51, 8, 7)._asdict()]).splitlines()[2]
    assert line == "| `one=true`<br>`two=3` | another | 51 | 8 | 7 | 33.4 |"
