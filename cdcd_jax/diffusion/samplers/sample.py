"""Sampling: from noise to clean tokens, by any rule, in any number of reverse steps."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from cdcd_jax.checks import (
    check_count,
    check_drawn,
    check_function,
    check_key,
    check_known,
    check_pair,
    check_steps,
    check_tokens,
    check_type,
)
from cdcd_jax.diffusion.denoiser import check_network, log_probs
from cdcd_jax.diffusion.eager import call_compiled
from cdcd_jax.diffusion.ramps import Varying, check_varying, value_at, values_of
from cdcd_jax.diffusion.samplers.ancestral import Ancestral, Fast
from cdcd_jax.diffusion.samplers.correctors import Corrector, Gibbs, Renoise, SelfCorrection
from cdcd_jax.diffusion.samplers.events import Entropy, FirstHitting
from cdcd_jax.diffusion.samplers.filters import (
    apply_temperature,
    check_temperature,
    check_truncation,
    keep_top_k,
    truncate,
)
from cdcd_jax.diffusion.samplers.orders import Confidence, Halton, Margin, Purity
from cdcd_jax.diffusion.samplers.remask import Remask
from cdcd_jax.diffusion.samplers.rule import Prediction, Rule, State
from cdcd_jax.diffusion.samplers.times import Times
from cdcd_jax.diffusion.schedule import Schedule, check_schedule
from cdcd_jax.diffusion.sharding import vary_like_result
from cdcd_jax.diffusion.transitions import corrupt, sample_prior
from cdcd_jax.registry import CORRECTORS, SAMPLERS, Table, register, suggest
from cdcd_jax.typing import DenoiseFn, HeadFn, PRNGKey, Timesteps, Tokens

Step: TypeAlias = Int[Array, ""] | np.integer | int
"""One step for all rows."""

for _name, _rule in {
    "ancestral": Ancestral,
    "fast": Fast,
    "first_hitting": FirstHitting,
    "confidence": Confidence,
    "margin": Margin,
    "entropy": Entropy,
    "halton": Halton,
    "purity": Purity,
    "remask": Remask,
}.items():
    register("sampler", _name, _rule)
for _name, _corrector in {
    "renoise": Renoise,
    "gibbs": Gibbs,
    "self_correction": SelfCorrection,
}.items():
    register("corrector", _name, _corrector)


class Sampler(NamedTuple):
    """A sampler as two pure functions and the steps to visit.

    Attributes:
        init: ``(key, batch, length, known=None, start=None) -> State``, from the prior: all masks
            with noise that absorbs, see `cdcd_jax.diffusion.transitions.sample_prior`; or from
            clean tokens, noised up to the last step of the schedule.
        step: ``(key, state, s, t, cond) -> State``, one reverse step; s and t scalars.
        times: The steps visited, T = times[0] > ... > times[-1] = 0.
        can_stop: Whether a state without masks does not change any more.
        ends_early: Whether that is to be expected before the last step.
    """

    init: Callable[..., State]
    step: Callable[..., State]
    times: np.ndarray
    can_stop: bool
    ends_early: bool = False

    def __repr__(self) -> str:
        return f"Sampler(num_steps={len(self.times) - 1}, times={self.times[0]}..{self.times[-1]})"


def make_sampler(
    schedule: Schedule,
    denoise_fn: DenoiseFn,
    *,
    sampler: str | Rule = "ancestral",
    corrector: str | Corrector | None = None,
    num_steps: int | None = None,
    times: Times = "uniform",
    truncation: Varying = 1.0,
    top_k: int | None = None,
    temperature: Varying = 1.0,
    length: int | None = None,
    head_fn: HeadFn | None = None,
) -> Sampler:
    """Build a sampler; `sample` runs one from start to end.

    Args:
        schedule: The noise schedule the network was trained with.
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``, or logits.
        sampler: An entry of the table ``SAMPLERS`` by its name, or a `Rule` with its options.
        corrector: What repairs the state after each step: an entry of ``CORRECTORS`` by its name,
            a `cdcd_jax.diffusion.samplers.correctors.Corrector`, or None.
        num_steps: Reverse steps, 1..T; T when None. Steps that skip use the exact posterior
            p(zs | zt), not one step's.
        times: How they are spread over 1..T: ``"uniform"``, ``"cosine"``, ``"polynomial"``, or the
            steps themselves; see `cdcd_jax.diffusion.samplers.times.make_times`.
        truncation: Mass of the network's prediction to keep at each step, in (0, 1], which others
            call top-p; CDCD uses 0.86. It may be traced, so that trying several values under
            ``jax.jit`` compiles once, and change on the way, as a `cdcd_jax.Ramp` of t/T.
        top_k: Number of most likely tokens to keep; None keeps all.
        temperature: Of the network's prediction, applied first; above 0. As for ``truncation``.
        length: Positions of a sequence, for rules whose steps depend on it.
        head_fn: See `sample`.

    Returns:
        The sampler.

    Raises:
        ValueError: A value is out of its range.
    """
    parts = prepare_parts(
        schedule,
        sampler=sampler,
        corrector=corrector,
        num_steps=num_steps,
        times=times,
        truncation=truncation,
        top_k=top_k,
        temperature=temperature,
        length=length,
    )
    check_function("denoise_fn", denoise_fn, "(zt, t, cond)")
    denoise_fn, head_fn = check_network(denoise_fn, head_fn)
    made = build_sampler(schedule, denoise_fn, parts, head_fn=head_fn)

    def init(
        key: PRNGKey,
        batch: int,
        length: int,
        known: Tokens | None = None,
        start: Tokens | None = None,
    ) -> State:
        check_key(key)
        check_pair("shape", (batch, length), "(batch, length)")
        if known is not None:
            check_known(known, (batch, length), schedule.vocab_size)
        return made.init(key, batch, length, known, start)

    def step(key: PRNGKey, state: State, s: Step, t: Step, cond: Any) -> State:
        check_key(key)
        check_type("state", state, State, "sampler.init")
        check_tokens("state.zt", state.zt, schedule.vocab_size, mask=True)
        rows = state.zt.shape[0]
        check_steps(jnp.full(rows, t), rows, int(made.times[0]), jnp.full(rows, s))
        return made.step(key, state, s, t, cond)

    return made._replace(init=init, step=step)


class Parts(NamedTuple):
    """The parts of a sampler, which were checked; it may be an argument of a compiled function.

    Attributes:
        rule: The rule for a step, complete.
        corrector: What repairs a state after each step, or None.
        truncation: Mass of the prediction to keep.
        temperature: Of the prediction.
    """

    rule: Any
    corrector: Any
    truncation: Any
    temperature: Any


def prepare_parts(
    schedule: Schedule,
    *,
    sampler: str | Rule = "ancestral",
    corrector: str | Corrector | None = None,
    num_steps: int | None = None,
    times: Times = "uniform",
    truncation: Varying = 1.0,
    top_k: int | None = None,
    temperature: Varying = 1.0,
    length: int | None = None,
    **options: Any,
) -> tuple[Parts, "Static"]:
    """Check the options of a sampler and complete its parts; see `make_sampler`.

    ``options`` are those of a sampler and a corrector that are named.

    Returns:
        What may be traced, and what is known before compiling.

    Raises:
        ValueError: A value is out of its range, or does not fit the schedule.
    """
    check_schedule(schedule)
    rule, repair = find_parts(sampler, corrector, options)
    if num_steps is not None:
        check_count("num_steps", num_steps)
    if top_k is not None:
        check_count("top_k", top_k)
    for name, check, number in (
        ("truncation", check_truncation, truncation),
        ("temperature", check_temperature, temperature),
    ):
        check_varying(name, number)
        for value in values_of(number):
            check(value)
    name = type(rule).__name__
    rule, visited = rule.prepare(schedule, num_steps, times, length)
    if repair is not None:
        repair.check(schedule)
        if rule.own_steps:
            raise ValueError(
                f"corrector: {name} gives the network steps of its own, which no "
                "corrector knows; take another sampler, or leave the corrector out"
            )
    parts = Parts(rule, repair, truncation, temperature)
    return parts, Static(tuple(visited.tolist()), top_k)


class Static(NamedTuple):
    """What of a sampler is known before compiling.

    Attributes:
        times: The steps visited.
        top_k: Number of most likely tokens to keep, or None.
    """

    times: tuple[int, ...]
    top_k: int | None


def build_sampler(
    schedule: Schedule,
    denoise_fn: DenoiseFn,
    prepared: tuple[Parts, Static],
    *,
    total: int | None = None,
    head_fn: HeadFn | None = None,
) -> Sampler:
    """Build a sampler of parts that were checked; nothing is checked here.

    Args:
        schedule: The noise schedule.
        denoise_fn: The network.
        prepared: From `prepare_parts`.
        total: T by which numbers change on the way, where that of the schedule is cut.
        head_fn: The network's head, where ``denoise_fn`` is the rest of it.
    """
    (rule, repair, truncation, temperature), (times, top_k) = prepared
    total = schedule.num_steps if total is None else total

    def init(
        key: PRNGKey,
        batch: int,
        length: int,
        known: Tokens | None = None,
        start: Tokens | None = None,
    ) -> State:
        if start is None:
            zt = sample_prior(key, schedule, (batch, length))
        else:
            zt = corrupt(key, schedule, start, jnp.full(batch, schedule.num_steps))
        state = _keep_known(State(zt, None if known is None else jnp.asarray(known)), schedule)
        return state._replace(memory=rule.start(_fork(key), schedule, state.zt))

    def step(key: PRNGKey, state: State, s: Step, t: Step, cond: Any) -> State:
        state = state._replace(zt=jnp.asarray(state.zt))
        u = t / total
        s, t = (jnp.full(state.zt.shape[:1], step) for step in (s, t))

        def predict(
            zt: Tokens, t: Timesteps, positions: Int[Array, "batch n"] | None = None
        ) -> Prediction:
            output, name = denoise_fn(zt, t, cond), "denoise_fn"
            if positions is not None:
                if output.shape[:2] != zt.shape:
                    raise ValueError(f"denoise_fn returns {output.shape} for tokens {zt.shape}")
                output = jnp.take_along_axis(output, positions[..., None], axis=1)
            if head_fn is not None:
                output, name = head_fn(output), "head_fn"
            # Noise in float32 whatever the network computes in: a bfloat16 draw is far too peaked.
            drawn = zt if positions is None else positions
            network = log_probs(output, drawn, schedule.vocab_size, name=name)
            log_p0 = apply_temperature(network, value_at(temperature, u))
            if top_k is not None:
                log_p0 = keep_top_k(log_p0, top_k)
            return Prediction(network, truncate(log_p0, value_at(truncation, u)))

        state = _keep_known(rule.step(key, schedule, predict, state, s, t), schedule)
        if repair is None:
            return state

        def correct(state: State, key: PRNGKey) -> tuple[State, None]:
            return _keep_known(repair.correct(key, schedule, predict, state, s, t), schedule), None

        keys = jax.random.split(_fork(key), repair.num_passes)
        state = vary_like_result(lambda state: correct(state, keys[0])[0], state)
        return jax.lax.scan(correct, state, keys)[0]

    can_stop = repair is None and rule.keeps_visible(schedule)
    return Sampler(init, step, np.array(times, np.int32), can_stop, rule.own_steps)


def find_parts(
    sampler: str | Rule,
    corrector: str | Corrector | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Rule, Corrector | None]:
    """Return a rule and a corrector, made where they are given by their names.

    Args:
        sampler: An entry of the table ``SAMPLERS`` by its name, or a rule.
        corrector: An entry of the table ``CORRECTORS`` by its name, a corrector, or None.
        options: Options of those that are named, by their names; those left out are as they are
            by default.

    Raises:
        ValueError: There is no such name or option, or a value is no rule or corrector.

    Example:
        >>> find_parts("fast", options={"skip": 3})
        (Fast(skip=3), None)
        >>> find_parts("fast", options={"skips": 3})
        Traceback (most recent call last):
        ValueError: skips is not an option of sampler = "fast": did you mean skip?
    """
    given, names = options or {}, option_names(sampler, corrector)
    for name in given:
        if name not in names:
            which = f'sampler = "{sampler}"' if isinstance(sampler, str) else "a sampler's object"
            which += f' and corrector = "{corrector}"' if isinstance(corrector, str) else ""
            hint = f": {suggest(name, names)}" if names else ", which has none"
            raise ValueError(f"{name} is not an option of {which}{hint}")

    def make(table: Table, key: str, part: Any) -> Any:
        if not isinstance(part, str):
            return part
        own = option_names(part, None) if key == "sampler" else option_names(None, part)
        return table.find(part, key)(**{name: given[name] for name in own if name in given})

    rule, repair = make(SAMPLERS, "sampler", sampler), make(CORRECTORS, "corrector", corrector)
    for key, part, kind, table in (
        ("sampler", rule, Rule, SAMPLERS),
        ("corrector", repair, Corrector | None, CORRECTORS),
    ):
        if not isinstance(part, kind):
            raise ValueError(
                f"{key} must be a name ({', '.join(table)}) or an object with its options, got "
                f"{part!r}"
            )
    return rule, repair


def option_names(sampler: str | Rule | None, corrector: Any = None) -> tuple[str, ...]:
    """List the options of a rule and a corrector that are named; objects have theirs already."""
    found = [SAMPLERS.find(sampler, "sampler")] if isinstance(sampler, str) else []
    found += [CORRECTORS.find(corrector, "corrector")] if isinstance(corrector, str) else []
    return tuple(dict.fromkeys(field.name for part in found for field in dataclasses.fields(part)))


def _fork(key: PRNGKey) -> PRNGKey:
    """Return a key for draws beside those of the key itself, which is none that a split gives."""
    return jax.random.fold_in(jax.random.clone(key), 2**31)


def _keep_known(state: State, schedule: Schedule) -> State:
    if state.known is None:
        return state
    known = state.known.astype(state.zt.dtype)
    return state._replace(zt=jnp.where(known == schedule.mask_id, state.zt, known))


def sample(
    key: PRNGKey,
    schedule: Schedule,
    denoise_fn: DenoiseFn,
    cond: Any,
    *,
    shape: tuple[int, int],
    sampler: str | Rule = "ancestral",
    corrector: str | Corrector | None = None,
    num_steps: int | None = None,
    times: Times = "uniform",
    truncation: Varying = 1.0,
    top_k: int | None = None,
    temperature: Varying = 1.0,
    known: Tokens | None = None,
    start: Tokens | None = None,
    start_step: int | None = None,
    head_fn: HeadFn | None = None,
    return_trajectory: bool = False,
) -> Tokens | tuple[Tokens, Int[Array, "times batch length"]]:
    """Generate tokens.

    Called by itself it compiles once for a network and its options; parameters that are bound as in
    ``functools.partial(apply, params)`` are arguments of that program. Pure: put it under `jax.jit`
    together with the parameters, e.g.
    ``jax.jit(lambda params, key, cond: sample(key, schedule, partial(apply, params), cond, ...))``.

    Where a rule leaves visible tokens as they are and nothing is masked any more, the network is
    not called again, which changes no result.

    Args:
        key: Random key.
        schedule: The noise schedule the network was trained with.
        denoise_fn: ``(zt, t, cond) -> log p(z0 | zt, cond)``, or logits.
        cond: Passed on to denoise_fn.
        shape: Batch and length of the tokens to make.
        sampler: An entry of the table ``SAMPLERS`` by its name, or a rule with its options, such as
            ``cdcd_jax.samplers.Confidence(choice_temperature=2.0)``.
        corrector: The same of the table ``CORRECTORS``; None for none.
        num_steps: Reverse steps, 1..T; T when None. See `make_sampler` for this and the following.
        times: How they are spread over 1..T.
        truncation: Mass of the network's prediction to keep, in (0, 1]; may be traced, or a
            `cdcd_jax.Ramp` of t/T.
        top_k: Number of most likely tokens to keep.
        temperature: Of the network's prediction; the same.
        known: Tokens to keep, of that shape, values 0..K: they stand from the first step to the
            last, and the others are generated around them; the mask where there is none.
        start: Clean tokens of that shape to vary: they are noised up to ``start_step``, and
            sampling continues from there (SDEdit, Meng et al. 2022, with this noise).
        start_step: Step 1..T at which it begins; the smaller, the more stays as it is.
            ``num_steps`` and ``times`` are then of the steps up to it.
        head_fn: ``head_fn(hidden) -> log p(z0 | zt, cond)`` or logits at any choice of positions,
            where ``denoise_fn`` returns hidden features [batch length width], as for `make_loss`.
            It is then called only where a rule draws, if the rule knows before: `FirstHitting`
            calls it at one position of each row. What is sampled stays the same.
        return_trajectory: Return every state as well, for images of the progress.

    Returns:
        Tokens 0..K-1; with ``return_trajectory`` also the num_steps + 1 states, the first drawn
        from the prior but for what is known, the last the tokens themselves.

    Note:
        Known tokens are not noised. This is exact for an absorbing schedule, where a visible token
        is the clean one at any step and the network's prediction does not depend on how many are
        visible beside t, and as good for the published one, which is absorbing but for 1e-6. Where
        the noise replaces tokens it is an approximation: the network then takes a known token for
        one that may have been replaced, and leans on it too little, the more so the larger t is.

    Raises:
        ValueError: A value is out of its range, ``known`` has another shape or holds other numbers
            than token ids and the mask, or the network's output is not [batch length K] or NaN.

    Example:
        >>> from cdcd_jax.diffusion.schedule import absorbing_schedule
        >>> schedule = absorbing_schedule(num_steps=8, vocab_size=4)
        >>> certain = lambda zt, t, cond: jnp.log(jax.nn.one_hot(cond, 4) + 1e-9)
        >>> sample(jax.random.key(0), schedule, certain, jnp.array([[3, 1]]), shape=(1, 2)).tolist()
        [[3, 1]]
    """
    check_key(key)
    check_pair("shape", shape, "(batch, length)")
    check_schedule(schedule)
    if known is not None:
        check_known(known, shape, schedule.vocab_size)
        known = jnp.asarray(known)
    total = schedule.num_steps
    schedule, start = cut_at_start(schedule, start, start_step, shape)
    check_function("denoise_fn", denoise_fn, "(zt, t, cond)")
    parts, fixed = prepare_parts(
        schedule,
        sampler=sampler,
        corrector=corrector,
        num_steps=num_steps,
        times=times,
        truncation=truncation,
        top_k=top_k,
        temperature=temperature,
        length=shape[1],
    )
    static = schedule, (shape[0], shape[1]), fixed, total, return_trajectory
    arrays = cond, parts, known, start
    drawn = call_compiled(_check_and_run, _probe, static, key, denoise_fn, head_fn, *arrays)
    check_drawn(drawn[0] if return_trajectory else drawn, schedule.vocab_size)
    return drawn


def cut_at_start(
    schedule: Schedule,
    start: Tokens | np.ndarray | None,
    start_step: int | None,
    shape: tuple[int, int],
) -> tuple[Schedule, Tokens | None]:
    """Cut a schedule at the step that sampling begins with, and check what it begins from.

    Raises:
        ValueError: One of the two is missing, the tokens are not clean or of another shape, or
            there is no such step.
    """
    if (start is None) != (start_step is None):
        raise ValueError("start and start_step go together: give both, or none")
    if start is None or start_step is None:
        return schedule, None
    check_tokens("start", start, schedule.vocab_size)
    if tuple(start.shape) != tuple(shape):
        raise ValueError(f"start must have the shape {tuple(shape)}, got {tuple(start.shape)}")
    return schedule.until(start_step), jnp.asarray(start, jnp.int32)


def _check_and_run(
    static: Any, key: PRNGKey, denoise_fn: DenoiseFn, head_fn: HeadFn | None, *arrays: Any
) -> Any:
    schedule, shape, fixed, total, return_trajectory = static
    cond, parts, known, start = arrays
    denoise_fn, head_fn = check_network(denoise_fn, head_fn)
    return run_sampler(
        key,
        build_sampler(schedule, denoise_fn, (parts, fixed), total=total, head_fn=head_fn),
        cond,
        shape=shape,
        mask_id=schedule.mask_id,
        known=known,
        start=start,
        return_trajectory=return_trajectory,
    )


def run_sampler(
    key: PRNGKey,
    sampler: Sampler,
    cond: Any,
    *,
    shape: tuple[int, int],
    mask_id: int,
    known: Tokens | None = None,
    start: Tokens | None = None,
    return_trajectory: bool = False,
) -> Tokens | tuple[Tokens, Int[Array, "times batch length"]]:
    """Run a sampler from its first step to its last in one `jax.lax.scan`; see `sample`."""
    # Several devices have to agree at each step, and a compiler takes nothing out of a branch that
    # all steps share: not worth it where as many tokens as they hold are complete at the end alone.
    # Devices of a shard_map would leave a network that they share at different steps.
    mesh = jax.sharding.get_abstract_mesh()
    alone = mesh.empty or mesh.size == 1
    expected = alone or sampler.ends_early or known is not None
    can_stop = sampler.can_stop and expected and not mesh.manual_axes

    def step(state: State, now: tuple[PRNGKey, Array, Array]) -> tuple[State, Any]:
        key, t, s = now

        def advance(state: State) -> State:
            return sampler.step(key, state, s, t, cond)

        if can_stop:
            unfinished = jnp.any(state.zt == mask_id)
            state = jax.lax.cond(unfinished, advance, lambda state: state, state)
        else:
            state = advance(state)
        return state, state.zt if return_trajectory else None

    times = jnp.asarray(sampler.times)
    keys = jax.random.split(key, len(times))
    visits = keys[:-1], times[:-1], times[1:]
    first = sampler.init(keys[-1], *shape, known, start)
    first = vary_like_result(lambda x: step(x, jax.tree.map(lambda x: x[0], visits))[0], first)
    end, states = jax.lax.scan(step, first, visits)
    if return_trajectory:
        return end.zt, jnp.concatenate([first.zt[None], states])
    return end.zt


def _probe(
    static: Any, key: PRNGKey, denoise_fn: DenoiseFn, head_fn: HeadFn | None, cond: Any, *_: Any
) -> None:
    schedule, shape = static[:2]
    output = denoise_fn(jnp.full(shape, schedule.mask_id), jnp.ones(shape[0], int), cond)
    if head_fn is not None:
        head_fn(output)
