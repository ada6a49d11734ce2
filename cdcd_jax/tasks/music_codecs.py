"""Codecs of music: fitted spectra, and a trained level of Jukebox's."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from cdcd_jax.codecs.audio_codec import AudioCodec
from cdcd_jax.codecs.audio_file import load_jukebox, save_jukebox
from cdcd_jax.codecs.codebook import resume_codebook
from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.jukebox import Jukebox, make_jukebox
from cdcd_jax.codecs.jukebox_options import JukeboxOptions
from cdcd_jax.codecs.phases import SpectrumOptions
from cdcd_jax.codecs.spectra import SpectrumCodec, fit_spectrum_codec, load_spectra, save_spectra
from cdcd_jax.data.dance.audio import SAMPLE_RATE
from cdcd_jax.data.dance.audio_stream import load_crops, make_audio_iterator
from cdcd_jax.data.dance.recordings import Recordings
from cdcd_jax.distributed.shard_batch import fetch_whole
from cdcd_jax.interop.jukebox import jukebox_from_state_dict
from cdcd_jax.interop.published_music import read_vqvae
from cdcd_jax.registry import CODECS, register
from cdcd_jax.settings.keys import Keys, argument_keys, field_keys
from cdcd_jax.settings.sections import make_section
from cdcd_jax.spacing import evenly_spaced
from cdcd_jax.tasks.codec_family import (
    FIT,
    TRAIN,
    TRAIN_KEYS,
    CodecFamily,
    CodecTraining,
    check_made,
    check_same,
    take_options,
)
from cdcd_jax.tasks.reconstructions import SoundReconstructions
from cdcd_jax.training.audio_codec_objective import (
    init_audio_codec_training,
    make_audio_codec_objective,
    with_audio_codes,
)
from cdcd_jax.training.state import TrainState
from cdcd_jax.typing import Params


@dataclass(frozen=True, kw_only=True)
class Window:
    """The length of one sample.

    Attributes:
        seconds: What its tokens last, exactly.
        length: Its tokens.
        hop: Samples of sound per token.
    """

    seconds: float
    length: int
    hop: int

    @property
    def samples(self) -> int:
        """Its samples of sound."""
        return self.length * self.hop


def find_window(config: Any) -> Window:
    """Fit as many whole tokens as possible into ``data.seconds``.

    Raises:
        ValueError: If a value is wrong.
    """
    family: MusicCodec = CODECS.find(config.codec.name, "codec.name")
    hop = make_section(config, "codec", family.hop, config)
    return make_section(config, "data", _window, config.data.seconds, hop)


def _window(seconds: float, hop: int) -> Window:
    length = int(seconds * SAMPLE_RATE / hop)
    if length < 2:
        raise ValueError(f"seconds = {seconds} holds fewer than two tokens of {hop} samples")
    return Window(seconds=length * hop / SAMPLE_RATE, length=length, hop=hop)


class MusicCodec(CodecFamily):
    """A kind of codec whose tokens are a row, each of as many samples of sound."""

    data = "music"

    def hop(self, config: Any) -> int:
        """Return the samples of sound per token."""
        raise NotImplementedError

    def samples(self, config: Any) -> int:
        """Return the samples of a sound that it is made from."""
        raise NotImplementedError

    def shape(self, config: Any) -> tuple[int, tuple[int, int]]:
        """Return the number of codes, and the row of tokens."""
        return config.codec.num_codes, (1, find_window(config).length)

    def example_bytes(self, config: Any) -> int:
        """Count the bytes of a piece of float32 sound."""
        return find_window(config).samples * 4

    def reconstructions(self, config: Any, test: Recordings) -> SoundReconstructions:
        """Read parts of test recordings as long as what the codec is made from."""
        return SoundReconstructions(test, self.samples(config))


class Spectra(MusicCodec):
    """A codebook of spectra, found in one pass over the music."""

    sections = FIT
    keys: ClassVar = {
        "codec": field_keys(SpectrumOptions, "name", "folder", "batch_size"),
        "codec_fit": Keys.of("num_recordings", "seconds", "seed"),
    }

    def hop(self, config: Any) -> int:
        """Return the hop of the spectra."""
        return SpectrumOptions(**take_options(config.codec, SpectrumOptions)).hop

    def samples(self, config: Any) -> int:
        """Return as many whole windows as are nearest to ``codec_fit.seconds``."""
        window = find_window(config)
        return max(1, round(config.codec_fit.seconds / window.seconds)) * window.samples

    def load(self, config: Any, file: Path) -> SpectrumCodec:
        """Load the codebook."""
        section, length = config.codec, find_window(config).length
        check_made(file)
        codec = load_spectra(file, length=length, batch_size=section.batch_size)
        check_same(file, asdict(codec.options), take_options(section, SpectrumOptions))
        return codec

    def make(self, config: Any, data: Recordings) -> Callable[[], Codec]:
        """Return what fits the codebook to training recordings."""
        fit = config.codec_fit
        if fit.num_recordings < 1 or fit.seconds <= 0:
            raise ValueError(
                f"codec_fit.num_recordings = {fit.num_recordings} and codec_fit.seconds = "
                f"{fit.seconds} must be above 0"
            )
        samples, window = self.samples(config), find_window(config)
        chosen = evenly_spaced(len(data.names), fit.num_recordings)
        options = SpectrumOptions(**take_options(config.codec, SpectrumOptions))

        def run() -> Codec:
            audio = load_crops(data, chosen, samples)
            seconds = audio.size / SAMPLE_RATE
            print(f"Looking for {options.num_codes} codes in {seconds:.0f} s of music")
            return fit_spectrum_codec(
                audio,
                options,
                length=samples // window.hop,
                seed=fit.seed,
                batch_size=config.codec.batch_size,
            )

        return run

    def save(self, codec: SpectrumCodec, path: Path) -> None:
        """Write the codebook."""
        save_spectra(path, codec)


class JukeboxLevel(MusicCodec):
    """A level of Jukebox's codec (Dhariwal et al. 2020), trained or published."""

    sections = TRAIN
    keys: ClassVar = {
        "codec": field_keys(
            *(JukeboxOptions, "name", "folder", "weights", "level", "batch_size"),
            without="sample_rate",
        ),
        "codec_loss": argument_keys(make_audio_codec_objective, given=("jukebox", "level")),
        "codec_train": TRAIN_KEYS.and_needed("seconds", "quietest", "start_from"),
    }

    def hop(self, config: Any) -> int:
        """Return the hop of the level."""
        options = JukeboxOptions(**take_options(config.codec, JukeboxOptions))
        options.check_level(config.codec.level)
        return options.hops[config.codec.level]

    def samples(self, config: Any) -> int:
        """Return the samples of ``codec_train.seconds``, in whole tokens."""
        hop = make_section(config, "codec", self.hop, config)
        return make_section(config, "codec_train", _samples, config.codec_train.seconds, hop)

    def load(self, config: Any, file: Path) -> AudioCodec:
        """Load the published weights if the configuration names some, else our own."""
        section, length = config.codec, find_window(config).length
        jukebox = make_jukebox(**take_options(section, JukeboxOptions))
        if section.weights:
            params = _read_jukebox(section.weights, jukebox)
        else:
            check_made(file)
            params, theirs = load_jukebox(file)
            check_same(file, asdict(theirs), asdict(jukebox.options))
        options = {"level": section.level, "batch_size": section.batch_size}
        return AudioCodec(jukebox, params, length=length, **options)

    def make(self, config: Any, data: Any) -> CodecTraining:
        """Return the training of the level."""
        train, level = config.codec_train, config.codec.level
        options = take_options(config.codec, JukeboxOptions)
        jukebox = make_section(config, "codec", make_jukebox, **options)
        samples = self.samples(config)
        objective = make_section(
            config, "codec_loss", make_audio_codec_objective, jukebox, level=level,
            **config.codec_loss,
        )  # fmt: skip
        init_params, init_stats = init_audio_codec_training(jukebox, level)
        if train.start_from is not None:
            params = make_section(config, "codec_train", _read_start, train.start_from, jukebox)
            networks = dict(params[f"level_{level}"])
            codes = np.asarray(networks.pop("quantizer")["codebook"])
            init_params = lambda key: {f"level_{level}": networks}  # noqa: E731
            init_stats = lambda key: resume_codebook(codes)  # noqa: E731

        def codec(state: TrainState) -> AudioCodec:
            params = fetch_whole(with_audio_codes(state.params, state.stats, level))
            length, rows = samples // jukebox.options.hops[level], config.codec.batch_size
            return AudioCodec(jukebox, params, level=level, length=length, batch_size=rows)

        return CodecTraining(
            objective=objective,
            init_params=init_params,
            init_stats=init_stats,
            batch={"audio": jax.ShapeDtypeStruct((train.batch_size, samples), "float32")},
            make_batches=partial(
                make_audio_iterator, data, samples=samples, quietest=train.quietest
            ),
            codec=codec,
        )

    def save(self, codec: AudioCodec, path: Path) -> None:
        """Write the weights of the level."""
        save_jukebox(path, codec.params, codec.jukebox.options)

    def export(self, config: Any, file: Path, path: Path) -> None:
        """Write the published weights of the level, or copy the file."""
        section = config.codec
        if section.weights:
            jukebox = make_jukebox(**take_options(section, JukeboxOptions))
            level = f"level_{section.level}"
            params = {level: _read_jukebox(section.weights, jukebox)[level]}
            save_jukebox(path, params, jukebox.options)
        else:
            super().export(config, file, path)

    def training_size(self, config: Any) -> tuple[int, int, tuple[str, ...]]:
        """Count the convolutions."""
        codec, samples = config.codec, int(config.codec_train.seconds * SAMPLE_RATE)
        size = sum(codec.downs) * codec.depth * codec.width**2
        return samples * 4, size, ("codec.width", "codec.depth")


def _read_jukebox(weights: str, jukebox: Jukebox) -> Params:
    template = jax.eval_shape(jukebox.init, jax.random.key(0))
    return jukebox_from_state_dict(read_vqvae(weights), template)


def _read_start(start_from: str, jukebox: Jukebox) -> Params:
    """Read the published weights that are fine-tuned."""
    try:
        return _read_jukebox(start_from, jukebox)
    except (ValueError, OSError) as error:
        raise ValueError(f"start_from = {start_from} cannot be used: {error}") from error


def _samples(seconds: float, hop: int) -> int:
    """Count the samples of so many seconds, in whole tokens."""
    samples = int(seconds * SAMPLE_RATE / hop) * hop
    if samples < 4096:
        raise ValueError(f"seconds = {seconds} is too short for the spectra of the loss; take 1.0")
    return samples


register("codec", "spectra", Spectra())
register("codec", "jukebox", JukeboxLevel())
