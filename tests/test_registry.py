"""Tables of names, and what is said of a wrong one."""

import pytest

from cdcd_jax.registry import Table, register


def test_an_entry_is_found_by_its_name_and_a_wrong_name_is_reported():
    table = Table("codec")
    table.add("pixels", 1)
    table.add("pixels", 1)  # a configuration file may be read twice
    assert table.find("pixels", "codec.name") == 1
    assert dict(table) == {"pixels": 1}
    with pytest.raises(
        ValueError, match=r'codec\.name = "pixel" is not a codec: did you mean pixels'
    ):
        table.find("pixel", "codec.name")
    with pytest.raises(ValueError, match='there is a codec "pixels" already'):
        table.add("pixels", 2)
    with pytest.raises(ValueError, match="is not a name"):
        table.add("two words", 2)


def test_a_kind_is_one_of_six():
    with pytest.raises(ValueError, match="kind = 'network' must be one of source, codec"):
        register("network", "mine", object())
