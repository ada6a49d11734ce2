"""A codebook of spectra: what it hears, what it makes, and where it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd_jax.codecs.codec import Codec
from cdcd_jax.codecs.phases import SpectrumOptions, describe_spectra, make_sound
from cdcd_jax.codecs.spectra import (
    SpectrumCodec,
    fit_spectrum_codec,
    load_spectra,
    save_spectra,
)

OPTIONS = SpectrumOptions(hop=256, num_bands=64, num_codes=48)
LENGTH = 43
SAMPLES = LENGTH * OPTIONS.hop


def bursts(seed, count=12):
    """Draw noise that bursts out at one of ten tokens' beginnings, over one of four tones."""
    rng = np.random.default_rng(seed)
    times = np.arange(SAMPLES) / 22050
    sounds, starts = [], rng.integers(5, 35, count)
    for start in starts:
        tone = 0.2 * np.sin(2 * np.pi * rng.choice([110, 220, 330, 550]) * times)
        since = times - start * OPTIONS.hop / 22050
        decay = np.where(since >= 0, np.exp(-np.maximum(since, 0) / 0.02), 0)
        sounds.append(tone + 0.5 * decay * rng.normal(size=SAMPLES))
    return np.clip(np.stack(sounds), -1, 1).astype(np.float32), starts


@pytest.fixture(scope="module")
def codec():
    return fit_spectrum_codec(bursts(0, 60)[0], OPTIONS, length=LENGTH, batch_size=5)


def test_it_is_a_codec_and_keeps_times_and_tones(codec):
    assert isinstance(codec, Codec)
    sounds, starts = bursts(1)
    tokens = codec.encode(sounds)
    assert tokens.shape == (12, LENGTH)
    assert tokens.dtype == np.int32
    assert 0 <= tokens.min() <= tokens.max() < codec.vocab_size
    made = codec.decode(tokens)
    assert made.shape == sounds.shape
    assert np.abs(made).max() <= 1
    energy = np.square(made).reshape(12, LENGTH, -1).mean(-1)
    # The loudest token is that of the burst, or the one beside it where the frame reaches over.
    assert (np.abs(energy.argmax(1) - starts) <= 1).all()
    tones = [np.abs(np.fft.rfft(sound[-2048:] * np.hanning(2048))) for sound in (*sounds, *made)]
    pitches = np.array([tone[:80].argmax() for tone in tones]).reshape(2, 12)
    assert (np.abs(pitches[0] - pitches[1]) <= 4).all()  # a band is four such bins
    wanted, got = describe_spectra(sounds, OPTIONS), describe_spectra(made, OPTIONS)
    other = describe_spectra(np.roll(made, 1, axis=0), OPTIONS)
    assert np.abs(wanted - got).mean() < 0.7 * np.abs(wanted - other).mean()


def test_sound_with_its_own_spectra_is_found_where_there_is_no_codebook():
    fine = SpectrumOptions(hop=128, overlap=4, num_bands=100, num_iterations=60)
    sounds = bursts(2, 2)[0]
    wanted = describe_spectra(sounds, fine)
    off = [np.abs(describe_spectra(make_sound(wanted, o), fine) - wanted).mean() for o in (
        SpectrumOptions(hop=128, overlap=4, num_bands=100, num_iterations=1), fine)]  # fmt: skip
    assert off[1] < 0.6 * off[0]


def test_neither_batch_nor_length_changes_what_is_coded(codec):
    sounds, _ = bursts(3)
    tokens = codec.encode(sounds)
    singles = np.concatenate([codec.encode(sound[None]) for sound in sounds])
    np.testing.assert_array_equal(tokens, singles)
    made = codec.decode(tokens)
    np.testing.assert_array_equal(made, codec.decode(tokens))
    np.testing.assert_array_equal(codec.encode_long(np.append(sounds[0], 0.5)), tokens[0])
    np.testing.assert_allclose(codec.decode_long(tokens[0]), codec.decode(tokens[:1])[0], atol=1e-6)
    long = codec.decode_long(np.concatenate([tokens[0], tokens[1]]))
    assert long.shape == (2 * SAMPLES,)


def test_a_file_holds_all_of_it(codec, tmp_path):
    save_spectra(tmp_path / "codec.safetensors", codec)
    same = load_spectra(tmp_path / "codec.safetensors", length=LENGTH)
    assert same.fingerprint == codec.fingerprint
    assert same.options == codec.options
    sounds, _ = bursts(4, 2)
    np.testing.assert_array_equal(same.encode(sounds), codec.encode(sounds))
    (tmp_path / "codec.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="complete safetensors file"):
        load_spectra(tmp_path / "codec.safetensors", length=LENGTH)


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 200), st.integers(2, 6), st.sampled_from([64, 128, 256, 512]))
def test_bands_share_out_the_spectrum(num_bands, overlap, hop):
    if num_bands > hop * overlap // 4:
        with pytest.raises(ValueError, match="at most a quarter"):
            SpectrumOptions(hop=hop, overlap=overlap, num_bands=num_bands)
        return
    edges = SpectrumOptions(hop=hop, overlap=overlap, num_bands=num_bands).edges
    assert (len(edges), edges[0], edges[-1]) == (num_bands + 1, 0, hop * overlap // 2 + 1)
    assert (np.diff(edges) > 0).all()


def test_what_cannot_be_is_named(codec):
    with pytest.raises(ValueError, match=f"a window must have {SAMPLES} samples"):
        codec.encode(np.zeros((1, 100), np.float32))
    with pytest.raises(ValueError, match=r"values 0\.\.47"):
        codec.decode(np.full((1, LENGTH), 48))
    with pytest.raises(ValueError, match="num_codes = 48 needs as many frames"):
        fit_spectrum_codec(np.zeros((1, 2560), np.float32), OPTIONS, length=LENGTH)
    with pytest.raises(ValueError, match="codes must be 48 of 64 bands"):
        SpectrumCodec(np.zeros((3, 64), np.float32), OPTIONS, length=LENGTH)
    for wrong, message in (({"hop": 15}, "hop = 15 must be at least 16"),
                           ({"hop": 17}, "hop = 17 must be even"),
                           ({"num_codes": 1}, "num_codes = 1 must be at least 2")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            SpectrumOptions(**wrong)
