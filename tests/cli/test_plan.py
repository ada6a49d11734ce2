"""``--mode=plan``: what it plans without data, what it says, and what it refuses."""

import importlib
import json
import os
from pathlib import Path

import jax
import pytest
from absl.testing import flagsaver

from cdcd_jax.cli import plan as plan_mode
from cdcd_jax.cli.flag_checks import check_flags
from cdcd_jax.cli.flags import FLAGS
from cdcd_jax.cli.plan import fitting_batch_size, plan_run, simulate_devices
from cdcd_jax.cli.plan_text import describe_mesh_plan, describe_table, find_limit
from cdcd_jax.experiment.plan import build_plan
from cdcd_jax.planning import topology
from cdcd_jax.planning.compiled import Collective
from cdcd_jax.planning.flops import Cost
from cdcd_jax.planning.hardware import HARDWARE, predict_step
from cdcd_jax.planning.mesh_plan import Memory, MeshPlan, plan_mesh
from tests.support.quick_compile import quick_environment

ROOT = Path(__file__).parent.parent.parent
H200 = HARDWARE["h200"]
SIZES = {
    "coco_sample_inter": (1024, 8192, 32),
    "cub200_step_intra": (1024, 8192, 24),
    "imagenet_step_intra": (256, 16384, 192),
    "tiktok_step_intra": (344, 2048, 48),
    "groove_step_inter": (86, 512, 32),
    "glyphs_vanilla": (64, 512, 64),
    "emoji_sample_inter": (64, 1024, 64),
    "grocery_sample_inter": (64, 512, 64),
    "digits_step_intra": (64, 17, 64),
}
"""Of one configuration of each kind: tokens of an example, kinds of tokens, batch."""


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)


def load(name, variant="", **changes):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    with config.unlocked():
        config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config.lock()


def test_the_largest_configuration_is_described_without_its_data():
    config = load("aist_step_intra")
    assert config.data.path is None
    run = build_plan(config)
    # As many as tests/test_music_configs.py counts of the built one.
    assert run.planned.count_parameters()["denoiser"] == 407_199_744 - (1033 - 344) * 1024 + 19 * 16
    assert (run.length, run.example, run.num_devices) == (344, "344 tokens of 2048 kinds", 1)
    shapes = {name: leaf.shape for name, leaf in run.planned.batch["cond"].items()}
    assert shapes == {"motion": (1, 120, 219), "video": (1, 1, 2048), "genre": (1,)}
    assert run.planned.batch["intra_negatives"].shape == (1, 10, 344)
    assert all(
        isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(run.planned.state)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_every_kind_is_described_at_its_size(name):
    config = load(name)
    run = build_plan(config)
    length, vocab_size, batch_size = SIZES[name]
    assert run.example == f"{length} tokens of {vocab_size} kinds"
    assert (run.length, run.planned.batch_size) == (length, batch_size)
    model = run.planned.cost(run.planned.batch_size, saving=False).flops
    computed = run.planned.cost(run.planned.batch_size).flops
    # Every weight but those of tables takes part three times, and attention besides.
    assert model > 2 * sum(run.planned.count_parameters().values())
    # Blocks are made again whole, or all but their products with parameters.
    least, most = {"none": (1, 1), "dots": (1.01, 1.1), "blocks": (1.1, 4 / 3)}[
        config.denoiser.remat
    ]
    assert least * model <= computed <= most * model


def test_sound_alone_has_no_other_plan_than_the_codec_of_it():
    with pytest.raises(ValueError, match=r'data.name = "sound" is for a codec alone'):
        build_plan(load("sound_codec"), "train")
    run = build_plan(load("sound_codec"))
    assert (run.program, run.example) == ("codec", "audio [16384] of float32")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("digits_vanilla", r'codec.name = "pixels" is not trained, and has no step'),
        ("groove_vanilla", r'codec.name = "spectra" is fitted in one pass over the data'),
    ],
)
def test_a_codec_without_steps_has_no_plan(name, match):
    with pytest.raises(ValueError, match=match):
        build_plan(load(name), "codec")


def test_the_step_of_a_codec_is_planned_without_its_data(tmp_path, capsys):
    config = load("sound_codec", "smoke", data__name="sound")
    assert config.data.path is None
    run = build_plan(config)
    plan_run(run, H200, tmp_path, devices=2, table=False)
    said = capsys.readouterr().out
    assert "parameters (level_0" in said
    assert "Mesh: 2 x H200 (data 2 x fsdp 1 x tensor 1), batch of 8" in said
    assert "all-reduce" in said
    assert "  gradients " in said
    assert "examples/s; an estimate, bounded by" in said
    assert json.loads((tmp_path / "plan.json").read_text())["program"] == "codec"


