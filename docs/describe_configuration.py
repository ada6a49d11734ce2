"""Write docs/configuration.md from the comments beside the keys of the configurations.

python docs/describe_configuration.py
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from cdcd_jax.configs import captions, common, images, music  # noqa: E402

PAGE = ROOT / "docs" / "configuration.md"
BASES = {"digits": common, "images": images, "captions": captions, "music": music}
OTHERS = ("configs/imagenet.py", "configs/coco.py")
"""Files that add keys to their base."""

HEAD = """# Configuration

Every key of a configuration, and what it is for. `python docs/describe_configuration.py` writes
this page from the comments beside the keys in `cdcd_jax/configs/`; change those. A default is that
of the first base in its line: *digits* (`common.py`), *images* (`images.py`), *captions*
(`captions.py`), *music* (`music.py`), *jukebox* (`music.add_jukebox`). An experiment in `configs/`
changes some of them, and `--config.SECTION.KEY=VALUE` any.
"""


def describe() -> str:
    """Return the page."""
    explained = dict(_explanations())
    explained |= {
        ("codec_optimizer", key): "As of `optimizer`."
        for section, key in explained
        if section == "optimizer"
    }
    defaults: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    for base, config in _configurations():
        for section in config:
            for key in config[section]:
                defaults.setdefault((section, key), []).append((base, config[section][key]))
    assert (missing := defaults.keys() - explained.keys()) == set(), f"not explained: {missing}"
    order = list(dict.fromkeys(section for section, _ in [*defaults, *explained]))
    lines = [HEAD]
    for section in order:
        lines += [f"## {section}", "", "| key | default | of | meaning |", "|---|---|---|---|"]
        for place in dict.fromkeys([*defaults, *explained]):
            if place[0] == section:
                given = defaults.get(place, [])
                value = f"`{given[0][1]!r}`" if given and given[0][1] is not None else "none"
                bases = ", ".join(base for base, _ in given) or "some experiments"
                meaning = explained[place].replace("|", "\\|").replace("<", "&lt;")
                lines.append(f"| `{place[1]}` | {value} | {bases} | {meaning} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _configurations() -> Iterator[tuple[str, Any]]:
    for name, module in BASES.items():
        yield name, module.get_config()
    config = music.get_config()
    music.add_jukebox(config)
    yield "jukebox", config


def _explanations() -> Iterator[tuple[tuple[str, str], str]]:
    """Yield section and key with the comment above them; the first base that has one decides."""
    seen = set()
    for file in [*(module.__file__ for module in BASES.values()), *(ROOT / x for x in OTHERS)]:
        text = Path(str(file)).read_text(encoding="utf-8")
        for section, key, line in sorted(_keys(ast.parse(text)), key=lambda found: found[2]):
            comment = _comment_above(text.splitlines(), line)
            if comment and (section, key) not in seen:
                seen.add((section, key))
                yield (section, key), comment


def _keys(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Yield section, key and line of all that a file sets."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name("config"), attr=section)],
                value=ast.Dict(keys=keys),
            ):
                for key in keys:
                    if isinstance(key, ast.Constant):
                        yield section, str(key.value), key.lineno
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Attribute(ast.Name("config"), section), attr=key)]
            ):
                yield section, key, node.lineno
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(ast.Name("config"), section), attr="update"),
                keywords=keywords,
            ):
                for keyword in keywords:
                    yield section, str(keyword.arg), keyword.lineno


def _comment_above(lines: list[str], line: int) -> str:
    words: list[str] = []
    for text in reversed(lines[: line - 1]):
        if not text.strip().startswith("# "):
            break
        words.insert(0, text.strip()[2:])
    return " ".join(words)


if __name__ == "__main__":
    PAGE.write_text(describe(), encoding="utf-8")
