"""Draw docs/images/schedules.png: the masked share and the log-SNR of the noise schedules.

python docs/draw_schedules.py
"""

import argparse
from pathlib import Path

import numpy as np

from cdcd_jax.diffusion.schedule import absorbing_schedule, log_snr, mask_replace_schedule

FIGURE = Path(__file__).parent / "images" / "schedules.png"
T, K = 100, 1024
SCHEDULES = {
    "linear": absorbing_schedule(num_steps=T, vocab_size=K),
    "cosine": absorbing_schedule(num_steps=T, vocab_size=K, curve="cosine"),
    "polynomial, power 2": absorbing_schedule(
        num_steps=T, vocab_size=K, curve="polynomial", power=2.0
    ),
    "linear, a tenth replaced": mask_replace_schedule(num_steps=T, vocab_size=K, final_uniform=0.1),
}


def draw(path: Path) -> None:
    """Write the figure."""
    import matplotlib.pyplot as plt

    figure, (masked, snr) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    u = np.arange(T + 1) / T
    for name, schedule in SCHEDULES.items():
        masked.plot(u, schedule.gamma_bar, label=name)
        snr.plot(u[1:-1], log_snr(schedule)[1:-1])
    masked.set(xlabel="t / T", ylabel="masked share of the tokens")
    snr.set(xlabel="t / T", ylabel="log-SNR", ylim=(-8, 8))
    masked.legend(frameon=False)
    for axes in (masked, snr):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIGURE)
    draw(parser.parse_args().out)
