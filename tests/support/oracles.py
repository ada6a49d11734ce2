"""Dense float64 matrices of the forward process, and an exact network: slow and obvious."""

import jax
import jax.numpy as jnp
import numpy as np


def step_matrix(alpha: float, beta: float, gamma: float, num_tokens: int) -> np.ndarray:
    """Return Q with Q[i, j] = q(zt = j | zs = i), the mask last."""
    matrix = np.zeros((num_tokens + 1, num_tokens + 1))
    matrix[:num_tokens, :num_tokens] = beta
    matrix[:num_tokens, :num_tokens] += alpha * np.eye(num_tokens)
    matrix[:num_tokens, num_tokens] = gamma
    matrix[num_tokens, num_tokens] = 1.0
    return matrix


def step_matrices(schedule) -> list[np.ndarray]:
    """Return the one-step matrices of steps 1..T (entry 0 is the identity)."""
    rows = zip(schedule.alpha, schedule.beta, schedule.gamma, strict=True)
    return [step_matrix(*row, schedule.vocab_size) for row in rows]


def jump_matrix(schedule, s: int, t: int) -> np.ndarray:
    """Return the product of the one-step matrices s+1..t."""
    matrix = np.eye(schedule.vocab_size + 1)
    for one in step_matrices(schedule)[s + 1 : t + 1]:
        matrix = matrix @ one
    return matrix


def posterior(schedule, z0: int, zt: int, s: int, t: int) -> np.ndarray:
    """Return q(zs | zt, z0) over the K+1 classes by Bayes' rule."""
    joint = jump_matrix(schedule, 0, s)[z0] * jump_matrix(schedule, s, t)[:, zt]
    return joint / joint.sum()


def model_posterior(schedule, p0: np.ndarray, zt: int, s: int, t: int) -> np.ndarray:
    """Return sum over z0 of q(zs | zt, z0) p0(z0)."""
    return sum(p * posterior(schedule, z0, zt, s, t) for z0, p in enumerate(p0))


def kl(q: np.ndarray, p: np.ndarray) -> float:
    """Return KL(q || p) in nats, with 0 log 0 = 0."""
    where = q > 0
    return float(np.sum(q[where] * (np.log(q[where]) - np.log(p[where]))))


def exact_denoiser(schedule, weights):
    """Return p(z0 | zt) by Bayes' rule for independent tokens with the given probabilities."""
    num_tokens = len(weights)

    def denoise_fn(zt, t, cond):
        alpha, beta = (
            jnp.asarray(x)[t][:, None, None] for x in (schedule.alpha_bar, schedule.beta_bar)
        )
        is_mask = (zt == num_tokens)[..., None]
        likelihood = jnp.where(is_mask, 1.0, alpha * jax.nn.one_hot(zt, num_tokens) + beta)
        joint = likelihood * weights[None, None, :]
        return jnp.log(joint / joint.sum(-1, keepdims=True))

    return denoise_fn
