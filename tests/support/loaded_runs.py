"""Runs that are loaded where their data are not."""

import shutil

import jax
import numpy as np

import cdcd_jax as cdcd
from cdcd_jax.codecs.codec_file import unflatten
from cdcd_jax.training.average import read_newest_average


def check_loaded(experiment, workdir, folder, request, **options):
    """Copy what a run wrote but its data, and draw what the experiment itself draws, bit for bit.

    Args:
        experiment: As it was built to be trained.
        workdir: Folder of the run.
        folder: For the copy and an exported model; not there yet.
        request: For ``Generator.sample``.
        **options: Likewise.

    Returns:
        The copy and the generator that was loaded from it.
    """
    average = read_newest_average(workdir)
    template = jax.eval_shape(experiment.model.init, jax.random.key(0))
    trained = experiment.generator(unflatten(average.arrays, template, workdir))
    wanted = trained.sample(request, output="tokens", **options)
    copy = folder / "copy"
    folder.mkdir(exist_ok=True)
    shutil.copytree(
        workdir, copy, ignore=shutil.ignore_patterns("data", "tokens", "codec", "start")
    )
    hidden = workdir.rename(workdir.with_name("hidden"))  # what it names is not there any more
    try:
        loaded = cdcd.load(copy)
        np.testing.assert_array_equal(loaded.sample(request, output="tokens", **options), wanted)
        exported = cdcd.load(loaded.export(folder / "exported"))
        samples = exported.sample(request, **options)
        np.testing.assert_array_equal(samples, loaded.sample(request, **options))
        codec = experiment.data.codec
        assert exported.codec.grid == codec.grid
        assert getattr(exported.codec, "fingerprint", "") == getattr(codec, "fingerprint", "")
    finally:
        hidden.rename(workdir)
    return copy, loaded