def test_a_sampler_is_planned_as_an_evaluation_runs_it(tmp_path, capsys):
    """Devices share the rows, which are filled up; they exchange the tokens at the end alone."""
    run = build_plan(
        load("glyphs_sample_inter", "smoke", eval__batch_size=20, eval__num_steps=(3, 2)), "sample"
    )
    plan_run(run, H200, tmp_path, devices=8, table=False)
    said = capsys.readouterr().out
    assert "Sampling: num_steps 3, truncation 0.86, temperature 1.0" in said
    assert "batch of 20" in said  # 24 rows
    assert "  optimizer " not in said
    assert "  gradients " not in said
    assert "Batch time: " in said
    assert "tokens/s; an estimate, bounded by" in said
    plan = json.loads((tmp_path / "plan.json").read_text())["plan"]
    # Each device has the tokens of three rows, and gets those of all.
    sent = {"count": 1, "bytes_sent_per_device": 7 / 8 * 24 * 64 * 4}
    assert plan["collectives"] == {"all-gather": sent}
    size = 4 * sum(run.planned.count_parameters().values())
    assert plan["bytes_per_device"]["parameters"] == size
    one, two = (run.planned.count_cost(count, saving=True).flops for count in (1, 2))
    assert plan["flops_per_device"] == 2 * two - one


def made(num_devices, batch_size=16, *, flops=1e15, sent=10**9):
    cost = Cost(flops=flops / num_devices, bytes=1e9)
    group = tuple(range(num_devices))
    collectives = [Collective("all-reduce", sent, group, 2)] if num_devices > 1 else []
    return MeshPlan(
        mesh={"data": num_devices, "fsdp": 1, "tensor": 1},
        batch_size=batch_size,
        memory=Memory(10**9, 10**9, 2 * 10**9, 100, 100, 10**9, 10**9),
        collectives=collectives,
        cost=cost,
        time=predict_step(cost, collectives, H200),
    )


def test_a_plan_names_memory_collectives_and_both_times():
    text = describe_mesh_plan(made(16), H200)
    assert "total         6 GB: fits in 141 GB of one H200: 4%" in text
    assert "all-reduce                2 times, 3.75 GB sent by each device" in text
    assert "158 ms if collectives hide behind computation, 167 ms if they do not" in text
    assert "matrix products   158 ms at 40% of 989 TFLOP/s, which is assumed" in text
    assert "does not fit in 5 GB" in describe_mesh_plan(made(1), H200._replace(memory=5e9))
    assert "  none" in describe_mesh_plan(made(1), H200)


def test_the_table_says_where_scaling_stops():
    enough = [made(count, flops=1e17) for count in (1, 2, 4)]
    assert find_limit(enough, 16) == "Every row keeps 50% of the first row's throughput per device."
    few = [made(count, flops=1e13) for count in (1, 2, 4, 8, 16)]
    assert "collectives between nodes" in find_limit([few[0], few[-1]], 16)
    assert "Scaling stops paying at 4 devices" in find_limit(few, 16)
    assert "goes to collectives inside a node" in find_limit(few, 16)
    grown = [*enough, made(32, batch_size=32, flops=1e17)]
    assert find_limit(grown, 16).startswith("At a batch of 16, 4 devices are the most that have")
    header, *rows = describe_table(enough, 16).splitlines()
    assert "efficiency" in header
    assert rows[0].endswith("100%")
    assert describe_table([], 16) == "No number of devices of the table fits the mesh."


def test_flags_of_plans_are_for_plans():
    FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(mode="plan", devices=8, hardware="h100"):
        check_flags()
    with (
        flagsaver.flagsaver(mode="plan", devices=8, topology="1x8"),
        pytest.raises(ValueError, match="topology is not read with --devices"),
    ):
        check_flags()
    for given in ({"devices": 8}, {"hardware": "h100"}, {"topology": "1x8"}):
        with (
            flagsaver.flagsaver(mode="train", **given),
            pytest.raises(ValueError, match=f"{next(iter(given))} is not read by --mode=train"),
        ):
            check_flags()


def test_devices_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="devices = 0 must be at least 1"):
        simulate_devices(0)
    with pytest.raises(ValueError, match=r"devices = 9, but JAX has started with 8"):
        simulate_devices(9)


