"""The renderer: a scene becomes a 64 x 64 picture.

Everything is drawn four times too large and scaled down, which smooths the edges. A seed moves
the objects by a few pixels and scatters the background, so that one scene has many pictures.
"""

import math
import random
from typing import Any

from PIL import Image, ImageChops, ImageDraw

from preimage_miniworld.scene import Scene, SceneObject

__all__ = ["IMAGE_SIZE", "render"]

IMAGE_SIZE = 64
_SCALE = 4
_FULL = IMAGE_SIZE * _SCALE

_Colour = tuple[int, int, int]
_Point = tuple[float, float]

_PALETTE: dict[str, _Colour] = {
    "red": (226, 44, 52),
    "orange": (248, 138, 28),
    "yellow": (252, 214, 40),
    "green": (44, 162, 70),
    "blue": (38, 98, 224),
    "purple": (128, 58, 190),
    "pink": (248, 132, 188),
    "white": (248, 248, 250),
}
_INK: _Colour = (40, 32, 48)

# Radius in pixels by number of objects and size.
_RADII = {(1, "small"): 12.5, (1, "large"): 21.0, (2, "small"): 9.5, (2, "large"): 13.7}
_OFFSETS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
# Where a face sits in a shape: centre offset and size, in radii.
_FACES = {
    "circle": (0.0, 1.0),
    "square": (0.0, 1.0),
    "triangle": (0.28, 0.72),
    "star": (0.05, 0.72),
    "heart": (-0.12, 0.9),
    "diamond": (0.0, 0.78),
    "flower": (0.0, 0.85),
    "cross": (0.0, 0.72),
}


def render(scene: Scene, seed: int = 0) -> Image.Image:
    """Draw a scene.

    Args:
        scene: What to draw.
        seed: Chooses the small shifts; equal seeds give equal pictures.

    Returns:
        An RGB picture of 64 x 64 pixels.
    """
    scene = scene.canonical()
    rng = random.Random(f"{scene.key}/{seed}")
    picture = _background(scene.background, rng)
    for index, entry in enumerate(scene.objects):
        radius = _RADII[len(scene.objects), entry.size] * rng.uniform(0.96, 1.04) * _SCALE
        centre = _centre(scene, index, radius, rng)
        _draw_object(picture, entry, centre, radius, scene.background)
        if index == 0 and scene.mood != "none":
            _draw_face(picture, entry, centre, radius, scene.mood)
    return picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)


def _centre(scene: Scene, index: int, radius: float, rng: random.Random) -> _Point:
    middle = _FULL / 2
    if scene.relation is None:
        slack = min(3.0 * _SCALE, middle - radius - 1.0 * _SCALE)
        return middle + rng.uniform(-slack, slack), middle + rng.uniform(-slack, slack)
    sign = 1 if index == 0 else -1
    x_side, y_side = (sign * side for side in _OFFSETS[scene.relation])
    apart, slack = 15.5 * _SCALE, 1.0 * _SCALE
    across = 4.0 * _SCALE
    x = middle + x_side * apart + rng.uniform(-1, 1) * (slack if x_side else across)
    y = middle + y_side * apart + rng.uniform(-1, 1) * (slack if y_side else across)
    return x, y


def _gradient(top: _Colour, bottom: _Colour, height: int) -> Image.Image:
    strip = Image.new("RGB", (1, 2))
    strip.putdata([top, bottom])
    return strip.resize((_FULL, height), Image.Resampling.BILINEAR)


