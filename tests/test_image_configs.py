"""Configurations on images: they build, dry_run, and name what is missing or does not fit."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cdcd_jax.cli.prepare import prepare_tokens
from cdcd_jax.codecs.codec_file import save_vqgan
from cdcd_jax.codecs.vqgan import make_vqgan
from cdcd_jax.distributed.mesh import make_mesh
from cdcd_jax.experiment.experiment import build
from cdcd_jax.tasks.codec_run import build_codec_run
from cdcd_jax.tasks.codecs import load_codec
from cdcd_jax.tasks.places import find_places
from cdcd_jax.tasks.task import find_task

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for kind in ("grocery", "imagenet") for path in
               (ROOT / "configs").glob(f"{kind}_*.py"))  # fmt: skip
SMALL = [name for name in NAMES if name.startswith("grocery")]
"""Those whose smoke variant is on digits drawn as images."""
WNIDS = ("n01440764", "n01443537", "n01484850")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes in ImageNet's folders, two images each."""
    folder = tmp_path_factory.mktemp("imagenet")
    for split in ("train", "val"):
        for number, wnid in enumerate(WNIDS):
            (folder / split / wnid).mkdir(parents=True)
            for index in range(2):
                image = Image.new("RGB", (40, 36), (80 * number, 100 * index, 50))
                image.save(folder / split / wnid / f"{wnid}_{index}.JPEG")
    return folder


def load(name, variant="", **changes):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    with config.unlocked():
        config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config.lock()


def one_device():
    return make_mesh(jax.devices()[:1])


def small_imagenet(images, **changes):
    """A smoke variant on images of the folders, with a codec that is nobody's."""
    return load(
        "grocery_sample_inter", "smoke", data__name="imagenet", data__path=str(images),
        data__test_split="val", train__batch_size=4, prepare__shard_size=2, **changes,
    )  # fmt: skip


def save_codec(config, workdir, seed=0):
    fields = ("image_size", "channels", "multipliers", "num_res_blocks", "norm_groups",
              "attention_resolutions", "latent_dim", "code_dim", "num_codes")  # fmt: skip
    vqgan = make_vqgan(**{name: config.codec[name] for name in fields})
    params = jax.device_get(vqgan.init(jax.random.key(seed)))
    save_vqgan(find_places(config, workdir).codec_file, params, vqgan.options)


def preparation(config, workdir):
    return find_task(config).make_preparation(find_places(config, workdir))


@pytest.mark.parametrize("name", SMALL)
def test_every_configuration_builds(name, tmp_path):
    experiment = build(load(name, "smoke"), tmp_path, mesh=one_device(), dry_run=True)
    batch = next(experiment.training.make_batches())
    assert ("negatives" in batch) == name.endswith("inter")
    assert experiment.conditioned.conditioning.num_classes == 10


def test_imagenet_has_the_size_of_the_paper(images, tmp_path):
    config = load("imagenet_sample_inter", data__path=str(images), train__batch_size=8)
    used = tmp_path / "used.npy"
    np.save(used, np.where(np.arange(16384) < 974, np.arange(16384), 0))
    with config.unlocked():
        config.codec.used_codes = str(used)
    experiment = build(config, tmp_path, mesh=one_device(), dry_run=True)
    state = jax.eval_shape(experiment.training.init_state)
    assert experiment.data.codec.vocab_size == 974
    assert experiment.data.codec.grid == (16, 16)
    assert experiment.schedule.num_steps == 80
    # As many as in the published checkpoint, which has 1,000 classes of 512 features in 24 blocks.
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert size + 997 * 512 * 24 == 517_779_918


def test_from_images_to_batches(images, tmp_path):
    config = small_imagenet(images)
    save_codec(config, tmp_path)
    prepare_tokens(preparation(config, tmp_path))
    assert find_places(config, tmp_path).has_tokens()
    experiment = build(config, tmp_path, mesh=one_device())
    assert experiment.data.class_names == WNIDS
    batch = next(experiment.training.make_batches())
    assert batch["tokens"].shape == (4, 64)
    assert batch["negatives"].shape == (4, 2, 64)
    # The shards hold what the codec makes of the images.
    codec = load_codec(config, find_places(config, tmp_path))
    flat = Image.open(images / "train" / WNIDS[1] / f"{WNIDS[1]}_1.JPEG").resize((32, 32))
    tokens = experiment.data.train.take(np.array([3]))
    np.testing.assert_array_equal(tokens, codec.encode(np.asarray(flat)[None]))
    experiment.scoring.check()
    gone = images / "train" / WNIDS[1] / f"{WNIDS[1]}_1.JPEG"
    gone.rename(gone.with_suffix(".gone"))
    with pytest.raises(ValueError, match=r"data\.path = .* holds other data than the tokens in"):
        experiment.scoring.check()
    gone.with_suffix(".gone").rename(gone)
    tokens = find_places(config, tmp_path).tokens
    for source, target in (("train", "held"), ("test", "train"), ("held", "test")):
        (tokens / source).rename(tokens / target)
    with pytest.raises(ValueError, match=r'data: .*/train holds the split "test", and it is read'):
        build(config, tmp_path, mesh=one_device())


def test_tokens_of_another_codec_are_refused(images, tmp_path):
    config = small_imagenet(images)
    save_codec(config, tmp_path)
    prepare_tokens(preparation(config, tmp_path))
    save_codec(config, tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"data: the shards in .* were made with another codec"):
        build(config, tmp_path)


