"""A codec that is registered from outside, as docs/extending.md describes it."""

import json

CONFIG = "--config=tests/extensions/binary_digits.py"


def test_a_codec_from_outside_is_fitted_trained_on_and_sampled_from(run_forked, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    code, output = run_forked(CONFIG, workdir, "--mode=train")
    assert code == 0, output
    assert "training it first\nFitted 16 codes" in output
    assert "test images: PSNR" in output
    assert "There are no tokens" in output
    assert (tmp_path / "run" / "model" / "codec.safetensors").exists()
    summary = json.loads((tmp_path / "run" / "codec" / "summary.json").read_text())
    assert summary["tokens_kept"] == 1.0
    code, output = run_forked(CONFIG, workdir, "--mode=sample")
    assert code == 0, output
    assert list((tmp_path / "run" / "samples").glob("*.png"))


def test_its_keys_and_values_are_checked_like_the_others(run_forked, tmp_path):
    for flag, message in {
        "--config.codec.image_size=15": "codec.image_size = 15 must be even",
        "--config.codec.patch_size=2": "codec.patch_size is not a key: did you mean image_size?",
        "--config.codec_fit.num_pictures=x": "codec_fit.num_pictures",
        "--config.codec.name=binary": 'codec.name = "binary" is not a codec: did you mean binary_p',
    }.items():
        code, output = run_forked(CONFIG, f"--workdir={tmp_path}", flag)
        assert code == 2, output
        assert message in output
