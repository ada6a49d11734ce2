"""Checks of the arguments of public functions: ids, steps, shapes and numbers.

Shapes and dtypes are always known and always checked. Values are checked where an array is
concrete; under ``jax.jit`` they are not known, and a check adds nothing to the program. `checked`
compiles a function whose checks are part of the program, with ``jax.experimental.checkify``.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import checkify
from jaxtyping import Array

LARGEST_WEIGHT = 1e30
"""Largest weight of a loss: times a loss of up to 1e8, it is a float32."""

# Part of jit's cache key: a function that was traced without its checks is traced again with them.
_checking = jax.make_user_context(False)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function so that values of traced arrays are checked too.

    Everything of this package that the function calls raises then what it raises for concrete
    arrays. It costs some comparisons and a wait for the result: for debugging.

    Args:
        function: A function of arrays that could be given to ``jax.jit``.

    Returns:
        The compiled function. It raises a ValueError that names value and place.

    Example:
        >>> from cdcd_jax.diffusion import schedule, transitions
        >>> noise = schedule.absorbing_schedule(num_steps=5, vocab_size=9)
        >>> draw = checked(lambda key, z0, t: transitions.q_sample(key, noise, z0, t))
        >>> draw(jax.random.key(0), jnp.array([[3, 4]]), jnp.array([5])).tolist()
        [[9, 9]]
        >>> draw(jax.random.key(0), jnp.array([[3, 99]]), jnp.array([5]))
        Traceback (most recent call last):
        ValueError: zs[0, 1] = 99 is not a token id: those are 0..9, of which 9 is the mask
    """
    run = jax.jit(with_errors(function))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        error, result = run(*args, **kwargs)
        throw(error)
        return result

    return call


def with_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose checks of traced values are part of what it computes.

    Args:
        function: A function of arrays that could be given to ``jax.jit``.

    Returns:
        ``(*args, **kwargs) -> (error, result)``, to be compiled; ``throw`` raises the error.
    """

    def with_checks(*args: Any, **kwargs: Any) -> Any:
        with _checking(True):
            return function(*args, **kwargs)

    return checkify.checkify(with_checks, errors=checkify.user_checks)


def throw(error: checkify.Error) -> None:
    """Raise a ValueError if a check failed."""
    message = error.get()
    if message is not None:
        raise ValueError(message.removesuffix(" (`check` failed)"))


def require(good: Callable[..., Any], sentence: str, values: Any, *others: Any) -> None:
    """Raise a ValueError unless values are good, as far as they are known.

    Args:
        good: ``good(values, *others) -> bool``, element by element; of NumPy or traced arrays.
        sentence: What to say of the first bad one, with ``{place}`` and ``{value}``.
        values: A number or an array of any shape.
        *others: What they are compared with.

    Example:
        >>> require(lambda p: p <= 1, "p{place} = {value} is bad", np.array([0.2, 1.5]))
        Traceback (most recent call last):
        ValueError: p[1] = 1.5 is bad
    """
    given = (values, *others)
    traced = any(is_traced(value) for value in given)
    if traced and not _checking.value:
        return
    if not traced:
        if any(isinstance(x, jax.Array) and not x.is_fully_addressable for x in given):
            return  # distributed over hosts, none of which has all values
        given = tuple(np.asarray(value) for value in given)
    xp = jnp if traced else np
    fine = xp.asarray(good(*given))
    if not traced and fine.all():
        return
    first = xp.unravel_index(xp.argmin(fine), fine.shape) if fine.ndim else ()
    place = "[" + ", ".join(f"{{{axis}}}" for axis in range(fine.ndim)) + "]" if fine.ndim else ""
    message = sentence.replace("{place}", place)
    value = xp.asarray(values)[first]
    if traced:
        checkify.check(jnp.all(fine), message, *first, value=value)
    else:
        raise ValueError(message.format(*first, value=value))


def is_traced(value: Any) -> bool:
    """Return whether a value is not known yet, as in a function that is being compiled."""
    return isinstance(value, Tracer)


def check_array(name: str, value: Any, shape: str) -> None:
    """Raise a ValueError unless a value is an array, of NumPy or JAX.

    Example:
        >>> check_array("t", [3, 4], "batch")
        Traceback (most recent call last):
        ValueError: t must be an array [batch], got a list: use jnp.asarray
    """
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        hint = "" if value is None else ": use jnp.asarray"
        raise ValueError(f"{name} must be an array [{shape}], got {_kind(value)}{hint}")
    if isinstance(value, np.ndarray) and not value.dtype.isnative:
        raise ValueError(
            f"{name} is {value.dtype.str}, in another machine's order of bytes: use "
            f"{name}.astype({name}.dtype.newbyteorder('='))"
        )
    axes = _explicit_axes(value)
    if axes:
        raise ValueError(
            f"{name} is split over {', '.join(axes)}, of a mesh of Explicit axes: make the mesh "
            "with axis_types=(AxisType.Auto, ...), or call this within jax.sharding.auto_axes"
        )


def _explicit_axes(value: Any) -> list[str]:
    """Name the Explicit axes of a mesh over which an array's type says that it is split."""
    if not isinstance(value, jax.Array):
        return []
    sharding = jax.typeof(value).sharding
    entries = [(entry,) if isinstance(entry, str) else entry or () for entry in sharding.spec]
    kinds = dict(zip(sharding.mesh.axis_names, sharding.mesh.axis_types, strict=True))
    return [
        name
        for entry in entries
        for name in entry
        if kinds.get(name) == jax.sharding.AxisType.Explicit
    ]


