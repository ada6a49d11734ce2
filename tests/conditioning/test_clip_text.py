"""The text tower: the published numbers, under both families of names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdcd_jax.conditioning.clip_text import make_clip_text
from cdcd_jax.interop.clip import HUGGING_FACE, OPENAI, clip_text_from_state_dict

TINY = {"vocab_size": 300, "width": 128, "num_layers": 2, "num_heads": 2}


def tower(**more):
    clip = make_clip_text(**TINY, **more)
    return clip, jax.eval_shape(clip.init, jax.random.key(0))


def hugging_face_names(state):
    """Rename OpenAI's arrays; each joint projection becomes three."""
    renamed = {"logit_scale": np.zeros(()), "text_model.embeddings.position_ids": np.zeros(1)}
    for part, (name,) in OPENAI.items():
        theirs = HUGGING_FACE[part]
        for key, array in state.items():
            array = array.T if key == "text_projection" else array  # a module there
            for layer in range(2):
                start = name.format(layer)
                if key.startswith(start):
                    leaf = key.removeprefix(start).lstrip(".")
                    pieces = np.split(array, len(theirs))
                    for piece, their in zip(pieces, theirs, strict=True):
                        renamed[".".join(filter(None, [their.format(layer), leaf]))] = piece
    return renamed


def test_features_as_published(golden):
    data = golden("clip_text/tiny.npz")
    state = {key.removeprefix("sd/"): data[key] for key in data if key.startswith("sd/")}
    tokens = jnp.asarray(np.maximum(data["tokens"], 0))  # the published code does so with padding
    clip, template = tower()
    params = clip_text_from_state_dict(state, template)
    raw = make_clip_text(**TINY, unit_norm=False).apply
    features = jax.jit(raw)(params, tokens)
    np.testing.assert_allclose(features, data["out_fp32_norm0"], atol=2e-5)
    unit = jax.jit(clip.apply)(params, tokens)
    np.testing.assert_allclose(unit, data["out_fp32_norm1"], atol=2e-6)
    # The published model rounds nearly every intermediate result to float16.
    half = jax.jit(tower(compute_dtype="float16")[0].apply)(params, tokens)
    np.testing.assert_allclose(half, data["out_fp16_norm1"], atol=1e-3)
    again = clip_text_from_state_dict(hugging_face_names(state), template)
    jax.tree.map(np.testing.assert_array_equal, again, params)

    key = "transformer.resblocks.1.mlp.c_fc.bias"
    with pytest.raises(ValueError, match=f"no {key}, which"):
        clip_text_from_state_dict({k: v for k, v in state.items() if k != key}, template)
    with pytest.raises(ValueError, match=r"ln_final.bias gives final_norm/bias the shape \(3,\)"):
        clip_text_from_state_dict(state | {"ln_final.bias": np.zeros(3)}, template)
    with pytest.raises(ValueError, match=r"1 arrays .* no place for, such as transformer.x"):
        clip_text_from_state_dict(state | {"transformer.x": np.zeros(3)}, template)


def test_the_embedding_of_the_end_as_published(golden):
    data = golden("clip_text/tiny.npz")
    state = {key.removeprefix("sd/"): data[key] for key in data if key.startswith("sd/")}
    tokens = jnp.asarray(np.maximum(data["tokens"], 0))
    clip, template = tower(embed_dim=96)
    params = clip_text_from_state_dict(state, template)
    np.testing.assert_array_equal(params["projection"], state["text_projection"])
    embedding = np.asarray(jax.jit(clip.embed)(params, tokens))
    np.testing.assert_allclose(embedding, data["last_feature"], atol=2e-5)
    half = np.asarray(
        jax.jit(tower(compute_dtype="float16", embed_dim=96)[0].embed)(params, tokens)
    )
    assert 1e-5 < np.abs(half - embedding).max() < 5e-3
    jax.tree.map(
        np.testing.assert_array_equal,
        clip_text_from_state_dict(hugging_face_names(state), template),
        params,
    )
    with pytest.raises(ValueError, match="without embed_dim has no embedding"):
        tower()[0].embed(params, tokens)


def test_a_token_attends_only_to_those_before_it():
    clip = make_clip_text(vocab_size=9, length=6, width=8, num_layers=1, num_heads=2)
    params = clip.init(jax.random.key(0))
    tokens = jnp.array([[1, 2, 3, 4, 5, 6], [1, 2, 3, 7, 8, 0]])
    features = np.asarray(jax.jit(clip.apply)(params, tokens))
    np.testing.assert_allclose(features[0, :3], features[1, :3], atol=1e-6)
    assert np.abs(features[0, 3:] - features[1, 3:]).max() > 1e-2
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), 1, atol=1e-5)
    with pytest.raises(ValueError, match="a text has 6 tokens, got 5"):
        clip.apply(params, tokens[:, :5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width = 0 must be at least 1"),
        ({"num_heads": 5}, "width = 512 must be a multiple of num_heads = 5"),
        ({"compute_dtype": "int8"}, 'compute_dtype = "int8" must be one of'),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_clip_text(**options)