def test_devices_that_do_not_fit_the_configuration_are_named(tmp_path):
    run = build_plan(load("digits_vanilla", "smoke", mesh__fsdp=2))
    with pytest.raises(ValueError, match=r"mesh.fsdp = 2 .* does not divide the 3 devices"):
        plan_run(run, H200, tmp_path, devices=3)
    with pytest.raises(ValueError, match=r"batch_size = 16 does not divide .* 6 devices; take 12"):
        plan_run(run, H200, tmp_path, devices=6)
    assert fitting_batch_size(run, 8) == 16
    assert fitting_batch_size(run, 64) == 64
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_plan_is_printed_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan_mode, "TABLE", (1, 8))
    run = build_plan(load("digits_sample_inter", "smoke", mesh__fsdp=2))
    path = plan_run(run, H200, tmp_path / "run", devices=8)
    said = capsys.readouterr().out
    assert "Mesh: 8 x H200 (data 4 x fsdp 2 x tensor 1), batch of 16" in said
    assert (
        "A mesh of 1 is left out: mesh.fsdp = 2 x tensor = 1 does not divide the 1 devices" in said
    )
    written = json.loads(path.read_text())
    assert [row["num_devices"] for row in written["table"]] == [8]
    assert written["plan"] == written["table"][0]
    assert sum(written["parameters"].values()) == sum(run.planned.count_parameters().values())
    bytes_per_device = written["plan"]["bytes_per_device"]
    total = bytes_per_device.pop("total")
    assert total == sum(bytes_per_device.values())


@pytest.mark.slow
def test_a_compiler_that_is_missing_has_a_stand_in(tmp_path, run_here, monkeypatch):
    assert len(jax.devices()) == 8  # JAX has started with those of the other tests
    monkeypatch.setattr(topology, "find_spec", lambda name: None)
    command = ["--config=configs/digits_vanilla.py:smoke", "--mode=plan", "--hardware=tpu-v5e"]
    code, output = run_here(*command, "--topology=2x2", f"--workdir={tmp_path}/run")
    assert code == 0, output
    assert 'not installed: pip install "cdcd_jax[tpu]". That for CPUs stands in for it.' in output
    assert "Mesh: 4 x TPU v5e (data 4 x fsdp 1 x tensor 1), batch of 16" in output
    assert "sent/device" not in output  # no table of other numbers of devices
    code, output = run_here(*command, "--topology=4", f"--workdir={tmp_path}/run")
    assert code == 2
    assert "topology = 4 is no arrangement of tpu-v5e; take one such as 1x1, 2x2" in output


@pytest.mark.slow
def test_what_devices_send_each_other_follows_from_the_parameters():
    """Data parallel: 4 bytes of gradient a parameter. Split weights are gathered besides."""
    whole = build_plan(load("digits_vanilla"))
    size = 4 * sum(whole.planned.count_parameters().values())
    for fsdp in (1, 8):
        run = build_plan(load("digits_vanilla", mesh__fsdp=fsdp))
        mesh, shardings = run.arrange(jax.devices()[:8])
        plan = plan_mesh(run.planned, mesh, shardings, H200)
        moved = {
            kind: sum(c.size * c.runs for c in plan.collectives if c.kind == kind)
            for kind in plan.collected()
        }
        # The norms of gradients and the loss of parts of the batch are reduced as well. XLA reduces
        # for CPUs where it would scatter elsewhere, so split weights are no different in this.
        assert moved["all-reduce"] == pytest.approx(size, rel=0.02)
        if fsdp == 1:
            assert set(moved) == {"all-reduce"}
        else:
            # Kernels are gathered for the forward and again for the backward pass; tables, whose
            # few rows are looked up, need not be.
            assert size < moved["all-gather"] < 2 * size
            memory = plan.memory
            kept = memory.parameters + memory.average + memory.optimizer
            assert kept == pytest.approx(4 * size / 8, rel=0.1)


@pytest.mark.slow
def test_the_command_imagines_devices_and_ends_with_a_sentence(fork_server, tmp_path):
    arguments = ["--mode=plan", f"--workdir={tmp_path / 'run'}", "--devices=1023"]
    arguments += ["--config=configs/digits_vanilla.py:smoke", "--config.mesh.fsdp=2"]
    environment = dict(os.environ, JAX_PLATFORMS="") | quick_environment()
    done = fork_server.popen(arguments, env=environment, stdout=tmp_path / "output.txt")
    output = done.finish()
    assert done.returncode == 2
    assert output.splitlines()[-1] == (
        "Error: mesh.fsdp = 2 x tensor = 1 does not divide the 1023 devices; take sizes whose "
        "product does"
    )
    assert "Traceback" not in output
