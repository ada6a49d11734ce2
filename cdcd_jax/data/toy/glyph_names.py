"""The characters and styles of the glyphs, and their names."""

import unicodedata

SCRIPTS = (
    "digit",
    "latin capital letter",
    "latin small letter",
    "greek capital letter",
    "greek small letter",
    "cyrillic capital letter",
    "cyrillic small letter",
)
"""Kinds of characters: how their Unicode names begin, in lower case."""

FAMILIES = ("sans", "serif", "mono")

STYLES = tuple(
    " ".join(filter(None, (family, bold, italic)))
    for family in FAMILIES
    for bold in ("", "bold")
    for italic in ("", "italic")
)
"""Names of the styles in the order of their numbers."""

_RANGES = (
    ("0", "9"),
    ("A", "Z"),
    ("a", "z"),
    ("\N{LATIN CAPITAL LETTER A WITH GRAVE}", "\N{LATIN SMALL LETTER Y WITH DIAERESIS}"),
    ("\N{GREEK CAPITAL LETTER ALPHA}", "\N{GREEK CAPITAL LETTER OMEGA}"),
    ("\N{GREEK SMALL LETTER ALPHA}", "\N{GREEK SMALL LETTER OMEGA}"),
    ("\N{CYRILLIC CAPITAL LETTER A}", "\N{CYRILLIC SMALL LETTER YA}"),
    ("\N{CYRILLIC CAPITAL LETTER IO}", "\N{CYRILLIC CAPITAL LETTER IO}"),
    ("\N{CYRILLIC SMALL LETTER IO}", "\N{CYRILLIC SMALL LETTER IO}"),
)


def name_character(character: str) -> str:
    """Return a character's Unicode name in lower case, empty if it has none.

    >>> name_character("\N{GREEK CAPITAL LETTER OMEGA}")
    'greek capital letter omega'
    """
    return unicodedata.name(character, "").lower()


def find_script(character: str) -> str | None:
    """Return which of ``SCRIPTS`` a character belongs to, None if to none of them.

    >>> find_script("7"), find_script("q"), find_script("?")
    ('digit', 'latin small letter', None)
    """
    name = name_character(character)
    return next((script for script in SCRIPTS if name.startswith(f"{script} ")), None)


# The ranges hold gaps and the signs of multiplication and division.
CHARACTERS = "".join(
    chr(code)
    for first, last in _RANGES
    for code in range(ord(first), ord(last) + 1)
    if find_script(chr(code))
)
"""All characters of the glyphs, in the order of their numbers."""


def caption_glyph(character: str, style: str) -> tuple[str, ...]:
    """Describe a character in a style, the canonical caption first.

    Args:
        character: The character.
        style: Its style, e.g. "serif bold italic".

    Returns:
        Captions that say the same in different order.

    >>> caption_glyph("7", "serif bold")[:2]
    ('digit seven, serif bold', 'serif bold digit seven')
    """
    name = name_character(character)
    return f"{name}, {style}", f"{style} {name}", f"the {name} in {style}"
