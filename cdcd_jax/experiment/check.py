"""Checks that a configuration can be trained and scored, before any work.

Misspelled, unknown and missing keys are named, and so are data, codec and condition that do not go
together, and values of the wrong kind. Which values of the kind will do is checked where they are
used.
"""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

from cdcd_jax.experiment.keys import ALWAYS, VARIANT_OF, section_keys
from cdcd_jax.registry import CODECS, CONDITIONS, SOURCES, suggest
from cdcd_jax.settings.keys import Keys
from cdcd_jax.settings.kinds import PLACE, check_kind, find_kind
from cdcd_jax.spacing import round_up
from cdcd_jax.tasks.codecs import find_codec


def check_settings(config: Any, *, for_codec: bool = False) -> None:
    """Check sections, combination, keys and kinds of values of a configuration.

    Args:
        config: The whole configuration.
        for_codec: Whether data will do that a codec, but no diffusion, can be trained on.

    Raises:
        ValueError: If a section or key is unknown, with the one that may be meant, or missing; if
            a value is of the wrong kind; or if data, codec and condition do not go together.
    """
    table = section_keys()
    for name in config:
        if name not in table:
            raise ValueError(f"there is no section {name}: {suggest(name, table)}")
        if not hasattr(config[name], "keys"):
            raise ValueError(f"{name} = {config[name]!r} must be a section, with keys of its own")
        for key in config[name]:
            check_kind(name, key, config[name][key])
    for name in ALWAYS:
        _require_section(config, name)
    for section, key in VARIANT_OF.values():
        if key not in config[section]:
            raise ValueError(f"{section}.{key} is missing; give it")
    check_combination(config, for_codec=for_codec)
    stages = find_codec(config).stages(config)
    for name in stages:
        _require_section(config, name)
    for name in config:
        _check_section(config, name, table[name])
    trained = [name for name in ("train", "codec_train") if name in ("train", *stages)]
    for name in trained:
        parts, size = config[name].num_microbatches, config[name].batch_size
        if size % parts:
            raise ValueError(
                f"{name}.num_microbatches = {parts} must divide {name}.batch_size = {size}; take "
                f"a batch_size of {round_up(size, parts)}"
            )


def check_combination(config: Any, *, for_codec: bool = False) -> None:
    """Raise a ValueError unless data, codec and condition exist and go together."""
    name, codec, kind = config.data.name, config.codec.name, config.condition.kind
    tasks = SOURCES.find(name, "data.name").tasks
    ours = tasks[0].codecs()
    CODECS.find(codec, "codec.name")
    if codec not in ours:
        raise ValueError(
            f'codec.name = "{codec}" is not a codec of {tasks[0].noun}, which data.name = "{name}" '
            f"holds; take {_either(ours)}"
        )
    wanted = CONDITIONS.find(kind, "condition.kind").needs
    provided = [need for task in tasks for need in task.provides]
    if provided and wanted not in provided:
        fitting = [other for other, entry in CONDITIONS.items() if entry.needs in provided]
        raise ValueError(
            f'condition.kind = "{kind}" needs {wanted}, and data.name = "{name}" has none; '
            f"take {_either(fitting)}"
        )
    if not provided and not for_codec:
        raise ValueError(
            f'data.name = "{name}" is for a codec alone, with --mode=codec: it holds no dances, so '
            "nothing says what such music is to be generated from"
        )


def _require_section(config: Any, name: str) -> None:
    if name not in config:
        raise ValueError(
            f"the section {name} is missing; begin with a base configuration, as "
            "configs/digits.py does with cdcd_jax/configs/common.py"
        )


def _check_section(config: Any, name: str, variants: Mapping[str, Keys]) -> None:
    """Check the keys of one section; of an unknown variant, as if it were any of them."""
    section, where = config[name], ""
    of_all = frozenset().union(*(keys.known for keys in variants.values()))
    keys = variants.get("")
    if name in VARIANT_OF:
        of, key = VARIANT_OF[name]
        keys, where = variants.get(config[of][key]), f'{of}.{key} = "{config[of][key]}"'
    keys = keys or Keys(frozenset(), of_all)
    for given in section:
        if given not in of_all:
            raise ValueError(f"{name}.{given} is not a key: {suggest(given, of_all)}")
        if keys.strict and given not in keys.known:
            raise ValueError(f"{name}.{given} is not a key of {where}; leave it out")
        value = section[given]
        if given not in keys.known and value is not None and find_kind(name, given) is PLACE:
            raise ValueError(
                f"{name}.{given} = {shorten(str(value), 80)} is not read where {where}; leave it "
                f"out, or give another {where.partition(' ')[0]}"
            )
    for key in sorted(keys.needed):
        if key not in section:
            raise ValueError(f"{name}.{key} is missing{where and ', a key of ' + where}; give it")


def _either(names: Sequence[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)
