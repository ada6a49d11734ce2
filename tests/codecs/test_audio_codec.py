"""Sound to tokens and back: windows, streaming without seams, files, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.codecs.audio_codec import AudioCodec
from cdcd_jax.codecs.audio_file import load_jukebox, save_jukebox
from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.codec_file import PATCHES, read_arrays, write_arrays
from cdcd_jax.codecs.jukebox import make_jukebox

SMALL = {"downs": (1, 1), "strides": (2, 2), "multipliers": (1, 1), "width": 6, "depth": 1}
JUKEBOX = make_jukebox(**SMALL, code_dim=4, num_codes=16)
LEVEL, LENGTH, HOP = 1, 12, 4


@pytest.fixture(scope="module")
def params():
    """Weights with codes far enough apart, and with biases, which tell where a piece ends."""
    params = JUKEBOX.init(jax.random.key(0))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + random.normal(0, 0.1, x.shape).astype(np.float32), params)
    codes = random.normal(0, 0.3, (16, 4)).astype(np.float32)
    return params | {"level_1": params["level_1"] | {"quantizer": {"codebook": codes}}}


@pytest.fixture(scope="module")
def codec(params):
    return AudioCodec(JUKEBOX, params, level=LEVEL, length=LENGTH, batch_size=4)


@pytest.fixture(scope="module")
def audio():
    """Six windows of noise, one after the other quieter."""
    noise = np.random.default_rng(1).normal(0, 0.5, (6, LENGTH * HOP))
    return (noise * 0.8 ** np.arange(6)[:, None]).astype(np.float32)


def test_it_is_a_codec_of_windows(codec, params, audio):
    assert isinstance(codec, Codec)
    facts = codec.vocab_size, codec.grid, codec.hop, codec.samples, codec.sample_rate, codec.level
    assert facts == (16, (1, 12), 4, 48, 22050, 1)
    tokens = codec.encode(audio)
    assert (tokens.dtype, tokens.shape) == (np.int32, (6, 12))
    assert len(np.unique(tokens)) > 4
    features = np.asarray(jax.jit(lambda p, x: JUKEBOX.encode(p, x, LEVEL))(params, audio))
    codes = params["level_1"]["quantizer"]["codebook"]
    apart = ((features[:, :, None].astype(np.float64) - codes[None, None]) ** 2).sum(-1)
    np.testing.assert_array_equal(tokens, apart.argmin(-1))

    sound = codec.decode(tokens)
    assert (sound.dtype, sound.shape) == (np.float32, audio.shape)
    made = jax.jit(lambda p, c: JUKEBOX.decode(p, c, LEVEL))(params, jnp.asarray(codes[tokens]))
    np.testing.assert_allclose(sound, np.clip(made, -1, 1), atol=1e-5)
    assert np.abs(sound).max() <= 1


def test_results_do_not_depend_on_how_windows_are_batched(codec, params, audio):
    """Six windows: four at once and two filled up, or eight at once on eight devices."""
    wide = AudioCodec(JUKEBOX, params, level=LEVEL, length=LENGTH, batch_size=8)
    tokens = codec.encode(audio)
    np.testing.assert_array_equal(wide.encode(audio), tokens)
    np.testing.assert_allclose(wide.decode(tokens), codec.decode(tokens), atol=1e-6)
    assert codec.encode(audio[:0]).shape == (0, 12)


@pytest.mark.parametrize("num_tokens", [3, 61, 97])
def test_streaming_leaves_no_seam(codec, params, num_tokens):
    """Less than a piece, and several pieces with a rest: what the whole at once gives."""
    context = JUKEBOX.options.context(LEVEL)
    assert 4 * context < 61  # or it would be one piece
    random = np.random.default_rng(num_tokens)
    audio = random.normal(0, 0.5, num_tokens * HOP).astype(np.float32)
    encode = jax.jit(lambda x: JUKEBOX.indices(params, JUKEBOX.encode(params, x, LEVEL), LEVEL))
    decode = jax.jit(lambda t: JUKEBOX.decode(params, JUKEBOX.lookup(params, t, LEVEL), LEVEL))
    # What fills no token is not part of the whole.
    tokens = codec.encode_long(np.append(audio, np.float32([0.1, 0.2, 0.3])))
    np.testing.assert_array_equal(tokens, np.asarray(encode(audio[None]))[0])
    random_tokens = random.integers(0, 16, num_tokens)
    whole = np.clip(decode(jnp.asarray(random_tokens[None], jnp.int32))[0], -1, 1)
    np.testing.assert_allclose(codec.decode_long(random_tokens), whole, atol=1e-6)


def test_no_sound_is_no_tokens(codec):
    assert codec.encode_long(np.zeros(3, np.float32)).shape == (0,)
    assert codec.decode_long(np.zeros(0, np.int32)).shape == (0,)


def test_what_is_no_window_is_refused(codec, params, audio):
    with pytest.raises(ValueError, match="48 samples, 12 tokens of 4, but it has 47"):
        codec.encode(audio[:, :47])
    with pytest.raises(ValueError, match="a window has 12 tokens, got 11"):
        codec.decode(np.zeros((1, 11), np.int32))
    for wrong in (-1, 16):
        with pytest.raises(ValueError, match=r"tokens must have values 0\.\.15, got"):
            codec.decode(np.full((1, 12), wrong))
        with pytest.raises(ValueError, match=r"tokens must have values 0\.\.15, got"):
            codec.decode_long(np.full(5, wrong))
    with pytest.raises(ValueError, match="level = 2 does not exist"):
        AudioCodec(JUKEBOX, params, level=2, length=12)
    with pytest.raises(ValueError, match="length = 0 must be at least 1"):
        AudioCodec(JUKEBOX, params, level=1, length=0)
    with pytest.raises(ValueError, match=r"level = 0 has no weights: there are those of level_1"):
        AudioCodec(JUKEBOX, {"level_1": params["level_1"]}, level=0, length=12)


def test_a_file_brings_the_codec_back(codec, params, tmp_path):
    """One level of two; the fingerprint covers the weights, the level and the options."""
    path = tmp_path / "new" / "codec.safetensors"
    save_jukebox(path, {"level_1": params["level_1"]}, JUKEBOX.options)
    loaded, options = load_jukebox(path)
    assert options == JUKEBOX.options
    assert list(loaded) == ["level_1"]
    again = AudioCodec(make_jukebox(**vars(options)), loaded, level=1, length=3, batch_size=2)
    assert again.fingerprint == codec.fingerprint
    other = AudioCodec(JUKEBOX, params, level=0, length=3)
    moved = jax.tree.map(lambda x: x + np.float32(1e-3), params)
    assert codec.fingerprint != other.fingerprint
    assert codec.fingerprint != AudioCodec(JUKEBOX, moved, level=1, length=12).fingerprint


def test_damaged_and_foreign_files_are_named(params, tmp_path):
    path = tmp_path / "codec.safetensors"
    with pytest.raises(FileNotFoundError, match=r"no file .*codec\.safetensors"):
        load_jukebox(path)
    save_jukebox(path, {"level_1": params["level_1"]}, JUKEBOX.options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"codec\.safetensors is not a complete safetensors file"):
        load_jukebox(path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match='a codec of the kind "jukebox", not "patches"'):
        read_arrays(path, PATCHES)
    wider = make_jukebox(**SMALL | {"width": 8}, code_dim=4, num_codes=16).options
    save_jukebox(path, {"level_1": params["level_1"]}, wider)
    with pytest.raises(ValueError, match="does not fit its own options: level_1/decoder"):
        load_jukebox(path)
    arrays = {"a": np.zeros(1, np.float32)}
    for options, message in (
        ('{"hop": 3}', "another version"),
        ('{"width": 0}', "options that no codec can have: width = 0"),
        ("{", "options that no codec can have"),
    ):
        write_arrays(path, arrays, {"format": "cdcd_jax jukebox 1", "options": options})
        with pytest.raises(ValueError, match=message):
            load_jukebox(path)
