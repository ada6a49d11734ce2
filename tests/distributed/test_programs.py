"""Compiled programs that a run keeps: where, and that none but the very same is taken again."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from cdcd_jax.distributed.devices import keep_programs
from tests.support.command_here import compiled_in


@pytest.fixture
def kept(monkeypatch):
    """Start without a folder for programs, and restore the one of the session."""
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    yield lambda: jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


@pytest.mark.parametrize(("backend", "keeps"), [("gpu", True), ("tpu", True), ("cpu", False)])
def test_programs_of_accelerators_are_kept_with_the_run(
    kept, monkeypatch, tmp_path, backend, keeps
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    keep_programs(tmp_path / "compiled")
    assert kept() == (str(tmp_path / "compiled") if keeps else None)
    assert (tmp_path / "compiled").exists() == keeps


def test_a_folder_that_is_chosen_is_taken(kept, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "chosen"))
    keep_programs(tmp_path / "compiled")
    assert kept() == str(tmp_path / "chosen")
    assert [path.name for path in tmp_path.iterdir()] == ["chosen"]


def test_a_folder_that_cannot_be_written_costs_one_sentence(kept, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    (tmp_path / "compiled").write_text("a file")
    keep_programs(tmp_path / "compiled")
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1
    assert (
        f"not kept, so each start compiles them: [Errno 17] File exists: '{tmp_path}" in printed[0]
    )
    assert "set JAX_COMPILATION_CACHE_DIR to a folder" in printed[0]
    assert kept() is None


def test_no_program_but_the_very_same_is_taken(tmp_path):
    """Not one that differs in a number only, nor one whose writing was cut short."""

    def run(factor):
        jax.clear_caches()
        return float(jax.jit(lambda x: jnp.sin(x) * factor)(jnp.float32(1.0)))

    def entries():
        return {path: path.read_bytes() for path in tmp_path.glob("*-cache")}

    with compiled_in(tmp_path):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        one, first = run(2.0), entries()
        assert run(3.0) == pytest.approx(1.5 * one)
        second = entries()
        assert first.keys() < second.keys()
        assert run(2.0) == one
        assert entries() == second  # taken, not compiled again
        for path, content in second.items():
            path.write_bytes(content[: len(content) // 2])
        with pytest.warns(UserWarning, match="Error reading persistent compilation cache entry"):
            assert run(2.0) == one
