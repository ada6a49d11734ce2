"""The objective of a training step: the diffusion loss on a batch with its negatives."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from cdcd_jax.conditioning.condition import drop_condition
from cdcd_jax.diffusion.contrastive import TIME_WEIGHTS, Contrast
from cdcd_jax.diffusion.loss import Loss, evaluate_terms, make_loss
from cdcd_jax.diffusion.negatives import shuffle_chunks, shuffle_patches
from cdcd_jax.diffusion.noise import draw_noise
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.diffusion.timesteps import update_timestep_stats
from cdcd_jax.registry import CONTRASTS
from cdcd_jax.training.model import Model
from cdcd_jax.training.step import Batch, Metrics, Objective
from cdcd_jax.typing import Params, PRNGKey

INTRA = "intra_negatives"
"""The name of intra negatives in a batch."""

NEGATIVES = {"intra": ("intra",), "inter": ("inter",), "both": ("intra", "inter")}
"""The kinds of negatives of each choice, in the order of their contrastive terms."""


def make_objective(
    schedule: Schedule,
    model: Model,
    *,
    grid: tuple[int, int],
    mechanism: str = "none",
    negatives: str = "inter",
    num_negatives: int = 10,
    patches: tuple[int, int] = (2, 2),
    num_chunks: int = 8,
    contrast_weight: float = 5e-5,
    contrast_time_weight: str = "increasing",
    contrast_steps: int | None = None,
    chains: str = "shared",
    chains_per_pass: int | None = None,
    aux_weight: float = 5e-4,
    aux_time_weight: str = "decreasing",
    mask_weight: tuple[float, float] = (1.0, 1.0),
    positions_per_pass: int | None = None,
    stratified_timesteps: bool = False,
) -> Objective:
    """Join a loss and a model to what ``make_train_step`` takes (CDCD Algorithm 1).

    Intra negatives are shuffled here, on the device, anew at each step: patches of an image, chunks
    of a sequence; a batch may bring those that were shuffled before they were encoded. Inter
    negatives come with the batch.

    Args:
        schedule: The noise schedule.
        model: The network and its condition.
        grid: Rows and columns of the tokens; (1, length) for a sequence.
        mechanism: ``"step"``, ``"sample"``, the name of a registered contrastive term, or
            ``"none"`` for the vanilla loss.
        negatives: ``"intra"``, ``"inter"`` or ``"both"``, which gives two terms of equal weight.
        num_negatives: N >= 1 of each kind.
        patches: Patches down and across that intra negatives of an image are cut in.
        num_chunks: Chunks that intra negatives of a sequence are cut in.
        contrast_weight: lambda_c >= 0.
        contrast_time_weight: w_c(t): ``"increasing"``, ``"decreasing"`` or ``"constant"``.
        contrast_steps: Apply the term at a random subset of so many of the T steps; None for all.
        chains: For ``"step"``: ``"shared"`` or ``"parallel"``.
        chains_per_pass: How many parallel chains the network takes at once; None for all.
        aux_weight: lambda_aux >= 0.
        aux_time_weight: w_aux(t), with the same choices.
        mask_weight: Weights of masked and of unmasked positions in the divergences.
        positions_per_pass: At how many positions of a sequence the model's head and the loss are
            evaluated at once; None for all.
        stratified_timesteps: Spread the steps t of a batch evenly over their distribution.

    Returns:
        The objective, in nats per token; its ``stats`` are those of the timesteps, or None. The
        metrics ``vb``, ``aux`` and ``contrast`` are means of term / p_t, so that ``vb`` estimates
        the bound without its prior term, and are not weighted by lambda. ``equal_negatives`` is the
        share of negatives that equal their positive, as shuffled tokens that are all the same do.

    Raises:
        ValueError: If a value is out of range; shapes that do not fit are found on tracing.
    """
    kinds = _kinds(mechanism, negatives, num_negatives)
    contrasts = ()
    if kinds:
        _check_contrast(contrast_time_weight, contrast_steps, schedule)
        term = Contrast(
            mechanism,
            weight=contrast_weight,
            chains=chains,
            time_weight=contrast_time_weight,
            num_steps=contrast_steps,
        )
        contrasts = (term,) * len(kinds)
    loss_fn = make_loss(
        schedule,
        aux_weight=aux_weight,
        aux_time_weight=aux_time_weight,
        mask_weight=mask_weight,
        contrast=contrasts,
        chains_per_pass=chains_per_pass,
        positions_per_pass=positions_per_pass,
        stratified_timesteps=stratified_timesteps,
    )
    if positions_per_pass is not None and (model.hidden is None or model.head is None):
        raise ValueError(
            f"positions_per_pass = {positions_per_pass} needs a model with hidden and head; "
            "leave it out"
        )
    if grid[0] == 1:
        shuffle = partial(shuffle_chunks, num_chunks=num_chunks)
    else:
        shuffle = partial(shuffle_patches, grid=grid, patches=patches)
    shuffle = partial(shuffle, num_negatives=num_negatives)
    names = tuple(INTRA if kind == "intra" else "negatives" for kind in kinds)
    parts = DiffusionObjective(loss_fn, model, names, shuffle)
    return Objective(parts.loss, parts.draw, parts.update)


@dataclasses.dataclass(frozen=True, eq=False)
class DiffusionObjective:
    """The three functions of an ``Objective`` for the loss of a diffusion model.

    Attributes:
        loss_fn: The loss.
        model: The network and its condition.
        negatives: Names of the arrays of negatives in a batch, one for each contrastive term.
        shuffle: ``shuffle(key, z0) -> [batch N length]`` makes intra negatives.
    """

    loss_fn: Loss
    model: Model
    negatives: tuple[str, ...]
    shuffle: Callable[[PRNGKey, jax.Array], jax.Array]

    def draw(self, key: PRNGKey, batch: Batch, stats: Any) -> Batch:
        """Add all that is random to a batch, for all of its rows at once."""
        shuffle_key, noise_key = jax.random.split(key)
        z0, drawn = batch["tokens"], dict(batch)
        if INTRA in self.negatives and INTRA not in batch:
            drawn[INTRA] = self.shuffle(shuffle_key, z0)
        drawn["noise"] = draw_noise(
            noise_key,
            self.loss_fn.schedule,
            self.loss_fn.contrasts,
            z0,
            [drawn[name].astype(z0.dtype) for name in self.negatives],
            stats,
            stratified=self.loss_fn.stratified_timesteps,
        )
        if self.model.dropout:
            dropout_key = jax.random.fold_in(key, 2)
            drawn["dropped"] = jax.random.bernoulli(dropout_key, self.model.dropout, (z0.shape[0],))
        return drawn

    def loss(
        self, params: Params, batch: Batch, stats: Any
    ) -> tuple[jax.Array, tuple[Metrics, tuple[jax.Array, jax.Array]]]:
        """Evaluate the loss on any rows of what ``draw`` returned."""
        z0, model = batch["tokens"], self.model
        # Once for all chains, positive and negative.
        features = model.encode(params, batch["cond"])
        if model.null is not None and "dropped" in batch:
            features = drop_condition(batch["dropped"], features, model.null(params, z0.shape[0]))
        denoise, head = model.denoise, None
        if self.loss_fn.positions_per_pass is not None and model.hidden and model.head:
            denoise, head = model.hidden, partial(model.head, params)
        terms = evaluate_terms(
            self.loss_fn,
            batch["noise"],
            partial(denoise, params),
            z0,
            features,
            [batch[name].astype(z0.dtype) for name in self.negatives],
            head,
        )
        means = {"vb": terms.vb, "aux": terms.aux}
        if self.negatives:
            means["contrast"] = terms.contrast
        metrics = {name: jnp.mean(term / terms.p_t) / z0.shape[1] for name, term in means.items()}
        if self.negatives:
            metrics["equal_negatives"] = jnp.mean(terms.equal_negatives)
        return terms.loss, (metrics, (terms.t, terms.vb))

    def update(
        self, key: PRNGKey, stats: Any, rows: tuple[jax.Array, jax.Array]
    ) -> tuple[Any, Metrics]:
        """Record the bound's terms by timestep."""
        return (None if stats is None else update_timestep_stats(stats, *rows)), {}


