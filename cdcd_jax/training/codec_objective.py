"""The objective of an image codec: VQGAN's losses (Esser et al. 2021, section 3.1)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cdcd_jax.codecs.codebook import Codebook, init_codebook, update_codebook
from cdcd_jax.codecs.discriminator import Discriminator
from cdcd_jax.codecs.vqgan import VQGAN
from cdcd_jax.training.step import Batch, Metrics, Objective
from cdcd_jax.typing import Params, PRNGKey

DistanceFn = Callable[[Array, Array], Float[Array, " batch"]]


def make_codec_objective(
    vqgan: VQGAN,
    discriminator: Discriminator,
    distance_fn: DistanceFn,
    *,
    perceptual_weight: float = 1.0,
    discriminator_weight: float = 0.8,
    discriminator_start: int = 0,
    commitment_weight: float = 0.25,
    codebook_decay: float = 0.99,
    restart_below: float = 0.05,
) -> Objective:
    """Join the losses of generator and critic to what ``make_train_step`` takes.

    With r the reconstruction of x, codes z = nearest(e) for features e, and D the critic:

        generator  |x - r| + w_p distance(x, r) + w_c |e - stop(z)|^2 - w_d lambda mean D(r)
        lambda     |d reconstruction / d W| / (|d adversarial / d W| + 1e-4), at most 1e4, W the
                   kernel of the last convolution (Esser et al. 2021, Eq. 7)
        critic     (mean relu(1 - D(x)) + mean relu(1 + D(r))) / 2

    Both are minimised in one step: each one's gradient reaches its own parameters only. The
    codebook is moved by running means instead of a gradient (``codecs/codebook.py``) and travels in
    the state's ``stats``.

    Args:
        vqgan: The codec, with the ``"vq"`` quantiser.
        discriminator: The critic.
        distance_fn: Perceptual distance of images -1..1, for each pair.
        perceptual_weight: w_p >= 0.
        discriminator_weight: w_d >= 0; 0 trains without a critic.
        discriminator_start: Number of updates before the critic takes part.
        commitment_weight: w_c >= 0.
        codebook_decay: See ``update_codebook``.
        restart_below: See ``update_codebook``.

    Returns:
        The objective on batches with ``"images"``, uint8 [batch height width 3]. The loss leaves
        out the adversarial terms, whose size means nothing, so that the best checkpoint is that of
        the best reconstruction; their gradients are in. Metrics: ``l1`` and ``perceptual``
        (images in -1..1), ``psnr`` (dB, peak to peak), ``commitment``, ``adversarial``,
        ``critic``, ``lambda`` (of the rows that are worked through together), ``usage``,
        ``perplexity``, ``restarts``.

    Raises:
        ValueError: If the quantiser cannot be trained or a value is out of range.
    """
    if vqgan.options.quantizer != "vq":
        raise ValueError(
            f'quantizer = "{vqgan.options.quantizer}" can be loaded but not trained; '
            'train with quantizer = "vq"'
        )
    check_weights(
        perceptual_weight=perceptual_weight,
        discriminator_weight=discriminator_weight,
        discriminator_start=discriminator_start,
        commitment_weight=commitment_weight,
    )

    def fidelity(images: Array, reconstruction: Array) -> tuple[Array, Metrics]:
        l1 = jnp.mean(jnp.abs(images - reconstruction))
        perceptual = jnp.mean(distance_fn(images, reconstruction))
        return l1 + perceptual_weight * perceptual, {"l1": l1, "perceptual": perceptual}

    def against_critic(
        params: Params, hidden: Array, reconstruction: Array, slope: Array
    ) -> tuple[Array, Metrics]:
        """Return what the critic adds to the gradient at the reconstruction."""
        adversarial, adversarial_slope = jax.value_and_grad(
            lambda r: -jnp.mean(discriminator.apply(params["discriminator"], r))
        )(reconstruction)
        _, pull_back = jax.vjp(lambda p: vqgan.project(p, hidden), params["generator"])
        (of_fidelity,), (of_critic,) = pull_back(slope), pull_back(adversarial_slope)
        # The kernel alone, without its bias, as published.
        slopes = (of["decoder"]["last"]["kernel"] for of in (of_fidelity, of_critic))
        fidelity_norm, critic_norm = map(jnp.linalg.norm, map(jnp.ravel, slopes))
        balance = fidelity_norm / (critic_norm + 1e-4)
        balance = jnp.minimum(balance, 1e4)
        metrics = {"adversarial": adversarial, "lambda": balance}
        return discriminator_weight * balance * adversarial_slope, metrics

    def criticise(params: Params, images: Array, reconstruction: Array) -> Array:
        real, made = jnp.split(
            discriminator.apply(params, jnp.concatenate([images, reconstruction])), 2
        )
        return (jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + made))) / 2

    def loss(
        params: Params, batch: Batch, stats: Any
    ) -> tuple[jax.Array, tuple[Metrics, tuple[Array, Array]]]:
        images = batch["images"].astype(jnp.float32) / 127.5 - 1
        generator, codebook = params["generator"], stats
        features = vqgan.encode(generator, images).astype(jnp.float32)
        complete = with_codes(generator, codebook)
        indices = vqgan.indices(complete, jax.lax.stop_gradient(features))
        codes = vqgan.lookup(complete, indices)
        commitment = jnp.mean((features - jax.lax.stop_gradient(codes)) ** 2)
        hidden = vqgan.decode_hidden(generator, straight_through(features, codes))
        reconstruction = vqgan.project(generator, hidden).astype(jnp.float32)

        detached = jax.lax.stop_gradient(reconstruction)
        (value, fidelity_metrics), slope = jax.value_and_grad(
            lambda r: fidelity(images, r), has_aux=True
        )(detached)
        fixed = jax.lax.stop_gradient((params, hidden))
        # Before its start the critic is weighed by zero: XLA runs convolutions inside a conditional
        # several times slower on CPU than it runs them for nothing.
        part = jnp.float32(codebook.num_updates >= discriminator_start)
        critic, critic_metrics = jnp.zeros(()), {}
        if discriminator_weight:
            push, critic_metrics = against_critic(*fixed, detached, slope)
            slope += part * push
            critic = part * criticise(params["discriminator"], images, detached)
            critic_metrics |= {"critic": critic}
        # The gradient at the reconstruction is known already; one pass takes it to the parameters.
        carrier = jnp.sum(jax.lax.stop_gradient(slope) * reconstruction)
        total = value + commitment_weight * commitment
        total = total + _gradient_only(carrier) + _gradient_only(critic)

        error = jnp.mean((images - jnp.clip(detached, -1, 1)) ** 2, axis=(1, 2, 3))
        psnr = jnp.mean(10 * jnp.log10(4 / jnp.maximum(error, 1e-10)))
        metrics = {"psnr": psnr, "commitment": commitment}
        metrics = fidelity_metrics | metrics | critic_metrics
        return total, jax.lax.stop_gradient((metrics, (features, indices)))

    return Objective(loss, update=codebook_update(codebook_decay, restart_below))


def check_weights(**weights: int | float) -> None:
    """Raise a ValueError for a weight of a loss that is below 0."""
    for name, value in weights.items():
        if value < 0:
            raise ValueError(f"{name} = {value} must be at least 0")


def codebook_update(
    codebook_decay: float, restart_below: float
) -> Callable[[PRNGKey, Codebook, Any], tuple[Codebook, Metrics]]:
    """Return an objective's ``update``: ``update_codebook`` on (features, indices), by row."""
    for name, value in {"codebook_decay": codebook_decay, "restart_below": restart_below}.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} = {value} must be in [0, 1)")

    def update(
        key: PRNGKey, codebook: Codebook, aux: tuple[Array, Array]
    ) -> tuple[Codebook, Metrics]:
        features, indices = aux
        return update_codebook(
            key,
            codebook,
            features.reshape(-1, features.shape[-1]),
            indices.reshape(-1),
            decay=codebook_decay,
            restart_below=restart_below,
        )

    return update


def init_codec_training(
    vqgan: VQGAN, discriminator: Discriminator
) -> tuple[Callable[[PRNGKey], Params], Callable[[PRNGKey], Codebook]]:
    """Return the two functions that make the parameters and the codebook before the first step.

    The codebook is not a parameter: it is taken out of the generator's, see ``with_codes``.
    """

    def init_params(key: PRNGKey) -> Params:
        generator_key, critic_key = jax.random.split(key)
        generator = vqgan.init(generator_key)
        del generator["quantizer"]
        return {"generator": generator, "discriminator": discriminator.init(critic_key)}

    def init_stats(key: PRNGKey) -> Codebook:
        return init_codebook(vqgan.init(key)["quantizer"]["codebook"])

    return init_params, init_stats


def with_codes(generator: Params, codebook: Codebook) -> Params:
    """Insert the codebook into the codec's parameters."""
    return generator | {"quantizer": {"codebook": codebook.codes}}


def straight_through(features: Array, codes: Array) -> Array:
    """Return the codes, with a gradient that goes to the features as it is."""
    return features + jax.lax.stop_gradient(codes - features)


def _gradient_only(value: Array) -> Array:
    """Return zero with the gradient of the value."""
    return value - jax.lax.stop_gradient(value)
