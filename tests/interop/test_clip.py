"""CLIP's files: both families of names, both towers, and archives of programs that are not run."""

import io
import pickle
import zipfile

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from cdcd_jax.evaluation.metrics.captions.clip_towers import check_vit_b_32, load_clip
from cdcd_jax.interop import describe_clip_image, describe_clip_text, read_state_dict
from cdcd_jax.interop.clip import HUGGING_FACE, HUGGING_FACE_IMAGE, OPENAI, OPENAI_IMAGE
from tests.interop.test_state_dict import Global, TorchPickler
from tests.support.golden_files import find_golden, load_golden
from tests.support.procedural import layout_of, procedural_state

NUM_LAYERS = 2
TURNED = ("text_projection.weight", "visual_projection.weight")


@pytest.fixture(scope="module")
def hugging_face():
    """Return arrays by Hugging Face's names, those that their files have besides included."""
    layout = layout_of(load_golden("clip_score/transformers.npz"))
    state = {key: np.asarray(array) for key, array in procedural_state(layout).items()}
    return state | {"text_model.embeddings.position_ids": np.arange(24)[None]}


def openai_names(state):
    """Rename Hugging Face's arrays; three projections become a joint one."""
    renamed = {"logit_scale": state["logit_scale"], "context_length": np.array(24)}
    for theirs, ours in ((HUGGING_FACE, OPENAI), (HUGGING_FACE_IMAGE, OPENAI_IMAGE)):
        for part, starts in theirs.items():
            for layer in range(NUM_LAYERS):
                for leaf in ("", ".weight", ".bias"):
                    keys = [start.format(layer) + leaf for start in starts]
                    if all(key in state for key in keys):
                        joined = ours[part][0].endswith("_")
                        name = ours[part][0].format(layer) + leaf.lstrip("." if joined else "")
                        arrays = [state[key] for key in keys]
                        arrays = [each.T for each in arrays] if keys[0] in TURNED else arrays
                        renamed[name] = np.concatenate(arrays)
    return renamed


def test_both_families_of_names_give_the_same_towers(hugging_face, tmp_path):
    theirs, ours = tmp_path / "model.safetensors", tmp_path / "ViT.npz"
    save_file(hugging_face, theirs)
    np.savez(ours, **openai_names(hugging_face))
    first, second = load_clip(theirs), load_clip(ours)
    assert first.text_options == second.text_options
    assert first.image_options == second.image_options
    assert vars(first.text_options) == {
        "vocab_size": 524, "length": 24, "width": 128, "num_layers": 2, "num_heads": 2,
        "embed_dim": 32,
    }  # fmt: skip
    assert vars(first.image_options) == {
        "image_size": 48, "patch_size": 16, "width": 128, "num_layers": 2, "num_heads": 2,
        "embed_dim": 32,
    }  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, first.text_params, second.text_params)
    jax.tree.map(np.testing.assert_array_equal, first.image_params, second.image_params)
    with pytest.raises(ValueError, match="safetensors is not CLIP ViT-B/32: its text tower has vo"):
        check_vit_b_32(first, theirs)


def test_an_archive_of_a_program_gives_its_arrays():
    path = find_golden("clip_archive/tiny.pt")
    expected = load_golden("clip_archive/arrays.npz")
    found = read_state_dict(path)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array)
    towers = load_clip(path)
    assert (towers.text_options.vocab_size, towers.text_options.length) == (20, 7)
    assert (towers.image_options.image_size, towers.image_options.patch_size) == (4, 2)
    token = towers.text_params["token"]
    assert token.dtype == np.float32
    np.testing.assert_array_equal(token, expected["token_embedding.weight"])


class Object:
    """Pickle as an object of a class by name, with attributes or with a call of itself."""

    def __init__(self, module, name, state):
        self.kind, self.state = Global(module, name), state


def save_object(self, obj):
    self.save(obj.kind)
    self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
    self.memoize(obj)
    self.save(obj.state)
    self.write(pickle.BUILD)


class ArchivePickler(TorchPickler):
    dispatch = {**TorchPickler.dispatch, Object: save_object}  # noqa: RUF012


def write_archive(path, root):
    buffer = io.BytesIO()
    ArchivePickler(buffer, protocol=2).dump(root)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/code/__torch__.py", "raise SystemExit")
        archive.writestr("a/data.pkl", buffer.getvalue())
    return path


def test_nothing_of_an_archive_is_run(tmp_path):
    path = tmp_path / "evil.pt"
    for module, name in (("os", "system"), ("builtins", "eval"), ("__torch__x", "A")):
        write_archive(path, Object("__torch__", "Clip", {"a": Global(module, name)}))
        with pytest.raises(ValueError, match=rf"imports {module}.{name}, which is neither"):
            read_state_dict(path)
    inside = Object("__torch__.b", "B", {"training": False, "n": 3, "names": ["x"]})
    write_archive(path, Object("__torch__", "Clip", {"a": inside, 5: None}))
    with pytest.raises(
        ValueError, match=r"evil.pt cannot be used as CLIP: The state dict holds no"
    ):
        load_clip(path)
    assert read_state_dict(path) == {}
    write_archive(path, {"a": 1})
    with pytest.raises(ValueError, match="but not one of a module"):
        read_state_dict(path)
    circle = Object("__torch__", "Clip", {})
    circle.state["a"] = circle
    write_archive(path, circle)
    with pytest.raises(ValueError, match="modules that contain themselves"):
        read_state_dict(path)


def test_a_cut_archive_is_named(tmp_path):
    whole = find_golden("clip_archive/tiny.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for length in (10, 5000, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(
            ValueError, match=r"cut.pt cannot be used as CLIP: .*cut.pt is not a comp"
        ):
            load_clip(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/code/x.py", "")
        archive.writestr("a/data.pkl", b"\x80\x02c")
    with pytest.raises(ValueError, match=r"cut.pt .* a damaged pickle"):
        load_clip(path)


def test_other_towers_are_named(hugging_face, tmp_path):
    ours = openai_names(hugging_face)
    with pytest.raises(ValueError, match=r"image tower is a ResNet \(RN50 and the like\)"):
        describe_clip_image(ours | {"visual.layer1.0.conv1.weight": np.zeros(1)})
    with pytest.raises(ValueError, match=r"no complete image tower of CLIP: it lacks visual.proj"):
        describe_clip_image({key: ours[key] for key in ours if key != "visual.proj"})
    text = {key: array for key, array in ours.items() if not key.startswith("visual.")}
    assert describe_clip_image(text) is None
    np.savez(tmp_path / "text.npz", **text)
    towers = load_clip(tmp_path / "text.npz")
    assert (towers.image_options, towers.image_params) == (None, None)
    del text["text_projection"]
    assert "embed_dim" not in describe_clip_text(text)
    with pytest.raises(ValueError, match=r"no text tower of CLIP: it lacks text_projection"):
        describe_clip_text(text, embedding=True)
    np.savez(tmp_path / "text.npz", **text)
    assert load_clip(tmp_path / "text.npz").text_options.embed_dim is None
    stray = {"visual.transformer.resblocks.1.stray": np.zeros(1)}
    np.savez(tmp_path / "stray.npz", **ours, **stray)
    with pytest.raises(ValueError, match=r"stray.npz cannot .* image tower has no place for"):
        load_clip(tmp_path / "stray.npz")
    with pytest.raises(ValueError, match=r"none.pt cannot be used as CLIP: There is no file"):
        load_clip(tmp_path / "none.pt")
