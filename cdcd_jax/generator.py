"""A trained model as a value that samples, scores, encodes and decodes."""

import dataclasses
import functools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from textwrap import shorten
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from cdcd_jax.checks import check_steps, check_tokens
from cdcd_jax.codecs.codec import Codec, check_codes
from cdcd_jax.codecs.codec_file import flatten, write_arrays
from cdcd_jax.conditioning.conditioning import Conditioning, Texts
from cdcd_jax.dance_to_music import generate_music, read_request
from cdcd_jax.diffusion.samplers.sample import option_names
from cdcd_jax.diffusion.schedule import Schedule
from cdcd_jax.distributed.shard_batch import fetch_whole
from cdcd_jax.io import atomic_folder, check_local, is_first_host
from cdcd_jax.training.generation import BoundFn, SampleFn, check_sampling
from cdcd_jax.training.model import Model
from cdcd_jax.typing import Params, PRNGKey

WEIGHTS, WEIGHTS_FORMAT = "weights.safetensors", "cdcd_jax weights 1"
"""The file of an exported model's weights, and what it says it is."""

MAX_SEED = 2**32 - 1
"""Of a random key, which has no more bits where JAX_ENABLE_X64 is not set."""

MAX_SAMPLES = 10_000
"""Of one call, which are in memory together."""

FILES = ("model.json", "*.safetensors", "vocabulary-*.json", "merges.txt.gz")
"""What a model's folder holds, by patterns; anything else there is not exported."""

