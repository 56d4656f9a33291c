"""The picture of a user who has sent none: discs and rings in colours drawn from a seed.

No text, no font, no metadata. Colours are chosen in OKLCH (Björn Ottosson, 2020; CSS Color 4,
section 9.4), where equal lightness looks equal: HSL would let yellow glare and blue sink.
"""

import random
from functools import lru_cache
from io import BytesIO
from math import cos, radians, sin
from typing import Final, NamedTuple

from PIL import Image, ImageDraw

SIZE: Final = 192

# Drawn larger and then averaged down, since ImageDraw has no anti-aliasing.
_OVERSAMPLING: Final = 4

# Of 255: what lies behind shines through a little.
_COVER: Final = 230

_Colour = tuple[int, int, int]

# Places of the tones in what _colours() returns.
_MIDDLE, _DEEP, _LIGHT = range(3)


class _Disc(NamedTuple):
    """A disc, or a ring where ``hole`` is above 0; lengths in picture widths, from its centre."""

    x: float
    y: float
    radius: float
    tone: int
    hole: float = 0


class _Scene(NamedTuple):
    """Discs from back to front, turned by up to ``sway`` degrees either way."""

    sway: float
    discs: tuple[_Disc, ...]


# The round crop shows what lies within 0.5 of the centre.
_SUN_OVER_HILLS = _Scene(
    40,
    (
        _Disc(0.13, -0.17, 0.14, _LIGHT),
        _Disc(-0.3, 0.5, 0.5, _MIDDLE),
        _Disc(0.34, 0.54, 0.44, _DEEP),
    ),
)
_RIPPLES = _Scene(
    100,
    (
        _Disc(0, 0.56, 0.8, _MIDDLE),
        _Disc(0, 0.56, 0.56, _DEEP),
        _Disc(0, 0.56, 0.32, _LIGHT),
    ),
)
_NESTED_SHELLS = _Scene(
    180,
    (
        _Disc(-0.05, 0.05, 0.4, _MIDDLE),
        _Disc(-0.14, 0.14, 0.27, _DEEP),
        _Disc(-0.22, 0.22, 0.15, _LIGHT),
    ),
)
_CRESCENT = _Scene(
    180,
    (
        _Disc(-0.02, 0.02, 0.31, _LIGHT),
        _Disc(0.1, -0.1, 0.27, _MIDDLE),
        _Disc(-0.44, 0.44, 0.28, _DEEP),
    ),
)
_PETALS = _Scene(
    180,
    (
        _Disc(0, -0.17, 0.25, _MIDDLE),
        _Disc(0.15, 0.11, 0.25, _DEEP),
        _Disc(-0.15, 0.11, 0.25, _LIGHT),
    ),
)
_RING_WITH_BEAD = _Scene(
    180,
    (
        _Disc(-0.5, -0.5, 0.36, _DEEP),
        _Disc(0, 0, 0.34, _MIDDLE, hole=0.2),
        _Disc(0.2, 0.2, 0.14, _LIGHT),
    ),
)
_SCENES: Final = (
    _SUN_OVER_HILLS,
    _RIPPLES,
    _NESTED_SHELLS,
    _CRESCENT,
    _PETALS,
    _RING_WITH_BEAD,
)

# From the background's hue to its neighbours' on either side, or on towards its complement.
_LEANS: Final = (-50, 50, 105)


@lru_cache(maxsize=1024)
def default_avatar(seed: str, size: int = SIZE) -> bytes:
    """Return a square WebP of `size` pixels, 192 or 96, and at most 3 kB, made to be cropped round.

    The same seed gives the same bytes for as long as Pillow's libwebp stays the same.
    """
    out = BytesIO()
    picture = _draw(random.Random(seed)).reduce(SIZE // size)
    picture.save(out, "WEBP", quality=80, method=4)
    return out.getvalue()


def _draw(dice: random.Random) -> Image.Image:
    # Of its methods only random() is promised to stay the same in later versions of Python.
    hue, lean, pick, turn = (dice.random() for _ in range(4))
    colours = _colours(360 * hue, _LEANS[int(lean * len(_LEANS))])
    scene = _SCENES[int(pick * len(_SCENES))]
    picture = _gradient(*colours[3:])
    for disc in scene.discs:
        mask = _mask(disc, scene.sway * (2 * turn - 1))
        picture.paste(colours[disc.tone], mask=mask)
    return picture


def _colours(hue: float, lean: float) -> tuple[_Colour, ...]:
    """Return the middle, deep and light tone and the background's top and bottom."""
    return (
        _warm(0.64, 0.13, hue + 1.6 * lean),
        _warm(0.52, 0.12, hue + lean),
        _oklch(0.93, 0.06, hue - lean),
        _warm(0.74, 0.115, hue),
        _warm(0.6, 0.13, hue + 0.6 * lean),
    )


def _warm(lightness: float, chroma: float, hue: float) -> _Colour:
    """Return the colour, lifted about yellow and lowered about blue: a dark yellow is mud."""
    yellow = cos(radians(hue - 95))
    return _oklch(lightness + 0.11 * yellow, chroma + 0.02 * yellow, hue)


def _gradient(top: _Colour, bottom: _Colour) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((SIZE, SIZE))
    return Image.composite(
        Image.new("RGB", ramp.size, bottom), Image.new("RGB", ramp.size, top), ramp
    )


def _mask(disc: _Disc, turn: float) -> Image.Image:
    """Return the disc's cover, 0 to _COVER, turned by ``turn`` degrees about the centre."""
    side = SIZE * _OVERSAMPLING
    across, down = cos(radians(turn)), sin(radians(turn))
    centre = (
        side * (0.5 + disc.x * across - disc.y * down),
        side * (0.5 + disc.x * down + disc.y * across),
    )
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    pen.circle(centre, side * disc.radius, fill=_COVER)
    if disc.hole:
        pen.circle(centre, side * disc.hole, fill=0)
    return mask.reduce(_OVERSAMPLING)


def _oklch(lightness: float, chroma: float, hue: float) -> _Colour:
    """Return 8-bit sRGB for lightness 0-1, chroma 0-0.4 and hue in degrees, clipped to gamut."""
    a, b = chroma * cos(radians(hue)), chroma * sin(radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _srgb(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _srgb(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _srgb(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _srgb(linear: float) -> int:
    """Return the 8-bit sRGB value (IEC 61966-2-1) of a linear one, clipped to 0-1."""
    linear = min(max(linear, 0.0), 1.0)
    curved = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * curved)