def _background(name: str, rng: random.Random) -> Image.Image:
    picture = Image.new("RGB", (_FULL, _FULL))
    horizon = int((0.60 + rng.uniform(-0.03, 0.03)) * _FULL)
    draw = ImageDraw.Draw(picture)
    if name == "night":
        picture.paste(_gradient((12, 14, 44), (44, 36, 92), _FULL))
        for _ in range(26):
            x, y = rng.uniform(0, _FULL), rng.uniform(0, _FULL)
            _disc(draw, (x, y), rng.uniform(0.4, 0.9) * _SCALE, (236, 232, 196))
        return picture
    if name == "meadow":
        picture.paste(_gradient((158, 212, 246), (220, 240, 250), horizon))
        picture.paste(_gradient((142, 206, 94), (92, 168, 66), _FULL - horizon), (0, horizon))
        left = rng.uniform(-0.2, 0.5) * _FULL
        hill = (left, horizon - 0.13 * _FULL, left + 0.8 * _FULL, horizon + 0.4 * _FULL)
        draw.ellipse(hill, fill=(142, 206, 94))
        for _ in range(14):
            x, y = rng.uniform(0, _FULL), rng.uniform(horizon + 0.06 * _FULL, _FULL)
            blade = [(x - 4, y), (x - 1, y - 11), (x + 1, y), (x + 5, y - 9), (x + 5, y)]
            draw.polygon(blade, fill=(70, 146, 54))
        return picture
    if name == "beach":
        picture.paste(_gradient((196, 232, 248), (244, 246, 240), horizon))
        sea = int(0.2 * _FULL)
        picture.paste(_gradient((34, 148, 188), (92, 200, 214), sea), (0, horizon - sea))
        picture.paste(_gradient((246, 224, 168), (226, 190, 122), _FULL - horizon), (0, horizon))
        for _ in range(22):
            spot = rng.uniform(0, _FULL), rng.uniform(horizon + 8, _FULL)
            _disc(draw, spot, 0.45 * _SCALE, (200, 160, 96))
        return picture
    picture.paste(_gradient((150, 170, 196), (206, 216, 230), horizon))
    picture.paste(_gradient((240, 246, 252), (216, 228, 242), _FULL - horizon), (0, horizon))
    right = rng.uniform(0.3, 0.7) * _FULL
    drift = (right, horizon - 0.08 * _FULL, right + 0.9 * _FULL, horizon + 0.3 * _FULL)
    draw.ellipse(drift, fill=(238, 244, 251))
    for _ in range(22):
        _disc(draw, (rng.uniform(0, _FULL), rng.uniform(0, _FULL)), 0.8 * _SCALE, (255, 255, 255))
    return picture


def _disc(draw: ImageDraw.ImageDraw, centre: _Point, radius: float, fill: Any) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _outline(shape: str, centre: _Point, radius: float) -> list[_Point]:
    x, y = centre
    if shape == "circle":
        corners = [(math.cos(a), math.sin(a)) for a in _turns(72)]
    elif shape == "square":
        corners = [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)]
    elif shape == "triangle":
        corners = [(0.0, -1.0), (1.04, 0.84), (-1.04, 0.84)]
    elif shape == "diamond":
        corners = [(0.0, -1.1), (0.84, 0.0), (0.0, 1.1), (-0.84, 0.0)]
    elif shape == "star":
        lengths = [1.14 if index % 2 == 0 else 0.52 for index in range(10)]
        corners = [
            (length * math.sin(a), 0.06 - length * math.cos(a)) for a, length in zip(_turns(10), lengths, strict=True)
        ]
    elif shape == "heart":
        corners = [
            (
                math.sin(a) ** 3 * 1.05,
                -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 15.5 - 0.08,
            )
            for a in _turns(72)
        ]
    elif shape == "flower":
        corners = [
            ((0.86 + 0.24 * math.cos(6 * a)) * math.sin(a), (0.86 + 0.24 * math.cos(6 * a)) * math.cos(a))
            for a in _turns(120)
        ]
    else:
        arm, end = 0.38, 1.0
        corners = [
            (-arm, -end), (arm, -end), (arm, -arm), (end, -arm), (end, arm), (arm, arm),
            (arm, end), (-arm, end), (-arm, arm), (-end, arm), (-end, -arm), (-arm, -arm),
        ]  # fmt: skip
    return [(x + u * radius, y + v * radius) for u, v in corners]


def _turns(count: int) -> list[float]:
    return [2 * math.pi * index / count for index in range(count)]


def _mix(left: _Colour, right: _Colour, share: float) -> _Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(left, right, strict=True))
    return red, green, blue


