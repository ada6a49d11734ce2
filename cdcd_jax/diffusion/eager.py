"""Calls outside of JAX's transformations: traced anew, but compiled once per program.

A `jax.lax.scan` that is called by itself is compiled anew in every call, as its body is a new
function each time. Here the whole computation is traced and lowered, and what was compiled of the
same program before is run. As the program is made in every call, nothing that a network captures
can be stale: what it refers to is part of the program, and compared with it.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.core
import numpy as np
from jax.extend.core import get_opaque_trace_state

from cdcd_jax.checks import throw, with_errors

MAX_PROGRAMS = 64
"""Compiled programs that are kept at once; the oldest goes first."""

with jax.core.eval_context():
    _EAGER = get_opaque_trace_state()


class Program(NamedTuple):
    """A compiled call; it refers to no function or array of the caller.

    Attributes:
        run: ``run(arrays) -> result``.
        check: ``check(arrays) -> (error, None)``: what the network itself refuses.
    """

    run: Callable[[list[Any]], Any]
    check: Callable[[list[Any]], Any]


_PROGRAMS: dict[Any, Program] = {}


def is_eager() -> bool:
    """Return whether no transformation of JAX is at work, such as ``jit``, ``grad`` or ``vmap``."""
    return get_opaque_trace_state() == _EAGER


def call_compiled(
    function: Callable[..., Any], probe: Callable[..., Any], static: Any, *arguments: Any
) -> Any:
    """Return ``function(static, *arguments)``, compiled once where it is called eagerly.

    Arrays among the arguments, also those bound by ``functools.partial``, may change from call to
    call. An array that a function captures is a constant of its program, as under ``jit``, which
    for large arrays takes time and memory in every call. A network that needs concrete values is
    called without compiling.

    Args:
        function: A pure function.
        probe: Calls the network with the same arguments, for checks of values.
        static: Options and schedules.
        *arguments: Arrays, networks and numbers.
    """
    if not is_eager():
        return function(static, *arguments)
    arrays: list[Any] = []
    rest = _split(arguments, arrays)

    def run(arrays: list[Any]) -> Any:
        return function(static, *_join(rest, iter(arrays)))

    def check(arrays: list[Any]) -> None:
        probe(static, *_join(rest, iter(arrays)))

    try:
        lowered = jax.jit(run).lower(arrays)
        key = _identify(lowered, arrays)
        if key not in _PROGRAMS:
            while len(_PROGRAMS) >= MAX_PROGRAMS:
                _PROGRAMS.pop(next(iter(_PROGRAMS)), None)
            # Of the same program the network, and so what it checks, is the same.
            checks = jax.jit(with_errors(check)).lower(arrays).compile()
            _PROGRAMS[key] = Program(lowered.compile(), checks)
        program = _PROGRAMS[key]
        error, _ = program.check(arrays)
        throw(error)
        return program.run(arrays)
    except ValueError:
        raise
    except Exception:  # such as of a network that needs values: by itself it works, or says why not
        return function(static, *arguments)


def _identify(lowered: Any, arrays: list[Any]) -> Any:
    """Return a key that identifies a program and the placement of its arguments."""
    return (
        hashlib.sha256(lowered.as_text().encode()).digest(),
        (str(lowered.in_avals), str(lowered.out_tree)),
        tuple((x.sharding, x.committed) if isinstance(x, jax.Array) else None for x in arrays),
    )


class _Place:
    """The place of an array in a value that was split."""


class _Bound:
    """A ``functools.partial`` that was split: its function, positional and keyword arguments."""

    def __init__(self, parts: Any):
        self.parts = parts


def _split(value: Any, arrays: list[Any]) -> Any:
    """Split the arrays off a value, also those bound by ``functools.partial``."""

    def split(leaf: Any) -> Any:
        if isinstance(leaf, functools.partial):
            return _Bound(_split([leaf.func, leaf.args, leaf.keywords], arrays))
        if isinstance(leaf, jax.Array) or (
            isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufc" and leaf.dtype.isnative
        ):
            arrays.append(leaf)
            return _Place()
        return leaf

    return jax.tree.map(split, value, is_leaf=_is_partial)


def _join(value: Any, arrays: Iterator[Any]) -> Any:
    """Join arrays and the value they were split from."""

    def join(leaf: Any) -> Any:
        if isinstance(leaf, _Bound):
            function, args, keywords = _join(leaf.parts, arrays)
            return functools.partial(function, *args, **keywords)
        return next(arrays) if isinstance(leaf, _Place) else leaf

    return jax.tree.map(join, value)


def _is_partial(value: Any) -> bool:
    return isinstance(value, functools.partial)