def check_integers(name: str, value: Any, shape: str, holding: str = "token ids") -> None:
    """Raise a ValueError unless a value is an array of integers."""
    check_array(name, value, shape)
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise ValueError(f"{name} must hold integers, {holding}, got {value.dtype}")


def check_tokens(
    name: str, tokens: Array | np.ndarray, vocab_size: int | None = None, *, mask: bool = False
) -> None:
    """Raise a ValueError unless an array holds token ids, [batch length].

    Args:
        name: What it is called.
        tokens: The array.
        vocab_size: K; None checks the shape only.
        mask: Whether the mask, K, may be among them.
    """
    check_integers(name, tokens, "batch length")
    if tokens.ndim != 2:
        raise ValueError(
            f"{name} must have shape [batch length], got {tokens.shape}; an image's tokens are one "
            f"sequence, row by row: {name}.reshape(batch, -1)"
        )
    if 0 in tokens.shape:
        raise ValueError(f"{name} has no tokens: its shape [batch length] is {tokens.shape}")
    if vocab_size is not None:
        check_ids(name, tokens, vocab_size, mask=mask)


def check_ids(
    name: str, tokens: Array | np.ndarray, vocab_size: int, *, mask: bool = False
) -> None:
    """Raise a ValueError unless an array of any shape holds ids 0..K-1, or 0..K with the mask."""
    check_integers(name, tokens, "batch length")
    if jnp.iinfo(tokens.dtype).max < vocab_size:
        raise ValueError(
            f"{name} is {tokens.dtype}, which cannot hold the mask, {vocab_size}: use int32"
        )
    last = vocab_size if mask else vocab_size - 1
    which = f"0..{last}, of which {last} is the mask" if mask else f"0..{last}"
    require(
        lambda ids: (ids >= 0) & (ids <= last),
        f"{name}{{place}} = {{value}} is not a token id: those are {which}",
        tokens,
    )


def check_known(known: Array | np.ndarray, shape: tuple[int, int], vocab_size: int) -> None:
    """Raise a ValueError unless tokens to keep are ids 0..K of the shape of the samples."""
    check_array("known", known, "batch length")
    if known.shape != tuple(shape):
        raise ValueError(f"known must have the shape of the samples, {shape}, got {known.shape}")
    check_ids("known", known, vocab_size, mask=True)


def check_steps(t: Array, batch: int, num_steps: int, s: Array | None = None) -> None:
    """Raise a ValueError unless t, [batch], are steps 1..T, and s earlier steps from 0 on."""
    for name, steps in (("t", t),) if s is None else (("t", t), ("s", s)):
        check_integers(name, steps, "batch", "steps")
        if steps.shape != (batch,):
            raise ValueError(
                f"{name} must have shape [batch] = ({batch},), a step for each row, got "
                f"{steps.shape}"
            )
    sentence = f"t{{place}} = {{value}} is not a noised step: those are 1..T = 1..{num_steps}"
    require(lambda t: (t >= 1) & (t <= num_steps), sentence, t)
    if s is not None:
        sentence = "s{place} = {value} must be at least 0 and less than its t"
        require(lambda s, t: (s >= 0) & (s < t), sentence, s, t)


def check_drawn(tokens: Array | np.ndarray, vocab_size: int) -> None:
    """Raise a ValueError if the mask is among samples, which only a network of NaN can do."""
    require(
        lambda tokens: tokens < vocab_size,
        "sample{place} is {value}, the mask: the network's probabilities are NaN, as of "
        "weights of a run that has diverged",
        tokens,
    )


def check_negatives(name: str, negatives: Array | np.ndarray, z0: Array | np.ndarray) -> None:
    """Raise a ValueError unless an array has the shape of negatives of z0, [batch N length]."""
    check_array(name, negatives, "batch N length")
    batch, length = z0.shape
    if negatives.ndim != 3 or (negatives.shape[0], negatives.shape[2]) != (batch, length):
        raise ValueError(
            f"{name} must have shape (batch, N, length) = ({batch}, N, {length}), "
            f"got {negatives.shape}"
        )


