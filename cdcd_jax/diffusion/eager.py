"""Calls outside of JAX's transformations: compiled once for a network, its options and shapes.

A `jax.lax.scan` that is called by itself is compiled anew in every call, as its body is a new
function each time. Here the whole computation is compiled, and kept for as long as the network is.
"""

import functools
import hashlib
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.core
import numpy as np
from jax.extend.core import get_opaque_trace_state

from cdcd_jax.checks import checked

MAX_PROGRAMS = 64
"""Compiled programs that are kept at once; the oldest goes first."""

PLAIN = (str, bytes, bool, int, float, complex, np.generic, np.dtype, type)
_ARRAY = "array"

with jax.core.eval_context():
    _EAGER = get_opaque_trace_state()


class Program(NamedTuple):
    """A compiled call.

    Attributes:
        run: ``run(arrays) -> result``.
        check: ``check(arrays)`` raises what the network itself raises for bad values.
        captured: What the functions of the call refer to besides their arguments.
    """

    run: Callable[[list[Any]], Any]
    check: Callable[[list[Any]], Any]
    captured: list[Any]


_PROGRAMS: dict[Any, Program] = {}


def is_eager() -> bool:
    """Return whether no transformation of JAX is at work, such as ``jit``, ``grad`` or ``vmap``."""
    return get_opaque_trace_state() == _EAGER


def call_compiled(
    function: Callable[..., Any], probe: Callable[..., Any], static: Any, *arguments: Any
) -> Any:
    """Return ``function(static, *arguments)``, compiled once where it is called eagerly.

    Arrays among the arguments, also those bound by ``functools.partial``, may change from call to
    call. What a function captures is a constant of its program, as under ``jit``, which for large
    arrays takes memory and time to compile. The program is made anew where a name that it uses was
    bound to something else, or an array of a module or dict was replaced. Where an argument cannot
    be compared, or the network needs concrete values, nothing is compiled.

    Args:
        function: A pure function.
        probe: Calls the network with the same arguments, for checks of values.
        static: Options and schedules, compared by value.
        *arguments: Arrays, networks and numbers.
    """
    if not is_eager():
        return function(static, *arguments)
    try:
        arrays: list[Any] = []
        spec = _split(arguments, arrays)
        key = function, _freeze(static), spec
        captured = [_hold(value) for value in _captured(arguments, set())]
        program = _PROGRAMS.get(key)
    except (TypeError, ValueError):  # not hashable, or a cell that is empty
        return function(static, *arguments)
    if program is None or not _same(program.captured, captured):
        program = _compile(function, probe, static, spec, captured)
        while len(_PROGRAMS) >= MAX_PROGRAMS:
            _PROGRAMS.pop(next(iter(_PROGRAMS)), None)
        _PROGRAMS[key] = program
    try:
        program.check(arrays)
        return program.run(arrays)
    except ValueError:
        raise
    except Exception:  # such as of a network that needs values: by itself it works, or says why not
        return function(static, *arguments)


def _compile(
    function: Callable[..., Any],
    probe: Callable[..., Any],
    static: Any,
    spec: Any,
    captured: list[Any],
) -> Program:
    def run(arrays: list[Any]) -> Any:
        return function(static, *_join(spec, iter(arrays)))

    def check(arrays: list[Any]) -> None:
        probe(static, *_join(spec, iter(arrays)))

    return Program(jax.jit(run), checked(check), captured)


def _split(value: Any, arrays: list[Any]) -> Any:
    """Take the arrays out of a value; the rest is hashable, and refers to functions weakly.

    Raises:
        TypeError: The rest is not hashable.
    """
    if isinstance(value, functools.partial):
        return functools.partial, _split((value.func, value.args, value.keywords), arrays)
    if isinstance(value, types.MethodType):
        return types.MethodType, _split((value.__func__, value.__self__), arrays)
    if _is_array(value):
        arrays.append(value)
        return _ARRAY
    leaves, tree = jax.tree.flatten(value)
    if not jax.tree_util.treedef_is_leaf(tree):
        return tree, tuple(_split(leaf, arrays) for leaf in leaves)
    if isinstance(value, PLAIN):
        return type(value), value
    if callable(value) and type(value).__eq__ is object.__eq__:
        return weakref.ref(value, _forget)
    raise TypeError(f"{value} cannot be compared")


def _join(spec: Any, arrays: Iterator[Any]) -> Any:
    """Put arrays back into a value that was split."""
    if spec == _ARRAY:
        return next(arrays)
    if isinstance(spec, weakref.ref):
        return spec()
    kind, rest = spec
    if kind is functools.partial:
        function, args, keywords = _join(rest, arrays)
        return functools.partial(function, *args, **keywords)
    if kind is types.MethodType:
        return types.MethodType(*_join(rest, arrays))
    if isinstance(kind, type):
        return rest
    return jax.tree.unflatten(kind, [_join(one, arrays) for one in rest])


def _is_array(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc" and value.dtype.isnative
    return isinstance(value, jax.Array)


def _freeze(static: Any) -> Any:
    """Return what makes static values equal: tables by their contents."""
    leaves, tree = jax.tree.flatten(static)
    tables = [np.asarray(leaf) if _is_array(leaf) else leaf for leaf in leaves]
    return tree, tuple(
        (x.dtype, x.shape, x.tobytes()) if isinstance(x, np.ndarray) else (type(x), x)
        for x in tables
    )


def _captured(value: Any, seen: set[int]) -> Iterator[Any]:
    """Yield what functions refer to besides their arguments: arrays one by one."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, functools.partial):
        yield from _captured((value.func, value.args, value.keywords), seen)
    elif isinstance(value, types.MethodType):
        yield from _captured((value.__func__, value.__self__), seen)
    elif isinstance(value, types.FunctionType):
        names = [name for name in _names(value.__code__) if name in value.__globals__]
        yield from jax.tree.leaves([value.__globals__[name] for name in names])
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        for leaf in jax.tree.leaves([cells, value.__defaults__, value.__kwdefaults__]):
            yield leaf
            yield from _captured(leaf, seen)
    else:
        leaves, tree = jax.tree.flatten(value)
        if not jax.tree_util.treedef_is_leaf(tree):
            for leaf in leaves:
                yield from _captured(leaf, seen)
        elif callable(value) and hasattr(value, "__dict__"):
            yield from jax.tree.leaves(vars(value))


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield the names that a function and those within it use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _hold(value: Any) -> Any:
    """Refer to a value without keeping it alive, where that is possible."""
    if isinstance(value, np.ndarray):  # may be changed in place
        return hashlib.blake2b(value.tobytes()).digest()
    try:
        return weakref.ref(value)
    except TypeError:
        return value


def _same(before: list[Any], now: list[Any]) -> bool:
    """Return whether held values are still the same objects, or equal plain ones."""

    def same(one: Any, other: Any) -> bool:
        if isinstance(one, weakref.ref) and isinstance(other, weakref.ref):
            return one() is other() is not None
        return one is other or (
            type(one) is type(other) and isinstance(one, PLAIN) and one == other
        )

    return len(before) == len(now) and all(map(same, before, now))


def _forget(reference: weakref.ref) -> None:
    """Drop the programs of a function that is gone."""
    for key in list(_PROGRAMS):
        if _mentions(key[2], reference):
            _PROGRAMS.pop(key, None)


def _mentions(spec: Any, reference: weakref.ref) -> bool:
    return spec is reference or (
        isinstance(spec, tuple) and any(_mentions(part, reference) for part in spec)
    )