SAMPLING = (
    "num_steps",
    "truncation",
    "top_k",
    "temperature",
    "guidance",
    "sampler",
    "corrector",
    "times",
)
"""Options of sampling, beside those of a sampler and a corrector that are named."""


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
    sample_fn: SampleFn
    bound_fn: BoundFn
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
            request: A class (its number or name) or several; a text or several; or a dance, a
                dict of ``"motion"`` [frames features] and, for models that are conditioned on
                them, ``"genre"`` (name or number) and ``"video"`` [steps features]. None for all
                classes, or all held-out texts, in turn.
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
        if output not in ("data", "pil", "tokens"):
            raise ValueError(f"output = {output!r} must be 'data', 'pil' or 'tokens'")
        check_seed(seed)
        if num_samples is not None:
            _check_whole("num_samples", num_samples, 1, MAX_SAMPLES)
        if self.conditioning.dance is not None:
            count = 1 if num_samples is None else num_samples
            return self._sample_music(request, count, seed, output, options)
        cond = self.encode_request(request)
        if request is not None and self.conditioning.texts is not None:
            _check_lengths(self.conditioning.texts, request)
        count = len(cond) if num_samples is None else num_samples
        if request is not None and count < len(cond):
            raise ValueError(
                f"num_samples = {count} must be at least {len(cond)}, one for each request"
            )
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
            ValueError: If one is not a class of the model, or a text is empty.
        """
        conditioning = self.conditioning
        if conditioning.texts is None:
            return self._labels(request)
        texts = [request] if isinstance(request, str) else request
        texts = conditioning.test_texts if texts is None else texts
        if not isinstance(texts, Sequence | np.ndarray) or not len(texts):
            raise ValueError("request: this is a model of texts; give one or several")
        texts = [str(text) if isinstance(text, np.str_) else text for text in texts]
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                shown = shorten(repr(text), 60)
                raise ValueError(f"request: {shown} is not a text to be drawn; give one or several")
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
        check_seed(seed)
        tokens = self.encode(data)
        cond = request
        if self.conditioning.dance is None:
            if request is None:
                raise ValueError("request: none is given; give one for each example, or for all")
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
        """Turn data into tokens by the codec.

        Args:
            data: Images [batch height width 3] or [batch height width], floats 0..1 or bytes
                0..255; or sound [batch samples], floats about -1..1.

        Returns:
            Tokens, values 0..K-1.

        Raises:
            ValueError: If it is of another shape, holds what is not finite, or images hold
                values outside of their range.
        """
        array = np.asarray(data)
        if array.dtype.kind not in "fiub" or array.ndim < 2 or not array.size:
            raise ValueError(
                f"data must be a batch of images or sounds, got {array.dtype} of shape "
                f"{array.shape}; a single one needs a first axis, data[None]"
            )
        images = self.conditioning.dance is None
        scale = 255.0 if images and array.dtype == np.uint8 else 1.0
        array = array.astype(np.float32) / np.float32(scale)
        low, high = float(array.min()), float(array.max())
        if not np.isfinite([low, high]).all():
            raise ValueError("data holds a value that is not finite")
        if images and not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"data holds values {low:g}..{high:g}; images have 0..1, or bytes")
        if images and array.ndim == 4:  # codecs of RGB images take bytes
            array = np.round(255.0 * array).astype(np.uint8)
        return np.asarray(self.codec.encode(array))

    def decode(self, tokens: Any) -> np.ndarray:
        """Turn tokens into data by the codec.

        Args:
            tokens: [batch length], values 0..K-1.

        Returns:
            Images with values 0..1, or sound.

        Raises:
            ValueError: If they are of another shape, or one is not a token.
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

        Raises:
            ValueError: If it already exists, or the model has no files of its own.
            OSError: If it cannot be written.
        """
        check_local(path)
        path = Path(path)
        if path.is_symlink() or path.exists():
            raise ValueError(f"{path} already exists; name another folder")
        if self.folder is None:
            raise ValueError(f"{self.name} is in memory only; load it from its run to export it")
        if self.folder.resolve() in path.resolve().parents:
            raise ValueError(f"{path} is in the folder of the model itself; name another folder")
        weights = flatten(fetch_whole(self.params))
        if is_first_host():
            with _writing_new(path), atomic_folder(path) as part:
                for file in {file for pattern in FILES for file in self.folder.glob(pattern)}:
                    shutil.copyfile(file, part / file.name)
                write_arrays(part / WEIGHTS, weights, {"format": WEIGHTS_FORMAT})
        return path

    def check(self, *, num_samples: int, label: int | None = None, **options: Any) -> None:
        """Raise a ValueError if samples cannot be drawn so."""
        names = self._option_names(options)
        if unknown := sorted({*options} - {*names}):
            known = ", ".join(names)
            raise ValueError(f"{unknown[0]} is not an option of sampling; there are {known}")
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
        names = self._option_names(options)
        defaults = {name: self.sampling[name] for name in names if name in self.sampling}
        found = {**defaults, **options}
        for name in ("truncation", "temperature", "guidance"):
            value = found.get(name, 1.0)
            if isinstance(value, bool | str) or not isinstance(value, Real):
                raise ValueError(f"{name} = {value!r} must be a number")
            found[name] = float(value)
        for name in ("num_steps", "top_k"):
            value = found.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
                raise ValueError(f"{name} = {value!r} must be a whole number")
            if value is not None:
                found[name] = int(value)
        return found

    def _option_names(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        sampler = options.get("sampler", self.sampling.get("sampler", "ancestral"))
        corrector = options.get("corrector", self.sampling.get("corrector"))
        return (*SAMPLING, *option_names(sampler, corrector))

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
        if isinstance(request, jax.Array):
            request = np.asarray(request)
        if isinstance(request, np.ndarray):
            request = request.tolist()
        several = isinstance(request, Sequence) and not isinstance(request, str | bytes)
        if several and not len(request):
            raise ValueError(
                "request: an empty list is not a class; give a number, a name or several"
            )
        labels = []
        for wanted in request if several else [request]:
            if isinstance(wanted, str) and wanted in names:
                labels.append(names.index(wanted))
                continue
            if isinstance(wanted, str | bool) or not isinstance(wanted, int | np.integer):
                shown = shorten(repr(wanted), 60)
                raise ValueError(f"request: {shown} is not a class; give its number or its name")
            if not 0 <= wanted < count:
                raise ValueError(f"request: label = {wanted} must be in 0..{count - 1}")
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


def check_seed(seed: int) -> None:
    """Raise a ValueError unless a seed has a random key of its own."""
    _check_whole("seed", seed, 0, MAX_SEED)


def _check_lengths(texts: Texts, request: Any) -> None:
    """Raise a ValueError for a text that would be cut, as held-out captions are."""
    given = [request] if isinstance(request, str) else list(request)
    counts = texts.count(given)
    longest = int(np.argmax(counts))
    if counts[longest] > texts.length:
        raise ValueError(
            f"request: the text {shorten(given[longest], 60)!r} has {counts[longest]} tokens, and "
            f"the model reads {texts.length}; shorten it"
        )


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not low <= int(value) <= high:
        raise ValueError(f"{name} = {value!r} must be a whole number, {low}..{high}")


@contextmanager
def _writing_new(path: Path) -> Iterator[None]:
    """Name the path that cannot be written, not the hidden one that it is written under."""
    try:
        yield
    except OSError as error:
        if path.exists():
            raise ValueError(f"{path} already exists; name another folder") from error
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error