def check_key(key: Any) -> None:
    """Raise a ValueError unless a value is one random key, typed or of raw uint32.

    Example:
        >>> check_key(jax.random.split(jax.random.key(0), 3))
        Traceback (most recent call last):
        ValueError: key must be one key, got a batch of keys of shape (3,): use key[0] or jax.vmap
    """
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        batch = key.shape
    elif dtype == jnp.uint32 and key.ndim:
        batch = key.shape[:-1]
    else:
        raise ValueError(f"key must be a random key, as of jax.random.key(0), got {_kind(key)}")
    if batch:
        raise ValueError(
            f"key must be one key, got a batch of keys of shape {batch}: use key[0] or jax.vmap"
        )
    impl = str(jax.config.jax_default_prng_impl)  # pyright: ignore[reportAttributeAccessIssue]
    if dtype == jnp.uint32 and key.shape[0] != _count_words(impl):
        raise ValueError(
            f"key must be a random key, got one of {key.shape[0]} words where {impl} has "
            f"{_count_words(impl)}: use jax.random.wrap_key_data(key, impl=...)"
        )


@functools.cache
def _count_words(impl: str) -> int:
    """Count the words of a raw key."""
    make = lambda: jax.random.key_data(jax.random.key(0, impl=impl))  # noqa: E731
    return jax.eval_shape(make).shape[-1]


def check_function(name: str, value: Any, call: str) -> None:
    """Raise a ValueError unless a value can be called with so many arguments.

    Args:
        name: Of the function.
        value: Anything.
        call: What it is called with, in parentheses.

    Example:
        >>> check_function("denoise_fn", lambda zt, t: zt, "(zt, t, cond)")
        Traceback (most recent call last):
        ValueError: denoise_fn must be a function, denoise_fn(zt, t, cond), got one of (zt, t)
    """
    if not callable(value):
        raise ValueError(f"{name} must be a function, {name}{call}, got {_kind(value)}")
    signature = _signature(value)
    if signature is None:
        return
    try:
        signature.bind(*call.split(","))
    except TypeError as error:
        own = ", ".join(signature.parameters)
        raise ValueError(f"{name} must be a function, {name}{call}, got one of ({own})") from error


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the parameters of a function or a wrapper; None if they are unknown."""
    inner = getattr(function, "__func__", getattr(function, "func", None))  # of a method, a partial
    wrapped = getattr(function, "__wrapped__", None)
    if inner is None and wrapped is not None and not inspect.isfunction(function):
        return _signature(wrapped)  # a compiled function has those of what it compiles
    if inner is not None and not inspect.isfunction(inner):
        return None
    with suppress(TypeError, ValueError):
        return inspect.signature(function, follow_wrapped=False)
    return None


def check_type(name: str, value: Any, kind: type, maker: str) -> None:
    """Raise a ValueError unless a value is an instance of a class of this package."""
    if not isinstance(value, kind):
        raise ValueError(
            f"{name} must be a {kind.__name__}, as {maker} makes it, got {_kind(value)}"
        )


def check_scalar(name: str, value: Any) -> None:
    """Raise a ValueError unless a value is a real number, a Python one or of an array's type."""
    dtype = getattr(
        value, "dtype", np.asarray(value).dtype if isinstance(value, float | int) else None
    )
    real = dtype is not None and (
        jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    )
    if not real or np.shape(value):
        raise ValueError(f"{name} must be a number, got {_kind(value)}")


def check_weight(name: str, value: Any) -> None:
    """Raise a ValueError unless a static option is a number from 0 to `LARGEST_WEIGHT`.

    Example:
        >>> check_weight("aux_weight", -1)
        Traceback (most recent call last):
        ValueError: aux_weight = -1 must be finite and >= 0, at most 1e+30
    """
    check_scalar(name, value)
    if is_traced(value):
        raise ValueError(
            f"{name} must be a number that is known before compiling, got a traced one"
        )
    if not 0.0 <= value <= LARGEST_WEIGHT:
        raise ValueError(f"{name} = {value} must be finite and >= 0, at most {LARGEST_WEIGHT:g}")


def check_pair(name: str, value: Any, meaning: str, *, least: int = 1) -> None:
    """Raise a ValueError unless a static option is two whole numbers.

    Example:
        >>> check_pair("grid", (4, 2.5), "(height, width)")
        Traceback (most recent call last):
        ValueError: grid = (4, 2.5) must be (height, width), two whole numbers of at least 1
    """
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) != 2 or not all(_is_whole(number) and number >= least for number in numbers):
        raise ValueError(
            f"{name} = {value} must be {meaning}, two whole numbers of at least {least}"
        )


def check_count(name: str, value: Any, *, least: int = 1) -> None:
    """Raise a ValueError unless a static option is a whole number from ``least`` on.

    Example:
        >>> check_count("top_k", 2.5)
        Traceback (most recent call last):
        ValueError: top_k must be a whole number, at least 1, got 2.5
    """
    if not _is_whole(value) or value < least:
        shown = value if isinstance(value, int | float | np.number) else _kind(value)
        raise ValueError(f"{name} must be a whole number, at least {least}, got {shown}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """Describe an unusable value in a few words."""
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return repr(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of {value.dtype} {value.shape}"
    name = type(value).__name__
    return f"a{'n' * (name[0].lower() in 'aeiou')} {name}"
