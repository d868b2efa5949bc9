"""Skin textures: a person's albedo, and the wrinkles of each action unit.

Both use one grid over the mean head seen from the front (`COLUMNS` x `ROWS` texels of `TEXEL` mm). The rig's
shapes are too coarse for furrows, so each unit has strokes where FACS describes them: creases with raised
edges, and bulges. Each stroke is a height map. Its slope, which bends the surface normal, and a darkening of
deep creases are stored; both are additive, so the wrinkles of a frame are a weighted sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "COLUMNS",
    "LEFT",
    "ROWS",
    "TEXEL",
    "TOP",
    "SkinLook",
    "paint_skin",
    "shrink",
    "smooth_noise",
    "wrinkles",
]

Floats = npt.NDArray[np.float32]

TEXEL: Final = 0.8  # mm
LEFT: Final = -80.0  # x of the first column, mm
TOP: Final = -32.0  # z of the first row, mm
COLUMNS: Final = 200
ROWS: Final = 264

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Crease:
    """A furrow along a polyline, fading towards its ends; depth and width in mm."""

    line: tuple[Point, ...]
    width: float = 1.2
    depth: float = 0.7


@dataclass(frozen=True, slots=True)
class Bulge:
    """A raised (or, with negative height, sunken) ellipse; mm."""

    centre: Point
    radius: Point
    height: float


Stroke = Crease | Bulge

# The subject's left half (x > 0); the right one is its mirror image. mm on the mean head.
WRINKLES: Final[Mapping[int, tuple[Stroke, ...]]] = {
    1: (  # short horizontal lines in the middle of the forehead
        Crease(((-4, -89), (8, -87.5), (20, -90)), 1.5, 1.1),
        Crease(((-4, -80), (9, -78.5), (22, -81)), 1.5, 1.1),
        Crease(((-4, -71), (9, -69.5), (20, -72)), 1.5, 0.8),
    ),
    2: (  # arcs over the outer half of the brow
        Crease(((24, -87), (36, -84), (50, -90)), 1.5, 1.0),
        Crease(((24, -79), (36, -76), (50, -81)), 1.5, 0.9),
        Bulge((38, -91), (9, 3.5), 0.9),
    ),
    4: (  # upright furrows between the brows, muscle bulge above them
        Crease(((5, -90), (4.2, -99), (5.5, -109)), 1.6, 2.0),
        Crease(((10, -93), (9.5, -100), (11, -106)), 1.3, 0.9),
        Crease(((-2, -112), (6, -112.5)), 1.2, 0.5),
        Bulge((17, -91), (9, 4), 1.0),
    ),
    5: (Crease(((18, -111), (30, -105.5), (43, -110)), 1.0, -0.5),),  # the fold of the upper lid smooths out
    6: (  # crow's feet, raised cheek, furrow below the eye
        Crease(((48, -113), (54, -108), (60, -104)), 1.3, 1.3),
        Crease(((49, -117), (56, -116), (63, -114)), 1.3, 1.3),
        Crease(((48, -121), (54, -124), (60, -127)), 1.3, 1.2),
        Crease(((15, -126), (26, -132), (38, -131), (47, -126)), 1.5, 1.2),
        Bulge((38, -139), (12, 6), 1.6),
    ),
    7: (  # a tense line and a pouch right under the lower lid
        Crease(((17, -122.5), (28, -125.5), (42, -123)), 1.0, 1.1),
        Bulge((30, -122), (12, 1.8), 0.7),
    ),
    9: (  # oblique lines along the nose, a fold across its root
        Crease(((-1, -111), (6, -113), (11, -118)), 1.3, 1.5),
        Crease(((-1, -117), (6, -119), (11, -125)), 1.3, 1.6),
        Crease(((4, -124), (8, -127), (12, -133)), 1.3, 1.4),
        Crease(((19, -150), (23, -156), (25, -163)), 1.5, 1.2),
        Bulge((13, -141), (5, 6), 0.9),
    ),
    10: (  # the fold beside the nose deepens and bends, the triangle below the eye swells
        Crease(((18, -151), (25, -158), (31, -168), (33, -176)), 1.8, 2.0),
        Bulge((27, -146), (7, 7), 1.5),
    ),
    12: (  # a long fold from the nose to behind the corner, apple of the cheek
        Crease(((22, -157), (31, -168), (36, -180), (37, -190)), 1.7, 1.8),
        Bulge((43, -161), (10, 9), 2.0),
    ),
    14: (  # a pit and an upright crease at the corner
        Crease(((30, -177), (32.5, -186), (30, -196)), 1.6, 2.4),
        Bulge((28.5, -186), (3, 3), -1.8),
        Bulge((38, -186), (4, 8), 1.5),
    ),
    15: (  # lines running down from the corner, pouch below it
        Crease(((24, -188), (29, -196), (31, -207)), 1.6, 2.0),
        Bulge((22, -197), (5, 4), 1.0),
        Crease(((2, -205), (12, -203.5), (20, -200)), 1.3, 0.6),
    ),
    16: (  # the lower lip is pulled down: a flat chin boss, folds at its sides and under the lip
        Crease(((-1, -208), (9, -207), (18, -202)), 2.0, 2.4),
        Crease(((17, -197), (22, -204), (22, -214)), 1.7, 2.0),
        Bulge((6, -202), (8, 2.5), 1.0),
    ),
    17: (  # the chin boss is pushed up and dimpled
        Crease(((-1, -203.5), (10, -205.5), (17, -212)), 1.7, 1.8),
        Bulge((3, -210), (2.2, 2.2), -0.9),
        Bulge((8.5, -213), (2.2, 2.2), -0.9),
        Bulge((3.5, -217), (2.2, 2.2), -0.9),
        Bulge((10, -219), (2.2, 2.2), -0.8),
        Bulge((5, -214), (9, 6), 1.2),
    ),
    18: (  # lines radiating from the drawn lips
        Crease(((2.5, -168), (2, -177)), 0.9, 1.0),
        Crease(((7.5, -169), (6, -178)), 0.9, 1.0),
        Crease(((13, -172), (10, -180)), 0.9, 1.0),
        Crease(((4, -208), (3, -199)), 0.9, 0.8),
        Crease(((11, -205), (8, -197)), 0.9, 0.8),
    ),
    20: (  # upright folds in the stretched cheek
        Crease(((33, -178), (37, -188), (35, -201)), 1.7, 1.9),
        Crease(((40, -180), (44, -189), (42, -202)), 1.7, 1.7),
        Crease(((47, -184), (50, -191), (49, -200)), 1.5, 1.1),
        Crease(((20, -201), (29, -203), (36, -208)), 1.4, 1.0),
    ),
    22: (Crease(((4, -172), (3, -177)), 0.9, 0.5), Crease(((12, -174), (9, -179)), 0.9, 0.5)),
    23: (Crease(((1, -176), (8, -176), (15, -179)), 0.9, 0.7), Crease(((1, -201), (8, -200.5)), 0.9, 0.7)),
    24: (  # bulges above and below the pressed lips, lines at their edges
        Bulge((9, -174), (9, 2.6), 1.3),
        Bulge((9, -203.5), (9, 2.6), 1.3),
        Crease(((23, -181), (25, -187), (23, -193)), 1.1, 0.9),
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Wrinkles:
    """Slopes and darkening of every unit and side, one rectangle of the texture each.

    Attributes:
        keys: (AU, side) of each rectangle; side 0 is the subject's left.
        boxes: int32 [P, 4], first row, first column, number of rows, number of columns.
        starts: int64 [P], index of each rectangle's first texel in `texels`.
        texels: float32 [N, 3], slope along x, slope along z (mm per mm), darkening.
    """

    keys: tuple[tuple[int, int], ...]
    boxes: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    texels: Floats


_X: Final[Floats] = LEFT + TEXEL * np.arange(COLUMNS, dtype=np.float32)[None, :]
_Z: Final[Floats] = TOP - TEXEL * np.arange(ROWS, dtype=np.float32)[:, None]


def _crease(stroke: Crease) -> tuple[Floats, Floats]:
    """Height (mm) and darkening of a crease on the grid."""
    x, z = _X, _Z
    points = np.asarray(stroke.line, dtype=np.float32)
    lengths = np.hypot(*np.diff(points, axis=0).T)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    best = np.full((ROWS, COLUMNS), np.inf, dtype=np.float32)
    along = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    for (ax, az), (bx, bz), length, start in zip(points[:-1], points[1:], lengths, ends[:-1], strict=True):
        t = np.clip(((x - ax) * (bx - ax) + (z - az) * (bz - az)) / length**2, 0.0, 1.0)
        distance = np.hypot(x - ax - t * (bx - ax), z - az - t * (bz - az))
        closer = distance < best
        best = np.where(closer, distance, best)
        along = np.where(closer, (start + t * length) / ends[-1], along)
    fade = np.clip(4.0 * np.minimum(along, 1.0 - along) + 0.25, 0.0, 1.0)
    core = np.exp(-0.5 * (best / stroke.width) ** 2)
    ridge = np.exp(-0.5 * (best / (2.2 * stroke.width)) ** 2)
    height = stroke.depth * fade * (0.45 * ridge - core)
    dark = 0.24 * stroke.depth * fade * core
    return height.astype(np.float32), dark.astype(np.float32)


def _strokes(strokes: tuple[Stroke, ...]) -> Floats:
    """Slopes and darkening [ROWS, COLUMNS, 3] of the left half of a unit."""
    height = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    dark = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    for stroke in strokes:
        if isinstance(stroke, Crease):
            h, d = _crease(stroke)
        else:
            a, b = (_X - stroke.centre[0]) / stroke.radius[0], (_Z - stroke.centre[1]) / stroke.radius[1]
            h = (stroke.height * np.exp(-(a**2 + b**2))).astype(np.float32)
            d = np.clip(-0.25 * h, 0.0, None)
        height += h
        dark += d
    down, right = np.gradient(height, TEXEL)
    return np.stack([right, -down, dark], axis=-1).astype(np.float32)  # rows run down, z runs up


def shrink(texture: Floats, level: int) -> Floats:
    """Halve a texture, float32 [ROWS, COLUMNS, C], `level` times (0 to 2) by averaging 2 x 2 texels."""
    for _ in range(level):
        texture = (
            texture[::2, ::2] + texture[1::2, ::2] + texture[::2, 1::2] + texture[1::2, 1::2]
        ) * np.float32(0.25)
    return np.ascontiguousarray(texture)


@lru_cache(maxsize=3)
def wrinkles(level: int = 0) -> Wrinkles:
    """Compute the wrinkles of every unit and side on a texture that is halved `level` times (0 to 2)."""
    keys, boxes, texels = [], [], []
    for unit, strokes in WRINKLES.items():
        left = _strokes(strokes)
        # Column of -x for each column; the grid is almost symmetric: -80 ... 79.2.
        mirrored = np.clip(COLUMNS - np.arange(COLUMNS), 0, COLUMNS - 1)
        right = left[:, mirrored] * np.asarray([-1.0, 1.0, 1.0], np.float32)
        for side, field in enumerate((shrink(left, level), shrink(right, level))):
            used = np.abs(field).max(axis=-1) > 0.004
            rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
            r0, r1, c0, c1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            keys.append((unit, side))
            boxes.append((r0, c0, r1 - r0, c1 - c0))
            texels.append(field[r0:r1, c0:c1].reshape(-1, 3))
    starts = np.cumsum([0] + [len(t) for t in texels[:-1]])
    return Wrinkles(
        tuple(keys),
        np.asarray(boxes, dtype=np.int32),
        starts.astype(np.int64),
        np.ascontiguousarray(np.concatenate(texels), dtype=np.float32),
    )


@dataclass(frozen=True, slots=True)
class SkinLook:
    """Appearance of a person's skin; colours are linear RGB from 0 to 1.

    Attributes:
        tone: Colour of the skin.
        hair: Colour of brows, lashes and stubble.
        lips: Tint of the lips, multiplied with the tone.
        brow_thickness: Relative thickness of the brows, 0.6 to 1.4.
        brow_density: Opacity of the brows, 0.5 to 1.
        brow_shift: Upward shift of the brows in mm.
        stubble: Strength of stubble, 0 to 1.
        mottle: Strength of blotches and freckles, 0 to 1.
        seed: Seed of the blotches.
    """

    tone: tuple[float, float, float] = (0.55, 0.36, 0.27)
    hair: tuple[float, float, float] = (0.05, 0.035, 0.03)
    lips: tuple[float, float, float] = (0.85, 0.5, 0.5)
    brow_thickness: float = 1.0
    brow_density: float = 0.85
    brow_shift: float = 0.0
    stubble: float = 0.0
    mottle: float = 0.5
    seed: int = 0


def _step(value: npt.NDArray[np.floating], softness: float) -> Floats:
    """Smooth step from 0 to 1 around zero."""
    step: Floats = (0.5 + 0.5 * np.tanh(value / softness)).astype(np.float32)
    return step


def _blob(centre: Point, radius: Point) -> Floats:
    """A pair of soft ellipses, left and right."""
    a, b = (np.abs(_X) - centre[0]) / radius[0], (_Z - centre[1]) / radius[1]
    return np.exp(-(a**2) - b**2).astype(np.float32)


def smooth_noise(rng: np.random.Generator, cells: int, shape: tuple[int, int] = (ROWS, COLUMNS)) -> Floats:
    """Draw a grid of unit normal values, `cells` of them across, and enlarge it bilinearly to `shape`."""
    rows = max(2, cells * shape[0] // shape[1])
    coarse = rng.standard_normal((rows + 1, cells + 1)).astype(np.float32)
    r, c = np.linspace(0, rows - 1e-3, shape[0]), np.linspace(0, cells - 1e-3, shape[1])
    i, j = r.astype(int), c.astype(int)
    fr, fc = (r - i).astype(np.float32)[:, None], (c - j).astype(np.float32)[None, :]
    lines = coarse[i] * (1 - fr) + coarse[i + 1] * fr
    noise: Floats = lines[:, j] * (1 - fc) + lines[:, j + 1] * fc
    return noise


@lru_cache(maxsize=1)
def _regions() -> dict[str, Floats]:
    """Masks of facial regions, the same for everyone."""
    z, a = _Z, np.abs(_X)
    top = np.interp(a, [0, 6, 15, 23], [-179.0, -177.8, -181.0, -186.2])
    bottom = np.interp(a, [0, 6, 14, 23], [-199.4, -198.8, -195.0, -186.8])
    line = np.interp(a, [0, 8, 23], [-186.2, -186.0, -186.5])
    lips = _step(top - z, 0.7) * _step(z - bottom, 0.7) * _step(23.5 - a, 0.7)
    lid = np.interp(a, [14.5, 18, 24, 30, 36, 42, 45.5], [-118.5, -115, -112.7, -111.6, -112, -114, -116])
    low = np.interp(a, [14.5, 18, 25, 31, 38, 45.5], [-118.8, -119.6, -120.3, -120.6, -120.2, -116.5])
    beside = _step(a - 16.5, 1.0) * _step(46.5 - a, 1.0)
    jaw = _step(-z - 203, 6.0) * _step(60 - a, 8.0) + _blob((0.0, -171.0), (21.0, 4.0))
    jaw = np.clip(jaw + _step(a - 30, 4.0) * _step(-z - 178, 8.0), 0.0, 1.0)
    return {
        "lips": lips,
        "line": (np.exp(-(((z - line) / 0.7) ** 2)) * _step(24.0 - a, 0.8)).astype(np.float32),
        "lash": (np.exp(-(((z - lid - 0.2) / 0.9) ** 2)) * beside).astype(np.float32),
        "lash_low": (np.exp(-(((z - low) / 0.6) ** 2)) * beside).astype(np.float32),
        "socket": _blob((30.0, -108.5), (17.0, 4.5)) + 0.8 * _blob((15.0, -115.0), (4.0, 7.0)),
        "under": _blob((29.0, -126.0), (13.0, 3.5)),
        "cheek": _blob((40.0, -150.0), (16.0, 13.0)) + 0.7 * _blob((0.0, -150.0), (9.0, 9.0)),
        "nostril": _blob((8.5, -163.0), (4.0, 2.2)),
        "jaw": (jaw * (1 - lips)).astype(np.float32),
    }


def paint_skin(look: SkinLook) -> Floats:
    """Paint a person's albedo, float32 [ROWS, COLUMNS, 3] in linear RGB."""
    z, a, part = _Z, np.abs(_X), _regions()
    rng = np.random.default_rng(look.seed)
    blotch = 0.05 * smooth_noise(rng, 9) + 0.045 * smooth_noise(rng, 34) + 0.02 * smooth_noise(rng, 90)
    freckle = np.clip(smooth_noise(rng, 60) - 1.6, 0.0, 1.0) * (look.mottle > 0.7)
    light = 1.0 + look.mottle * blotch - 0.35 * look.mottle * freckle
    light -= 0.22 * part["socket"] + 0.12 * part["under"] + 0.6 * part["nostril"]
    skin = light[..., None] * np.asarray(look.tone, np.float32)
    skin *= 1.0 + part["cheek"][..., None] * np.asarray([0.05, -0.09, -0.08], np.float32)
    skin *= 1.0 - part["jaw"][..., None] * np.asarray([0.42, 0.40, 0.36], np.float32) * look.stubble
    tint = np.asarray(look.lips, np.float32)
    skin *= 1.0 - part["lips"][..., None] * (1.0 - tint)
    skin *= 1.0 - 0.75 * part["line"][..., None]
    centre = look.brow_shift + np.interp(
        a, [10, 16, 24, 33, 41, 49], [-102.5, -101.0, -98.5, -97.2, -98.6, -103.0]
    )
    half = look.brow_thickness * np.interp(a, [9, 14, 24, 40, 51], [2.2, 3.0, 3.2, 2.2, 0.5])
    hairs = 0.85 + 0.15 * smooth_noise(rng, 99)
    brow = _step(half - np.abs(z - centre), 0.9) * _step(a - 9.5, 1.2) * _step(51.0 - a, 1.2) * hairs
    dark = np.clip(brow * look.brow_density + 0.9 * part["lash"] + 0.35 * part["lash_low"], 0.0, 1.0)
    skin += dark[..., None] * (np.asarray(look.hair, np.float32) - skin)
    return np.ascontiguousarray(np.clip(skin, 0.004, 1.0), dtype=np.float32)
