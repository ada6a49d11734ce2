"""A trained model as a value that samples, scores, encodes and decodes."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from cdcd_jax.checks import check_steps, check_tokens
from cdcd_jax.codecs.codec import Codec, check_codes
from cdcd_jax.conditioning.conditioning import Conditioning, deal
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.editing import Original, begin_at
from cdcd_jax.training.exported import export_model
from cdcd_jax.training.generation import BoundFn, RewardFn, SampleFn, check_sampling
from cdcd_jax.training.model import Model
from cdcd_jax.training.sampling_options import check_count, check_seed, complete_options, with_grid
from cdcd_jax.typing import Params, PRNGKey


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Generator:
    """A trained model: a noise schedule, a network with its weights, a codec and a condition.

    Attributes:
        name: What it was loaded from, or is called.
        schedule: The noise schedule.
        model: Network and condition as pure functions.
        params: Averaged weights of both.
        codec: Between tokens and data.
        conditioning: What the model is conditioned on.
        sampling: Options of ``sample`` that are not given, and ``num_samples``.
        sample_fn: From ``training.generation.make_sample_fn``; ``bound_fn`` likewise.
        config: The configuration of its training, for metrics; nothing here reads it.
        folder: Where everything but the weights is kept on disk, for ``export``; None if nowhere.
    """

    name: str
    schedule: Schedule
    model: Model
    params: Params
    codec: Codec
    conditioning: Conditioning
    sampling: Mapping[str, Any]
    sample_fn: SampleFn
    bound_fn: BoundFn
    config: Any = None
    folder: Path | None = None

    def __repr__(self) -> str:
        rows, columns = self.codec.grid
        return (
            f"Generator({self.name!r}, {self.conditioning.describe()}, {rows} x {columns} tokens "
            f"of {self.schedule.vocab_size}, {self.schedule.num_steps} steps)"
        )

    def with_params(self, params: Params) -> "Generator":
        """Return the same model with other weights."""
        return dataclasses.replace(self, params=params)

    def sample(
        self,
        request: Any = None,
        *,
        negative: Any = None,
        reward: RewardFn | None = None,
        num_particles: int | None = None,
        num_samples: int | None = None,
        seed: int = 0,
        output: str = "data",
        **options: Any,
    ) -> Any:
        """Draw samples.

        The same model, request, options and seed give the same samples, bit for bit on a kind of
        device, however the rows are shared.

        Args:
            request: A class (its number or name) or several; a text or several; or a dance, a
                dict of ``"motion"`` [frames features] and, for models that are conditioned on
                them, ``"genre"`` (name or number) and ``"video"`` [steps features]. None for all
                classes, or all held-out texts, in turn.
            negative: What samples are guided away from, in place of no condition: one request or
                several, dealt out to the samples in turn; of a model of dances, windows. log p is
                (1 - guidance) times that of ``negative`` plus guidance times that of ``request``,
                so that a guidance of 0..1 is between the two.
            reward: What samples follow besides, log p(y | z0) up to a constant: a function
                ``[samples length K] -> [samples]`` of one-hot tokens, of JAX's operations. Without
                ``num_particles`` it is differentiated at the probabilities of tokens, and tilts the
                prediction of each position (`cdcd_jax.guide_by_reward`). One function compiles
                once. Of a model of dances it is of a window.
            num_particles: How many particles of each sample follow it instead
                (`cdcd_jax.sample_particles`), at as many times the cost: exact in the limit of
                many, whatever the reward. With the sampler "ancestral" alone.
            num_samples: Number of samples, dealt out to the requests in turn, at least as many as
                they are and at most 10,000; by default one for each request.
            seed: Seed of the samples, 0..2**32-1.
            output: ``"data"`` for what the codec decodes: images [samples height width 3] or
                [samples height width] with values 0..1, or sound [samples time] in -1..1;
                ``"pil"`` for a list of PIL images; ``"tokens"`` for tokens [samples length].
            **options: ``num_steps`` (1..T), ``truncation`` (0..1], ``top_k``, ``temperature``,
                ``guidance``, ``sampler``, ``corrector`` and ``times``, see ``cdcd_jax.sample``, and
                those of a sampler and corrector that are named; by default those of ``sampling``.

        Returns:
            The samples, as NumPy arrays.

        Raises:
            ValueError: If the model cannot be conditioned on the request, or a value is out of
                range.
        """
        self._check_call(output, seed, num_samples)
        follow = {"negative": negative, "reward": reward, "num_particles": num_particles}
        self.check(**follow, **options)
        return self._generate(
            functools.partial(self.draw, **follow, **options),
            request,
            output,
            num_samples=num_samples,
            seed=seed,
        )

    def edit(
        self,
        data: Any,
        mask: Any = None,
        request: Any = None,
        *,
        strength: Any = 1.0,
        negative: Any = None,
        reward: RewardFn | None = None,
        num_particles: int | None = None,
        num_samples: int | None = None,
        seed: int = 0,
        output: str = "data",
        **options: Any,
    ) -> Any:
        """Generate a part of given data anew, or variations of them.

        A token is generated where any pixel that it stands for is masked; the others are known
        from the first step on. Pixels that are not masked are those of the data, bit for bit.
        Samples of sound are likewise, along the whole of a dance.

        Args:
            data: An image [height width 3] or [height width] as the codec has it, floats 0..1 or
                bytes, a PIL image, or a batch of either. One of another size is resized, with a
                warning. Of a model of dances, a sound [samples] or a batch of them, which is
                continued where the dance is longer. Or an `Original`, which was read before.
            mask: What may change: booleans [height width], True where anew; a PIL image, in which
                any colour but black is, and what is transparent; a box (top, left, height, width)
                in pixels; None for all. Of sound, booleans [samples], or seconds (start, end)
                or several such spans.
            request: As for ``sample``.
            strength: Share of the T steps by which what may change is noised to begin with, in
                (0, 1]: the smaller, the more stays like it was. 1 begins with noise alone.
                Of the steps of sampling the same share is taken.
            negative: As for ``sample``.
            reward: As for ``sample``.
            num_particles: As for ``sample``.
            num_samples: Number of samples, dealt out to data and requests in turn, at least as many
                as there are of either, which is the default.
            seed: Seed of the samples.
            output: As for ``sample``.
            **options: As for ``sample``.

        Returns:
            The samples, as NumPy arrays.

        Raises:
            ValueError: If data or mask are of another kind, besides what ``sample`` refuses.
        """
        self._check_call(output, seed, num_samples)
        follow = {"negative": negative, "reward": reward, "num_particles": num_particles}
        self.check(**follow, **options)
        complete = complete_options(self.sampling, options)
        start_step, complete = begin_at(strength, complete, self.schedule.num_steps)
        original = data
        if not isinstance(data, Original):
            original = self.conditioning.read_original(self.codec, data, mask, request)
        if num_samples is not None and num_samples < len(original.data):
            raise ValueError(
                f"num_samples = {num_samples} must be at least {len(original.data)}, one for each "
                "of data"
            )
        return self._generate(
            functools.partial(self.draw, start_step=start_step, **follow, **complete),
            request,
            output,
            num_samples=num_samples,
            seed=seed,
            original=original,
            given=original.rows(self.schedule.mask_id, noised=start_step is not None),
        )

    def _check_call(self, output: str, seed: int, num_samples: int | None) -> None:
        if output not in ("data", "pil", "tokens"):
            raise ValueError(f"output = {output!r} must be 'data', 'pil' or 'tokens'")
        if output == "pil":
            self.conditioning.require_images('output = "pil"')
        check_seed(seed)
        check_count(num_samples)

    def _generate(
        self, draw: Any, request: Any, output: str, *, original: Any = None, **given: Any
    ) -> Any:
        tokens = self.conditioning.generate(
            draw,
            request,
            length=math.prod(self.codec.grid),
            mask_id=self.schedule.mask_id,
            **given,
        )
        if output == "tokens":
            return tokens
        pil = output == "pil"
        return self.conditioning.present(self.codec, tokens, as_pil=pil, original=original)

    def draw(
        self,
        key: PRNGKey,
        cond: Any,
        *,
        known: Any = None,
        start: Any = None,
        start_step: int | None = None,
        negative: Any = None,
        reward: RewardFn | None = None,
        num_particles: int | None = None,
        return_trajectory: bool = False,
        **options: Any,
    ) -> Any:
        """Draw the tokens of samples for conditions that are encoded, on all hosts together.

        Args:
            key: Random key.
            cond: A row for each sample, from ``encode_request``.
            known: Tokens [samples length] that stay as they are where they are not the mask.
            start: Tokens [samples length] to begin with, noised up to ``start_step``.
            start_step: That step, 1..T.
            negative: Requests to guide away from, dealt out to the samples in turn.
            reward: As for ``sample``.
            num_particles: As for ``sample``.
            return_trajectory: Whether to return the states on the way, too.
            **options: Of ``sample``.

        Returns:
            Tokens [samples length]; with the states on the way [num_steps+1 samples length].
        """
        if negative is not None:
            try:
                negative = self.conditioning.encode(negative)
            except ValueError as error:
                raise ValueError(f"negative: {str(error).removeprefix('request: ')}") from error
            negative = self.conditioning.embed(deal(negative, len(jax.tree.leaves(cond)[0])))
        return self.sample_fn(
            self.params,
            key,
            self.conditioning.embed(cond),
            known=known,
            start=start,
            start_step=start_step,
            negative=negative,
            reward=reward,
            num_particles=num_particles,
            return_trajectory=return_trajectory,
            **with_grid(complete_options(self.sampling, options), self.codec.grid),
        )

    def encode_request(self, request: Any) -> Any:
        """Turn a request into conditions, a row for each, which ``draw`` takes.

        Args:
            request: As for ``sample``; of a model of dances, a dict of windows [requests ...].
        """
        return self.conditioning.encode(request)

    def bits_per_token(
        self, data: Any, request: Any = None, *, seed: int = 0
    ) -> Float[np.ndarray, " batch"]:
        """Bound -log2 p(data | request) / length for each example.

        Args:
            data: What the codec encodes, such as images [batch height width 3].
            request: One class or text for each, or one for all; of a model of dances, a dict of
                arrays with a row for each.
            seed: Seed of the one noisy sequence per step that the bound is estimated with.

        Returns:
            Bits per token [batch]; their mean over examples and seeds is an upper bound on the
            negative log-likelihood.
        """
        check_seed(seed)
        tokens = self.encode(data)
        cond = self.conditioning.encode_each(request, len(tokens))
        nats = np.asarray(self.bound(jax.random.key(seed), tokens, cond))
        return nats / (tokens.shape[1] * np.log(2.0))

    def bound(self, key: PRNGKey, z0: Any, cond: Any) -> Any:
        """Bound -log p(z0 | cond) in nats, for conditions that are encoded, on all hosts together.

        Args:
            key: Random key.
            z0: Tokens [batch length].
            cond: A row for each, from ``encode_request``.

        Returns:
            Nats [batch], summed over positions.
        """
        return self.bound_fn(self.params, key, z0, self.conditioning.embed(cond))

    def encode(self, data: Any) -> Int[np.ndarray, "batch length"]:
        """Turn data into tokens by the codec.

        Args:
            data: Images [batch height width 3] or [batch height width], floats 0..1 or bytes
                0..255; or sound [batch samples], floats about -1..1. Whole numbers [batch length]
                are tokens already.

        Returns:
            Tokens, values 0..K-1.
        """
        array = np.asarray(data)
        rows, columns = self.codec.grid
        if array.dtype.kind in "iu" and array.shape[1:] == (rows * columns,):
            check_codes(array, self.codec.grid, self.codec.vocab_size)
            return array.astype(np.int32)
        return np.asarray(self.codec.encode(self.conditioning.prepare(np.asarray(data))))

    def decode(self, tokens: Any) -> np.ndarray:
        """Turn tokens into data by the codec.

        Args:
            tokens: [batch length], values 0..K-1.

        Returns:
            Images with values 0..1, or sound.
        """
        array = np.asarray(tokens)
        check_codes(array, self.codec.grid, self.codec.vocab_size)
        return np.asarray(self.codec.decode(array))

    def denoise_fn(self, zt: Any, t: Any, cond: Any) -> jax.Array:
        """Predict log p(z0 | zt, cond), or logits, for the functional core.

        Args:
            zt: Noisy tokens [batch length], values 0..K; K is the mask.
            t: Diffusion steps [batch], values 1..T.
            cond: From ``features``.

        Returns:
            [batch length K]; ``cdcd_jax.sample``, ``evaluate_bound`` and the loss normalise it.
        """
        zt, t = jnp.asarray(zt), jnp.asarray(t)
        check_tokens("zt", zt, self.schedule.vocab_size, mask=True)
        check_steps(t, zt.shape[0], self.schedule.num_steps)
        return self.model.denoise(self.params, zt, t, cond)

    def features(self, cond: Any) -> Any:
        """Turn conditions from ``encode_request`` into what ``denoise_fn`` attends to."""
        return self.model.encode(self.params, self.conditioning.embed(cond))

    def export(self, path: str | Path) -> Path:
        """Write a folder that ``cdcd_jax.load`` reads on any machine, without the run.

        Args:
            path: A folder that is not there yet.

        Returns:
            The path.
        """
        return export_model(self.name, self.folder, self.params, path)

    def check(
        self,
        *,
        num_samples: int = 1,
        negative: Any = None,
        reward: RewardFn | None = None,
        num_particles: int | None = None,
        **options: Any,
    ) -> None:
        """Raise a ValueError if samples cannot be drawn with these options."""
        options = with_grid(complete_options(self.sampling, options), self.codec.grid)
        options |= {"num_samples": num_samples, "negative": negative}
        options |= {"reward": reward, "num_particles": num_particles}
        check_sampling(self.schedule, self.model, **options)
