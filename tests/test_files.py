"""A file is written whole or not at all."""

import stat

import pytest

from cdcd_jax.io import atomic_write


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for content in ("first", "second"):
        before = path.read_text() if path.exists() else None
        with atomic_write(path) as part:
            part.write_text(content)
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == content
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_half_way_changes_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic_write(path, suffix=".tmp") as part:
            part.write_text("ha")
            assert part.parent == tmp_path
            assert part.name.startswith(".a.txt.")
            assert part.suffix == ".tmp"
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_written_is_an_error_and_the_rights_are_the_usual_ones(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "usual").write_text("")
    with atomic_write(tmp_path / "a") as part:
        part.write_text("")
    usual, ours = ((tmp_path / name).stat().st_mode for name in ("usual", "a"))
    assert stat.S_IMODE(ours) == stat.S_IMODE(usual)
