"""Checkpoints of music: files with all their names, at small sizes, come apart as they should."""

import jax
import numpy as np
import pytest

from cdcd_jax.codecs.jukebox import make_jukebox
from cdcd_jax.conditioning.dance import dance_condition
from cdcd_jax.interop.denoiser import denoiser_from_reference
from cdcd_jax.interop.jukebox import jukebox_from_state_dict
from cdcd_jax.interop.motion import dance_from_reference
from cdcd_jax.interop.published_music import describe_jukebox, read_published_music, read_vqvae
from cdcd_jax.models import make_denoiser
from tests.support.music_files import KEYS, NAMES, SMALL, make_music_entries
from tests.support.published_files import template, write_bare, write_checkpoint


@pytest.fixture(scope="module", params=NAMES)
def checkpoint(request, tmp_path_factory):
    """Return the case, the file and its entries."""
    entries = make_music_entries(request.param)
    path = tmp_path_factory.mktemp(request.param) / "music.pth"
    return request.param, write_checkpoint(path, entries), entries


def test_every_name_of_the_published_file_has_its_part(checkpoint):
    name, path, entries = checkpoint
    for entry, arrays in entries.items():
        assert set(arrays) == set(KEYS[f"{name}.yaml {entry}"])
    found = read_published_music(path)
    assert found.architecture == SMALL
    network = make_denoiser(**found.architecture, num_heads=16)
    denoiser_from_reference(found.denoiser, template(network), prefix="")
    jukebox = make_jukebox(**describe_jukebox(found.codec))
    assert jukebox.options.hops == (8, 32, 128)
    assert (jukebox.options.multipliers, jukebox.options.depth) == ((2, 1, 1), 4)
    jukebox_from_state_dict(found.codec, template(jukebox))
    assert found.dance["num_genres"] == (10 if name == "aist" else 0)
    assert found.dance["video_features"] == 7
    condition = dance_condition(**found.dance, seconds=2.0, null=None)
    params = dance_from_reference(found.condition, template(condition))
    assert ("genre" in params) == (name == "aist")


def test_the_average_is_taken_where_there_is_one(checkpoint):
    name, path, entries = checkpoint
    join = "lin1.weight" if name == "aist" else "lin2.weight"
    motion, tokens = "condition_codec_motion.model.0.weight", "content_emb.emb.weight"
    for weights, diffusion in (("ema", ""), ("model", "transformer.")):
        found, arrays = read_published_music(path, weights=weights), entries[weights]
        for array, wanted in (
            (found.condition[join], arrays[diffusion + join]),
            (found.denoiser[tokens], arrays[f"{diffusion}transformer.{tokens}"]),
            (found.condition[motion], entries["model"][motion]),
        ):
            np.testing.assert_array_equal(array, wanted)
    assert (entries["model"][f"transformer.{join}"] != entries["ema"][join]).any()


@pytest.fixture(scope="module")
def shallow():
    """Return the entries of a checkpoint of one block."""
    return make_music_entries("aist", num_layers=1)


def test_what_is_no_such_file_is_named(shallow, tmp_path):
    path, entries, model = tmp_path / "a.pth", shallow, shallow["model"]

    def refused(entries, message):
        with pytest.raises(ValueError, match=message):
            read_published_music(write_checkpoint(path, entries))

    one = np.zeros(1, np.float32)
    bare = write_checkpoint(path, {"model": model})
    with pytest.raises(ValueError, match="no averaged weights; take the last ones"):
        read_published_music(bare, weights="ema")
    assert not read_published_music(bare).averaged
    refused(entries | {"model": model | {"head.x": one}}, "holds head.x, which")
    refused(entries | {"ema": {"lin3.weight": one}}, "holds transformer.lin3.weight, which")
    half = {key: array for key, array in entries["ema"].items() if ".attn1." not in key}
    refused(entries | {"ema": half}, "of the denoiser's arrays in its averaged weights, ema")
    images = {key: array for key, array in model.items() if not key.startswith("vqvae.")}
    refused(entries | {"model": images}, r"is not a checkpoint of music: it lacks vqvae\.\*")
    other = {"lin1.weight": np.zeros((8, 30), np.float32)}
    refused(entries | {"ema": entries["ema"] | other}, "condition of 8 features, but .* to 16")
    with pytest.raises(FileNotFoundError, match=r"no file .*b.pth"):
        read_published_music(tmp_path / "b.pth")


def test_the_codec_is_read_from_any_of_its_files(shallow, tmp_path):
    path = write_checkpoint(tmp_path / "music.pth", shallow)
    codec = {
        key.removeprefix("vqvae."): array
        for key, array in shallow["model"].items()
        if key.startswith("vqvae.")
    }
    bare = write_bare(tmp_path / "vqvae.pt", codec)
    openai = write_checkpoint(tmp_path / "vqvae.pth.tar", {"model": codec})
    for file in (bare, openai, path):
        found = read_vqvae(file)
        assert found.keys() == codec.keys()
        jax.tree.map(np.testing.assert_array_equal, found, codec)
    other = write_bare(tmp_path / "other.pt", {"x": np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match=r"other.pt holds no codec of music: it has no bottleneck"):
        read_vqvae(other)
    with pytest.raises(ValueError, match="holds no codec of Jukebox: it lacks bottleneck"):
        describe_jukebox({})
