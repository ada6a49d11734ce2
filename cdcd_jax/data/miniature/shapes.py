"""Images of coloured shapes, with captions that describe them."""

import io

import numpy as np
from PIL import Image, ImageDraw

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")

SHAPES = ("square", "circle", "triangle", "cross")


def draw_shape(
    colour: str, shape: str, *, width: int = 96, height: int = 72, seed: int = 0
) -> bytes:
    """Draw a shape on a grey ground, somewhere near the middle.

    Args:
        colour: Any colour name of Pillow.
        shape: One of ``SHAPES``.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        seed: Of the shape's size and place, and of the ground's brightness.

    Returns:
        A JPEG file.

    >>> draw_shape("red", "circle")[6:10]
    b'JFIF'
    """
    random = np.random.default_rng(seed)
    ground = int(random.integers(90, 150))
    image = Image.new("RGB", (width, height), (ground, ground, ground))
    side = min(width, height) * random.uniform(0.4, 0.6)
    x, y = (np.array([width, height]) - side) * random.uniform(0.3, 0.7, 2)
    box, draw = (x, y, x + side, y + side), ImageDraw.Draw(image)
    if shape == "square":
        draw.rectangle(box, fill=colour)
    elif shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "triangle":
        draw.polygon([(x, y + side), (x + side, y + side), (x + side / 2, y)], fill=colour)
    elif shape == "cross":
        third = side / 3
        draw.rectangle((x + third, y, x + 2 * third, y + side), fill=colour)
        draw.rectangle((x, y + third, x + side, y + 2 * third), fill=colour)
    else:
        raise ValueError(f'shape = "{shape}" must be one of {", ".join(SHAPES)}')
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def describe_shape(colour: str, shape: str) -> tuple[str, ...]:
    """Describe a shape in ten different ways.

    >>> describe_shape("red", "square")[:2]
    ('A red square.', 'a square that is red')
    """
    return (
        f"A {colour} {shape}.",
        f"a {shape} that is {colour}",
        f"something {colour} on a grey ground",
        f"one {colour} {shape} on grey",
        f"There is a {shape} in {colour}.",
        f"the {shape} is {colour}",
        f"an image of a {colour} {shape}",
        f"a single {shape}, painted {colour}",
        f"a {colour} shape: a {shape}",
        f"grey, and in the middle a {colour} {shape}",
    )
