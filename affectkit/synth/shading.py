"""Inner loop that lights a frame, compiled by numba (see `affectkit.synth.kernels`)."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from affectkit.synth.rig import CAVITY, LEFT_EYE, SKIN, TEETH, TONGUE
from affectkit.synth.skin import LEFT, TEXEL, TOP

__all__ = ["shade"]

Array = npt.NDArray[Any]

# Surface points to light: one plane of `BATCH` numbers per quantity, so that the compiler can vectorise over points.
# Normal (3 planes), position on the skin in mm, occlusion, gloss (negative on skin); from the texture: colour (3),
# slopes (2), darkening; then sums of light.
BATCH = 256
_NORMAL, _S, _T, _LIGHT, _GLOSS = 0, 3 * BATCH, 4 * BATCH, 5 * BATCH, 6 * BATCH
_TINT, _SLOPE, _DARK = 7 * BATCH, 10 * BATCH, 12 * BATCH
_SUM, _HIGHLIGHT, _PLANES = 13 * BATCH, 16 * BATCH, 17


@njit(cache=True, nogil=True, error_model="numpy")
def _sample_skin(points: Array, corner: Array, count: int, texture: Array, texel: np.float32) -> None:
    """Sample a texture, [rows, columns, 6] with texels of `texel` mm, bilinearly at points on skin."""
    one, zero, half = np.float32(1.0), np.float32(0.0), np.float32(0.5)
    columns = texture.shape[1]
    right = np.float32(columns) - np.float32(1.01)
    bottom = np.float32(texture.shape[0]) - np.float32(1.01)
    # A coarse texel is the mean of fine ones; the centre of the first fine texel is (LEFT, TOP).
    shift = half * (texel - np.float32(TEXEL))
    for j in range(count):
        fx = (points[_S + j] - np.float32(LEFT) - shift) / texel
        fy = (np.float32(TOP) - shift - points[_T + j]) / texel
        fx = min(max(fx, zero), right)
        fy = min(max(fy, zero), bottom)
        c, r = np.int32(fx), np.int32(fy)
        points[_S + j] = fx - np.float32(c)
        points[_T + j] = fy - np.float32(r)
        corner[j] = np.int32(6) * (r * np.int32(columns) + c)
    flat = texture.reshape(-1)
    for j in range(count):
        if points[_GLOSS + j] >= zero:
            continue
        fx, fy = points[_S + j], points[_T + j]
        a, b, d, e = (one - fy) * (one - fx), (one - fy) * fx, fy * (one - fx), fy * fx
        near = flat[corner[j] : corner[j] + 12]
        far = flat[corner[j] + 6 * columns : corner[j] + 6 * columns + 12]
        for k in range(6):
            points[_TINT + k * BATCH + j] = a * near[k] + b * near[6 + k] + d * far[k] + e * far[6 + k]


@njit(cache=True, nogil=True, error_model="numpy")
def _light(
    points: Array, count: int, rotation: Array, lights: Array, ambient: Array, shine: np.float32
) -> None:
    """Replace the colours of `count` points by the light that they reflect to the camera."""
    one, zero, half, floor = np.float32(1.0), np.float32(0.0), np.float32(0.5), np.float32(0.25)
    wrap = np.float32(0.25)  # light bleeds a little around the terminator, as it does in skin
    r00, r01 = rotation[0, 0], rotation[0, 1]
    r10, r11 = rotation[1, 0], rotation[1, 1]
    r20, r21 = rotation[2, 0], rotation[2, 1]
    red0, green0, blue0 = ambient[1, 0], ambient[1, 1], ambient[1, 2]
    red1, green1, blue1 = ambient[0, 0] - red0, ambient[0, 1] - green0, ambient[0, 2] - blue0
    for j in range(count):
        across, along = points[_SLOPE + j], points[_SLOPE + BATCH + j]
        # slopes tilt the normal along the head's own x and z axes
        nx = points[_NORMAL + j] - (across * r00 + along * r01)
        ny = points[_NORMAL + BATCH + j] - (across * r10 + along * r11)
        nz = points[_NORMAL + 2 * BATCH + j] - (across * r20 + along * r21)
        points[_LIGHT + j] *= max(one - points[_DARK + j], floor)
        length = np.float32(math.sqrt(max(nx * nx + ny * ny + nz * nz, np.float32(1e-12))))
        nx, ny, nz = nx / length, ny / length, nz / length
        points[_NORMAL + j], points[_NORMAL + BATCH + j], points[_NORMAL + 2 * BATCH + j] = nx, ny, nz
        sky = half + half * ny
        points[_SUM + j] = red0 + red1 * sky
        points[_SUM + BATCH + j] = green0 + green1 * sky
        points[_SUM + 2 * BATCH + j] = blue0 + blue1 * sky
        points[_HIGHLIGHT + j] = zero
        gloss = points[_GLOSS + j]
        points[_GLOSS + j] = shine if gloss < zero else gloss
    for q in range(lights.shape[0]):
        x, y, z = lights[q, 0], lights[q, 1], lights[q, 2]
        red, green, blue = lights[q, 3], lights[q, 4], lights[q, 5]
        for j in range(count):
            nz = points[_NORMAL + 2 * BATCH + j]
            d = points[_NORMAL + j] * x + points[_NORMAL + BATCH + j] * y + nz * z
            f = max((d + wrap) / (one + wrap), zero)
            points[_SUM + j] += f * red
            points[_SUM + BATCH + j] += f * green
            points[_SUM + 2 * BATCH + j] += f * blue
            m = np.float32(2.0) * d * nz - z  # cosine between the mirrored light and the camera
            seen = min(d, m) > zero
            m *= m
            m *= m
            m *= m
            spot = m * m * points[_GLOSS + j] * green
            points[_HIGHLIGHT + j] += spot if seen else zero
    for j in range(count):
        light, highlight = points[_LIGHT + j], points[_HIGHLIGHT + j]
        points[_TINT + j] = light * (points[_TINT + j] * points[_SUM + j] + highlight)
        points[_TINT + BATCH + j] = light * (points[_TINT + BATCH + j] * points[_SUM + BATCH + j] + highlight)
        points[_TINT + 2 * BATCH + j] = light * (
            points[_TINT + 2 * BATCH + j] * points[_SUM + 2 * BATCH + j] + highlight
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _finish(
    points: Array,
    corner: Array,
    goal: Array,
    count: int,
    rotation: Array,
    texture: Array,
    texel: np.float32,
    lights: Array,
    ambient: Array,
    shine: np.float32,
    out: Array,
) -> None:
    """Texture and light `count` points, and write them to their places in `out`."""
    _sample_skin(points, corner, count, texture, texel)
    _light(points, count, rotation, lights, ambient, shine)
    for j in range(count):
        for k in range(3):
            out[goal[j], k] = points[_TINT + k * BATCH + j]


@njit(cache=True, nogil=True, error_model="numpy")
def shade(
    owner: Array,
    bary: Array,
    depth: Array,
    faces: Array,
    kinds: Array,
    space: Array,
    surface: Array,
    rotation: Array,
    texture: Array,
    texel: np.float32,
    lights: Array,
    ambient: Array,
    eyes: Array,
    colours: Array,
    shine: np.float32,
    background: Array,
    image: Array,
) -> None:
    """Light every pixel from its 2 x 2 samples into `image` (linear RGB, float32 [S, S, 3]).

    Four samples on one smooth piece of skin are lit together, others one by one. Points are gathered over a row
    of pixels, then textured and lit in vectorised loops.
    `texture` [rows, columns, 6]: albedo, slopes, darkening; `texel`: mm. `lights` [L, 6]: direction towards
    the light, RGB. `ambient` [2, 3]: RGB from above and from below. `eyes` [2, 7]: centre, gaze direction,
    iris radius (chord on the unit sphere). `colours` [4, 3]: iris, sclera, teeth, tongue. `shine`: strength
    of highlights on skin.
    """
    size = image.shape[0]
    points = np.zeros(_PLANES * BATCH, np.float32)
    corner = np.empty(BATCH, np.int32)
    goal = np.empty(BATCH, np.int64)  # the place in `line` of each point
    line = np.empty((5 * size, 3), np.float32)  # a row's pixels, then the four samples of each
    rough = np.empty(size, np.int64)  # its pixels whose samples are lit one by one
    n = np.empty(3, np.float32)
    p = np.empty(3, np.float32)
    one, zero, half, two = np.float32(1.0), np.float32(0.0), np.float32(0.5), np.float32(2.0)
    for row in range(size):
        count, roughs = 0, 0
        for column in range(size):
            if count > BATCH - 4:
                _finish(points, corner, goal, count, rotation, texture, texel, lights, ambient, shine, line)
                count = 0
            y, x = 2 * row, 2 * column
            i, j, k, m = owner[y, x], owner[y, x + 1], owner[y + 1, x], owner[y + 1, x + 1]
            if i & j & k & m < 0:
                for k in range(3):
                    tint = background[row, column, k]
                    line[column, k] = np.float32(0.25) * (tint + tint + tint + tint)
                continue
            smooth = False
            if i | j | k | m >= 0:
                near = max(max(depth[y, x], depth[y, x + 1]), max(depth[y + 1, x], depth[y + 1, x + 1]))
                far = min(min(depth[y, x], depth[y, x + 1]), min(depth[y + 1, x], depth[y + 1, x + 1]))
                smooth = near - far < np.float32(0.006)
                for q in (i, j, k, m):
                    smooth &= kinds[np.uint32(q)] == SKIN
            if smooth:  # two opposite corners stand for the four
                i, j = np.uint32(owner[y, x]), np.uint32(owner[y + 1, x + 1])
                a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
                d, e, f = faces[j, 0], faces[j, 1], faces[j, 2]
                u, v = half * bary[y, x, 0], half * bary[y, x, 1]
                r, s = half * bary[y + 1, x + 1, 0], half * bary[y + 1, x + 1, 1]
                w, t = half - u - v, half - r - s
                for k in range(6):
                    points[k * BATCH + count] = (
                        u * surface[a, k]
                        + v * surface[b, k]
                        + w * surface[c, k]
                        + (r * surface[d, k] + s * surface[e, k] + t * surface[f, k])
                    )
                points[_GLOSS + count] = -one
                goal[count] = column
                count += 1
                continue
            rough[roughs] = column
            roughs += 1
            for sample in range(4):
                spot = size + 4 * column + sample
                y, x = 2 * row + sample // 2, 2 * column + sample % 2
                i = owner[y, x]
                if i < 0:
                    for k in range(3):
                        line[spot, k] = background[row, column, k]
                    continue
                a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
                kind = np.int64(kinds[i])
                if kind == CAVITY:
                    line[spot, 0] = np.float32(0.012)
                    line[spot, 1] = np.float32(0.005)
                    line[spot, 2] = np.float32(0.005)
                    continue
                u, v = bary[y, x, 0], bary[y, x, 1]
                w = one - u - v
                for k in range(3):
                    n[k] = u * surface[a, k] + v * surface[b, k] + w * surface[c, k]
                s = u * surface[a, 3] + v * surface[b, 3] + w * surface[c, 3]
                t = u * surface[a, 4] + v * surface[b, 4] + w * surface[c, 4]
                light = u * surface[a, 5] + v * surface[b, 5] + w * surface[c, 5]
                gloss = zero
                for k in range(6):
                    points[_TINT + k * BATCH + count] = zero
                if kind == SKIN:
                    gloss = -one
                elif kind == TEETH:
                    place = s / np.float32(7.5)
                    gap = abs(place - np.float32(math.floor(place)) - half)
                    light *= one - np.float32(2.1) * max(zero, gap - np.float32(0.36))
                    light *= np.float32(0.8) - np.float32(0.44) * min((s / np.float32(24.0)) ** 2, one)
                    for k in range(3):
                        points[_TINT + k * BATCH + count] = colours[2, k]
                elif kind == TONGUE:
                    light *= np.float32(0.4)
                    for k in range(3):
                        points[_TINT + k * BATCH + count] = colours[3, k]
                else:
                    e = kind - LEFT_EYE
                    for k in range(3):
                        p[k] = u * space[a, k] + v * space[b, k] + w * space[c, k] - eyes[e, k]
                    r = one / np.float32(math.sqrt(p[0] * p[0] + p[1] * p[1] + p[2] * p[2]))
                    dot = zero
                    for k in range(3):
                        n[k] = p[k] * r
                        dot += n[k] * eyes[e, 3 + k]
                    chord = np.float32(math.sqrt(max(two - two * dot, zero)))
                    rim = eyes[e, 6]
                    for k in range(3):
                        tint = colours[0, k] if chord < rim else colours[1, k]
                        if chord < np.float32(0.42) * rim:  # pupil
                            tint = np.float32(0.006)
                        elif chord < rim and chord > np.float32(0.8) * rim:  # limbal ring
                            tint *= np.float32(0.4)
                        points[_TINT + k * BATCH + count] = tint
                    # the upper lid's shadow
                    light *= one - min(max(two * n[1] - np.float32(0.04), zero), np.float32(0.45))
                    gloss = half
                for k in range(3):
                    points[_NORMAL + k * BATCH + count] = n[k]
                points[_S + count], points[_T + count] = s, t
                points[_LIGHT + count], points[_GLOSS + count] = light, gloss
                goal[count] = spot
                count += 1
        _finish(points, corner, goal, count, rotation, texture, texel, lights, ambient, shine, line)
        for j in range(roughs):
            column = rough[j]
            first = size + 4 * column
            for k in range(3):
                total = line[first, k] + line[first + 1, k] + line[first + 2, k] + line[first + 3, k]
                line[column, k] = np.float32(0.25) * total
        image[row] = line[:size]
