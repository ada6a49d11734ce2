"""A denoiser small enough to be compiled often, with something to tell and to be scored by."""

import jax
import numpy as np

from cdcd_jax.conditioning.condition import class_condition, no_condition
from cdcd_jax.data.batch import TokenExamples
from cdcd_jax.diffusion.schedule import mask_replace_schedule
from cdcd_jax.evaluation.batches import own_share
from cdcd_jax.evaluation.evaluate import evaluate
from cdcd_jax.evaluation.metrics.codebook import codebook_metric
from cdcd_jax.evaluation.metrics.images.classifier import classifier_metric, token_classifier
from cdcd_jax.evaluation.metrics.images.inception import inception_metric, inception_reference
from cdcd_jax.models.features.inception import InceptionOutputs
from cdcd_jax.models.functional import make_denoiser
from cdcd_jax.training.generation import make_bound_fn, make_sample_fn
from cdcd_jax.training.model import make_model

VOCAB_SIZE, LENGTH, NUM_CLASSES = 6, 8, 3
SCHEDULE = mask_replace_schedule(num_steps=6, vocab_size=VOCAB_SIZE)
SAMPLING = {"num_steps": 4, "truncation": 0.9, "top_k": None, "temperature": 1.0}


def make_small_model(*, dropout=0.0, conditional=True):
    network = make_denoiser(
        vocab_size=VOCAB_SIZE,
        num_steps=SCHEDULE.num_steps,
        grid=(2, 4),
        num_layers=1,
        width=16,
        num_heads=4,
        condition="class" if conditional else "none",
        num_classes=NUM_CLASSES + (dropout > 0) if conditional else None,
    )
    condition = class_condition(NUM_CLASSES) if conditional else no_condition()
    return make_model(network, condition, dropout=dropout)


def random_params(model):
    """Return parameters that make the network's guesses far from even, the same everywhere."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(x.dtype), shapes)


def examples(count, seed):
    """Draw examples whose tokens tell their class, more or less."""
    rng = np.random.default_rng(seed)
    cond = np.arange(count, dtype=np.int32) % NUM_CLASSES
    noise = rng.integers(0, VOCAB_SIZE, (count, LENGTH))
    conditional = rng.uniform(size=(count, LENGTH)) < 0.6
    tokens = np.where(conditional, 2 * cond[:, None], noise).astype(np.int32)
    return TokenExamples(tokens=tokens, cond=cond, group=cond)


def small_inception(images):
    features = images.reshape(len(images), -1)
    return InceptionOutputs(features, 9 * features[:, :5], 9 * features[:, :5])


def decode(tokens):
    return (np.asarray(tokens).reshape(-1, 2, 4, 1) / np.float32(VOCAB_SIZE)).repeat(3, axis=-1)


class DecodedImages:
    """Real images that each host has its rows of."""

    def __init__(self, tokens):
        self.tokens, self.num_distinct = tokens, len(tokens)

    def __len__(self):
        return len(self.tokens)

    def name_of(self, place):
        return f"image {place}"

    def batches(self, batch_size, *, title, progress):
        share = own_share(len(self), batch_size)
        for index in range(-(-len(self) // batch_size)):
            if len(own := share.of_batch(index)):
                yield 255 * decode(self.tokens[own]), own


def score_on(mesh, params):
    """Evaluate the model with batches and sets of awkward sizes; return what can be compared."""
    model = make_small_model()
    bound_fn = make_bound_fn(SCHEDULE, model, mesh=mesh)
    sample_fn = make_sample_fn(SCHEDULE, model, length=LENGTH, mesh=mesh)
    fixed = {"top_k": None, "temperature": 1.0}
    train, test = examples(90, 1), examples(41, 2)
    reference = inception_reference(
        small_inception, DecodedImages(train.tokens), batch_size=19, dim=24, progress=False
    )
    result = evaluate(
        jax.random.key(5),
        bound_fn=lambda key, z0, cond: bound_fn(params, key, z0, cond),
        sample_fn=lambda key, cond, num_steps, truncation: sample_fn(
            params, key, cond, num_steps=num_steps, truncation=truncation, **fixed
        ),
        train=train,
        test=test,
        metrics=[
            classifier_metric(token_classifier(train.tokens, train.cond)),
            codebook_metric(VOCAB_SIZE),
            inception_metric(small_inception, reference, num_logits=5),
        ],
        decode_fn=decode,
        num_samples=47,
        num_steps=(4,),
        truncations=(0.9,),
        batch_size=19,
        progress=False,
    )
    for row in result["rows"]:
        del row["seconds"], row["seconds_per_sample"]
    return result