def _draw_object(picture: Image.Image, entry: SceneObject, centre: _Point, radius: float, background: str) -> None:
    outline = _outline(entry.shape, centre, radius)
    colour = _PALETTE[entry.colour]
    shadow = Image.new("L", picture.size)
    fallen = [(u + 1.2 * _SCALE, v + 1.4 * _SCALE) for u, v in outline]
    ImageDraw.Draw(shadow).polygon(fallen, fill=70)
    picture.paste((10, 10, 30), mask=shadow)
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    picture.paste(_mix(colour, (255, 255, 255), 0.06), mask=mask)
    pattern = _pattern(entry.texture, picture.size, centre, radius)
    accent = _mix(colour, (120, 124, 150), 0.75) if entry.colour == "white" else _accent(entry.colour)
    picture.paste(accent, mask=ImageChops.multiply(mask, pattern))
    edge = (236, 236, 246) if background == "night" else _mix(colour, _INK, 0.72)
    closed = [*outline, outline[0], outline[1]]
    ImageDraw.Draw(picture).line(closed, fill=edge, width=int(0.9 * _SCALE), joint="curve")


def _accent(colour: str) -> _Colour:
    if colour in ("yellow", "pink", "orange"):
        return _mix(_PALETTE[colour], (110, 20, 40), 0.42)
    return _mix(_PALETTE[colour], (255, 255, 255), 0.58)


def _pattern(texture: str, size: tuple[int, int], centre: _Point, radius: float) -> Image.Image:
    pattern = Image.new("L", size)
    draw = ImageDraw.Draw(pattern)
    x, y = centre
    reach = 1.3 * radius
    # Marks grow with the object, and stay wide enough to be seen in 64 pixels.
    step = max(4.4 * _SCALE, 0.42 * radius)
    count = int(reach / step) + 2
    if texture == "striped":
        for index in range(-2 * count, 2 * count + 1):
            left = x + index * step
            corners = [
                (left - reach * 0.5, y + reach),
                (left - reach * 0.5 + step * 0.5, y + reach),
                (left + reach * 0.5 + step * 0.5, y - reach),
                (left + reach * 0.5, y - reach),
            ]
            draw.polygon(corners, fill=255)
    elif texture == "dotted":
        for row in range(-count, count + 1):
            for column in range(-count, count + 1):
                spot = x + (column + 0.5 * (row % 2)) * step * 1.1, y + row * step * 0.95
                _disc(draw, spot, step * 0.31, 255)
    return pattern


def _draw_face(picture: Image.Image, entry: SceneObject, centre: _Point, radius: float, mood: str) -> None:
    draw = ImageDraw.Draw(picture)
    offset, share = _FACES[entry.shape]
    unit = radius * share
    x, y = centre[0], centre[1] + offset * radius
    eye = max(0.17 * unit, 1.3 * _SCALE)
    for side in (-1, 1):
        spot = (x + side * 0.32 * unit, y - 0.2 * unit)
        _disc(draw, spot, eye * 1.25, (255, 255, 255))
        _disc(draw, spot, eye * 0.8, _INK)
    pen = int(max(0.13 * unit, 1.25 * _SCALE))
    if mood == "happy":
        smile = (x - 0.42 * unit, y - 0.2 * unit, x + 0.42 * unit, y + 0.55 * unit)
        draw.chord(smile, 15, 165, fill=(255, 255, 255))
        draw.chord(smile, 15, 165, fill=(150, 20, 40), outline=_INK, width=max(pen // 2, 2))
    else:
        frown = (x - 0.36 * unit, y + 0.22 * unit, x + 0.36 * unit, y + 0.86 * unit)
        draw.arc(frown, 200, 340, fill=_INK, width=pen)
        tear = (x + 0.46 * unit, y + 0.16 * unit)
        size = max(0.13 * unit, 1.0 * _SCALE)
        drop = [(tear[0] - size, tear[1]), (tear[0], tear[1] - 2.2 * size), (tear[0] + size, tear[1])]
        draw.polygon(drop, fill=(64, 176, 255))
        _disc(draw, tear, size, (64, 176, 255))
