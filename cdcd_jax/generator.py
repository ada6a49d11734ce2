"""A trained model as a value: it samples, scores, encodes and decodes."""

import dataclasses
import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.codec_file import flatten, write_arrays
from cdcd_jax.conditioning.conditioning import Conditioning
from cdcd_jax.dance_to_music import generate_music, read_request
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.files import is_first_host, whole_folder
from cdcd_jax.training.generation import check_sampling
from cdcd_jax.training.model import Model
from cdcd_jax.training.spread import fetch_whole
from cdcd_jax.typing import Params, PRNGKey

WEIGHTS = "weights.safetensors"
"""The file of an exported model's weights."""

SAMPLING = ("num_steps", "truncation", "top_k", "temperature", "guidance")
"""Options of sampling."""


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
        sampling: Options of ``sample`` that are not given: ``num_samples``, ``num_steps``,
            ``truncation``, ``top_k``, ``temperature`` and ``guidance``.
        sample_fn: From ``training.generation.make_sample_fn``.
        bound_fn: From ``training.generation.make_bound_fn``.
        folder: Where everything but the weights is kept on disk, for ``export``; None if nowhere.

    Example:
        >>> generator = cdcd.load("runs/digits_vanilla")  # doctest: +SKIP
        >>> images = generator.sample([3, 5], num_samples=4, seed=0)  # doctest: +SKIP
    """

    name: str
    schedule: Schedule
    model: Model
    params: Params
    codec: Codec
    conditioning: Conditioning
    sampling: Mapping[str, Any]
    sample_fn: Callable[..., Any]
    bound_fn: Callable[..., Any]
    folder: Path | None = None

    def __repr__(self) -> str:
        rows, columns = self.codec.grid
        return (
            f"Generator({self.name!r}, {self._kind}, {rows} x {columns} tokens of "
            f"{self.schedule.vocab_size}, {self.schedule.num_steps} steps)"
        )

    def with_params(self, params: Params) -> "Generator":
        """Return the same model with other weights."""
        return dataclasses.replace(self, params=params)

    def sample(
        self,
        request: Any = None,
        *,
        num_samples: int | None = None,
        seed: int = 0,
        output: str = "data",
        **options: Any,
    ) -> Any:
        """Draw samples.

        The same model, request, options and seed give the same samples, bit for bit on the same
        kind of device, however the rows are shared over devices.

        Args:
            request: A class (its number or name) or several; a text or several; or one dance, a
                dict of ``"motion"`` [frames features] and, for models that are conditioned on
                them, ``"genre"`` (name or number) and ``"video"`` [steps features]. None for all
                classes, or all held-out texts, in turn.
            num_samples: Number of samples, dealt out to the requests in turn; by default one for
                each request.
            seed: Seed of the samples, 0..2**63-1.
            output: ``"data"`` for what the codec decodes: images [samples height width 3] or
                [samples height width] with values 0..1, or sound [samples time] in -1..1;
                ``"pil"`` for a list of PIL images; ``"tokens"`` for tokens [samples length].
            **options: ``num_steps`` (1..T), ``truncation`` (0..1], ``top_k``, ``temperature`` and
                ``guidance``, see ``cdcd_jax.sample``; by default those of ``sampling``.

        Returns:
            The samples, as NumPy arrays.

        Raises:
            ValueError: If the model cannot be conditioned on the request, or a value is out of
                range.
        """
        if output not in ("data", "pil", "tokens"):
            raise ValueError(f'output = "{output}" must be "data", "pil" or "tokens"')
        if self.conditioning.dance is not None:
            return self._sample_music(request, num_samples or 1, seed, output, options)
        cond = self.encode_request(request)
        count = len(cond) if num_samples is None else num_samples
        self.check(num_samples=count, **options)
        rows = np.resize(np.arange(len(cond)), count)
        tokens = np.asarray(self.draw(jax.random.key(seed), cond[rows], **options))
        return tokens if output == "tokens" else self._present(self.decode(tokens), output)

    def draw(self, key: PRNGKey, cond: Any, **options: Any) -> Any:
        """Draw the tokens of samples for conditions that are encoded, on all hosts together.

        Args:
            key: Random key.
            cond: A row for each sample, from ``encode_request``.
            **options: Of ``sample``; also ``known`` and ``return_trajectory``, see
                ``training.generation.make_sample_fn``.

        Returns:
            Tokens [samples length].
        """
        cond = self.conditioning.embed(cond)
        return self.sample_fn(self.params, key, cond, **self._with_defaults(options))

    def encode_request(self, request: Any) -> Any:
        """Turn classes or texts into conditions, a row for each.

        Args:
            request: As for ``sample``.

        Returns:
            Labels [requests], or tokens of texts [requests length]; what ``draw`` takes.

        Raises:
            ValueError: If one is no class of the model, or a text is empty.
        """
        conditioning = self.conditioning
        if conditioning.texts is None:
            return self._labels(request)
        texts = [request] if isinstance(request, str) else request
        texts = list(conditioning.test_texts if texts is None else texts)
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"request: {text!r} is no text to be drawn; give one or several")
        if not texts:
            raise ValueError("request: this is a model of texts; give one or several")
        return conditioning.texts.tokenize(texts)

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

        Raises:
            ValueError: If there is not one request for each example, or for all.
        """
        tokens = np.asarray(self.encode(data))
        cond = request
        if self.conditioning.dance is None:
            cond = self.encode_request(request)
            if len(cond) not in (1, len(tokens)):
                raise ValueError(
                    f"request: {len(cond)} are given for {len(tokens)} examples; give one for each"
                )
            cond = cond[np.resize(np.arange(len(cond)), len(tokens))]
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
        """Turn data into tokens by the codec."""
        return np.asarray(self.codec.encode(data))

    def decode(self, tokens: Any) -> np.ndarray:
        """Turn tokens [batch length] into data by the codec."""
        return np.asarray(self.codec.decode(tokens))

    def denoise_fn(self, zt: Any, t: Any, cond: Any) -> jax.Array:
        """Predict log p(z0 | zt, cond), or logits, for the functional core.

        Args:
            zt: Noisy tokens [batch length], values 0..K; K is the mask.
            t: Diffusion steps [batch], values 1..T.
            cond: From ``features``.

        Returns:
            [batch length K]; ``cdcd_jax.sample``, ``evaluate_bound`` and the loss normalise it.
        """
        return self.model.denoise(self.params, jnp.asarray(zt), jnp.asarray(t), cond)

    def features(self, cond: Any) -> Any:
        """Turn conditions from ``encode_request`` into what ``denoise_fn`` attends to."""
        return self.model.encode(self.params, self.conditioning.embed(cond))

    def export(self, path: str | Path) -> Path:
        """Write a folder that ``cdcd_jax.load`` reads on any machine, without the run.

        Args:
            path: A folder that is not there yet.

        Returns:
            The path.

        Raises:
            ValueError: If it is there already, or the model has no files of its own.
            OSError: If it cannot be written.
        """
        path = Path(path)
        if path.exists():
            raise ValueError(f"{path} is there already; name another folder")
        if self.folder is None:
            raise ValueError(f"{self.name} is in memory only; load it from its run to export it")
        weights = flatten(fetch_whole(self.params))
        if is_first_host():
            with whole_folder(path) as part:
                shutil.copytree(self.folder, part, dirs_exist_ok=True)
                write_arrays(part / WEIGHTS, weights, {"format": "cdcd_jax weights 1"})
        return path

    def check(self, *, num_samples: int, label: int | None = None, **options: Any) -> None:
        """Raise a ValueError if samples cannot be drawn so."""
        if unknown := sorted({*options} - {*SAMPLING}):
            known = ", ".join(SAMPLING)
            raise ValueError(f"{unknown[0]} is no option of sampling; there are {known}")
        check_sampling(
            self.schedule,
            self.model,
            self.conditioning.num_classes,
            num_samples=num_samples,
            label=label,
            **self._with_defaults(options),
        )

    def _with_defaults(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Add what is not given; a whole number serves as a float."""
        defaults = {name: self.sampling[name] for name in SAMPLING if name in self.sampling}
        found = {**defaults, **options}
        for name in ("truncation", "temperature", "guidance"):
            if isinstance(found.get(name), int):
                found[name] = float(found[name])
        return found

    @property
    def _kind(self) -> str:
        conditioning = self.conditioning
        if conditioning.dance is not None:
            return "music for dances"
        return "of texts" if conditioning.texts else f"of {conditioning.num_classes} classes"

    def _labels(self, request: Any) -> Int[np.ndarray, " requests"]:
        names, count = self.conditioning.class_names, self.conditioning.num_classes
        if request is None:
            return np.arange(count, dtype=np.int32)
        several = isinstance(request, Sequence | np.ndarray) and not isinstance(request, str)
        labels = []
        for wanted in request if several else [request]:
            if isinstance(wanted, str) and wanted in names:
                labels.append(names.index(wanted))
                continue
            if isinstance(wanted, str | bool) or not isinstance(wanted, int | np.integer):
                raise ValueError(f"request: {wanted!r} is no class; give its number or its name")
            if not 0 <= wanted < count:
                raise ValueError(f"request: label = {wanted} must lie in 0..{count - 1}")
            labels.append(int(wanted))
        return np.array(labels, np.int32)

    def _sample_music(
        self, request: Any, num_samples: int, seed: int, output: str, options: dict[str, Any]
    ) -> np.ndarray:
        dance = self.conditioning.dance
        assert dance is not None
        self.check(num_samples=num_samples, **options)
        if output == "pil":
            raise ValueError('output = "pil" is for images, and these samples are sound')
        draw = functools.partial(self.draw, **options)
        tokens = generate_music(
            draw,
            read_request(dance, request),
            dance,
            length=self.codec.grid[1],
            mask_id=self.schedule.mask_id,
            seed=seed,
            num_samples=num_samples,
        )
        if output == "tokens":
            return tokens
        decode: Any = getattr(self.codec, "decode_long")  # noqa: B009  # codecs of sound have it
        return np.stack([decode(row) for row in tokens])

    def _present(self, images: np.ndarray, output: str) -> Any:
        if output == "data":
            return images
        from PIL import Image

        levels = np.round(255 * np.clip(images, 0.0, 1.0)).astype(np.uint8)
        return [Image.fromarray(image) for image in levels]