def test_a_codec_of_another_architecture_is_refused(images, tmp_path):
    save_codec(small_imagenet(images), tmp_path)
    config = small_imagenet(images, codec__channels=4)
    with pytest.raises(ValueError, match=r"codec: .* \(channels = 8 there, 4 now\)"):
        build(config, tmp_path)


def test_a_damaged_codec_is_named(images, tmp_path):
    config = small_imagenet(images)
    file = find_places(config, tmp_path).codec_file
    file.parent.mkdir()
    file.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"codec: .*codec\.safetensors"):
        build(config, tmp_path)


def test_a_single_class_has_no_inter_negatives(images, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / WNIDS[0]).symlink_to(images / split / WNIDS[0])
    with pytest.raises(ValueError, match="data: inter negatives need at least two classes"):
        build(small_imagenet(tmp_path), tmp_path, mesh=one_device(), dry_run=True)
    build(small_imagenet(tmp_path, loss__negatives="intra"), tmp_path, mesh=one_device(),
          dry_run=True)  # fmt: skip


def test_a_class_that_one_split_lacks_is_named(images, tmp_path):
    (tmp_path / "train").symlink_to(images / "train")
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "n99999999").symlink_to(images / "val" / WNIDS[0])
    with pytest.raises(ValueError, match=r"data.*n99999999"):
        build(small_imagenet(tmp_path), tmp_path, dry_run=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__name": "folder"}, r"data\.path is not given"),
        ({"data__name": "photos", "data__path": "x"}, r'data\.name = "photos" is not a data set'),
        ({"codec__num_codes": 1}, r"codec\.num_codes = 1 must be at least 2"),
        ({"codec__image_size": 30}, r"codec\.image_size = 30 must be a multiple of 4"),
        ({"codec__used_codes": "none.pt"}, r"codec.*none\.pt"),
        ({"prepare__batch_size": 0}, r"prepare\.batch_size = 0 must be at least 1"),
        (
            {"prepare__crop": "middle"},
            r'prepare\.crop = "middle" must be one of "center", "random"',
        ),
        ({"prepare__flip": True}, r"prepare\.flip = True needs a random crop"),
        ({"prepare__on_bad": "ignore"}, r'prepare\.on_bad = "ignore" must be "stop" or "skip"'),
    ],
)
def test_a_wrong_value_is_named_before_anything_is_trained(tmp_path, changes, message):
    with pytest.raises((ValueError, OSError), match=message):
        build(load("grocery_vanilla", "smoke", **changes), tmp_path, dry_run=True)


def test_a_reference_of_another_format_is_named_before_anything_is_trained(tmp_path):
    path = tmp_path / "resnet.npz"
    np.savez(path, mu=np.zeros(512), sigma=np.eye(512))
    config = load("grocery_vanilla", "smoke", eval__reference=str(path))
    scoring = build(config, tmp_path, dry_run=True).scoring
    with pytest.raises(ValueError, match=r"eval\.reference: .*resnet\.npz: mu and sigma have the"):
        scoring.check()
    np.savez(path, mu=np.zeros(2048), sigma=-np.eye(2048))
    with pytest.raises(ValueError, match=r"eval\.reference: .*sigma has negative variances"):
        scoring.check()


def test_weights_of_another_network_are_named_before_anything_is_trained(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, x=np.ones(2))
    config = load("grocery_vanilla", "smoke", eval__resnet_weights=str(path))
    experiment = build(config, tmp_path, dry_run=True)  # which samples without these weights
    with pytest.raises(
        ValueError, match=r"eval\.resnet_weights = .*other\.npz cannot be used: The"
    ):
        experiment.scoring.check()


def test_weights_of_scores_are_read_before_the_codec_is_trained(run_here, tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, x=np.ones(2))
    code, output = run_here(
        "--config=configs/grocery_vanilla.py:smoke",
        f"--workdir={tmp_path}/run",
        f"--config.eval.inception_weights={path}",
    )
    assert code == 2
    assert "Error: eval.inception_weights = " in output
    assert "training it first" not in output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec_loss__discriminator_layers": 4}, r"codec_loss\.discriminator_layers = 4 needs"),
        ({"codec_loss__commitment_weight": -1.0}, r"codec_loss\.commitment_weight = -1"),
        ({"codec_loss__lpips_weights": "no.pth"}, r"codec_loss\.lpips_weights = no\.pth cannot"),
        ({"codec__quantizer": "gumbel"}, r'codec_loss.*quantizer = "gumbel" can be loaded but'),
        ({"codec_train__batch_size": 0}, r"codec_train\.batch_size = 0"),
        ({"codec_train__crop": "middle"}, r'codec_train\.crop = "middle" must be one of'),
        (
            {"codec_train__crop": "center", "codec_train__flip": True},
            r"codec_train\.flip = True needs a random crop",
        ),
        ({"codec_optimizer__lr": -1.0}, r"codec_optimizer.*lr = -1"),
    ],
)
def test_a_wrong_value_of_codec_training_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        build_codec_run(load("grocery_vanilla", "smoke", **changes), tmp_path,
                        mesh=one_device())  # fmt: skip


def test_without_a_codec_there_is_nothing_to_prepare_with(images, tmp_path):
    with pytest.raises(ValueError, match=r"codec: there is no codec .*; train one with --mode"):
        preparation(small_imagenet(images), tmp_path)
    with pytest.raises(ValueError, match="has nothing to prepare"):
        preparation(load("digits_vanilla"), tmp_path)