def count_batch_negatives(mechanism: str, negatives: str, num_negatives: int) -> int:
    """Count the negatives per example that must come with the batch.

    >>> count_batch_negatives("step", "intra", 10), count_batch_negatives("sample", "inter", 10)
    (0, 10)
    """
    return num_negatives if "inter" in _kinds(mechanism, negatives, num_negatives) else 0


def needs_intra(mechanism: str, negatives: str) -> bool:
    """Return whether a loss has intra negatives.

    >>> needs_intra("step", "both"), needs_intra("none", "intra")
    (True, False)
    """
    return "intra" in _kinds(mechanism, negatives, 1)


def _check_contrast(time_weight: str, steps: int | None, schedule: Schedule) -> None:
    if time_weight not in TIME_WEIGHTS:
        known = '", "'.join(TIME_WEIGHTS)
        raise ValueError(f'contrast_time_weight = "{time_weight}" must be one of "{known}"')
    if steps is not None and steps > schedule.num_steps:
        raise ValueError(
            f"contrast_steps = {steps} must be at most {schedule.num_steps}, the steps of the "
            "schedule"
        )


def _kinds(mechanism: str, negatives: str, num_negatives: int) -> tuple[str, ...]:
    if mechanism not in ("none", *CONTRASTS):
        known = '", "'.join(("none", *CONTRASTS))
        raise ValueError(f'mechanism = "{mechanism}" must be one of "{known}"')
    if negatives not in NEGATIVES:
        raise ValueError(f'negatives = "{negatives}" must be one of "intra", "inter", "both"')
    if num_negatives < 1:
        raise ValueError(
            f'num_negatives = {num_negatives} must be at least 1; for none, mechanism = "none"'
        )
    return () if mechanism == "none" else NEGATIVES[negatives]
