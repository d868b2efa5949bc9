"""The inner loops of the renderer, compiled by numba.

Import this module through `affectkit.synth.render`, which explains what to install where numba is missing.
Every loop runs in a fixed order in single precision, so a frame depends on its inputs only.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from affectkit.synth.rig import CAVITY, LEFT_EYE, SKIN, TEETH, TONGUE
from affectkit.synth.skin import LEFT, TEXEL, TOP

__all__ = ["deform", "develop", "mix_wrinkles", "project", "rasterise", "shade", "vertex_normals"]

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True, error_model="numpy")
def deform(head: Array, actions: Array, weights: Array, out: Array) -> None:
    """Write head + sum of weighted action shapes to `out`."""
    n = head.shape[0]
    for v in range(n):
        for k in range(3):
            out[v, k] = head[v, k]
    for j in range(weights.shape[0]):
        w = weights[j]
        if w != 0.0:
            for v in range(n):
                for k in range(3):
                    out[v, k] += w * actions[j, v, k]


@njit(cache=True, nogil=True, error_model="numpy")
def project(
    vertices: Array,
    rotation: Array,
    pivot: Array,
    scale: np.float32,
    distance: np.float32,
    centre: Array,
    space: Array,
    screen: Array,
) -> None:
    """Rotate about the pivot into camera axes (x right, y up, z to the camera) and project to samples."""
    for v in range(vertices.shape[0]):
        ax = vertices[v, 0] - pivot[0]
        ay = vertices[v, 2] - pivot[2]
        az = -(vertices[v, 1] - pivot[1])
        x = rotation[0, 0] * ax + rotation[0, 1] * ay + rotation[0, 2] * az
        y = rotation[1, 0] * ax + rotation[1, 1] * ay + rotation[1, 2] * az
        z = rotation[2, 0] * ax + rotation[2, 1] * ay + rotation[2, 2] * az
        space[v, 0] = x
        space[v, 1] = y
        space[v, 2] = z
        f = scale * distance / (distance - z)
        screen[v, 0] = centre[0] + f * x
        screen[v, 1] = centre[1] - f * y


@njit(cache=True, nogil=True, error_model="numpy")
def vertex_normals(space: Array, faces: Array, normals: Array) -> None:
    """Average the faces' normals, weighted by area."""
    normals[:] = 0.0
    for i in range(faces.shape[0]):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        ux = space[b, 0] - space[a, 0]
        uy = space[b, 1] - space[a, 1]
        uz = space[b, 2] - space[a, 2]
        vx = space[c, 0] - space[a, 0]
        vy = space[c, 1] - space[a, 1]
        vz = space[c, 2] - space[a, 2]
        nx = uy * vz - uz * vy
        ny = uz * vx - ux * vz
        nz = ux * vy - uy * vx
        for v in (a, b, c):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    for v in range(normals.shape[0]):
        s = normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2
        if s > 0.0:
            r = np.float32(1.0) / np.float32(math.sqrt(s))
            for k in range(3):
                normals[v, k] *= r


@njit(cache=True, nogil=True, error_model="numpy")
def mix_wrinkles(boxes: Array, starts: Array, texels: Array, weights: Array, out: Array) -> None:
    """Add the weighted rectangles of slopes and darkening into `out` [rows, columns, 3]."""
    out[:] = 0.0
    for p in range(boxes.shape[0]):
        w = weights[p]
        if w != 0.0:
            k = starts[p]
            for r in range(boxes[p, 0], boxes[p, 0] + boxes[p, 2]):
                for c in range(boxes[p, 1], boxes[p, 1] + boxes[p, 3]):
                    out[r, c, 0] += w * texels[k, 0]
                    out[r, c, 1] += w * texels[k, 1]
                    out[r, c, 2] += w * texels[k, 2]
                    k += 1


@njit(cache=True, nogil=True, error_model="numpy")
def rasterise(screen: Array, space: Array, faces: Array, depth: Array, owner: Array, bary: Array) -> None:
    """Fill the z-buffer: nearest triangle and its first two barycentric coordinates at every sample."""
    n = depth.shape[0]
    one, zero, half, limit = np.float32(1.0), np.float32(0.0), np.float32(0.5), np.float32(n)
    depth[:] = -1e9
    owner[:] = -1
    nearest, who, where = depth.ravel(), owner.ravel(), bary.reshape(-1, 2)
    for i in range(faces.shape[0]):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        ax, ay = screen[a, 0], screen[a, 1]
        bx, by = screen[b, 0], screen[b, 1]
        cx, cy = screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= zero:  # rows run down: what faces the camera turns the other way
            continue
        left, right = min(ax, min(bx, cx)), max(ax, max(bx, cx))
        top, bottom = min(ay, min(by, cy)), max(ay, max(by, cy))
        # Sample centres inside the bounding box; one exactly on its left or upper edge is the neighbour's.
        x0, y0 = np.int64(max(left + half, zero)), np.int64(max(top + half, zero))
        x1 = np.int64(max(min(right + half, limit), zero))
        y1 = np.int64(max(min(bottom + half, limit), zero))
        if x0 >= x1 or y0 >= y1:
            continue
        inverse = one / area
        za, zb, zc = space[a, 2], space[b, 2], space[c, 2]
        ux, uy = (by - cy) * inverse, (cx - bx) * inverse
        vx, vy = (cy - ay) * inverse, (ax - cx) * inverse
        px, py = np.float32(x0) + half - cx, np.float32(y0) + half - cy
        row_u, row_v = px * ux + py * uy, px * vx + py * vy
        for y in range(y0, y1):
            u, v, inside = row_u, row_v, False
            for k in range(y * n + x0, y * n + x1):
                w = one - u - v
                if min(min(u, v), w) >= zero:
                    inside = True
                    z = u * za + v * zb + w * zc
                    if z > nearest[k]:
                        nearest[k] = z
                        who[k] = i
                        where[k, 0] = u
                        where[k, 1] = v
                elif inside:  # triangles are convex: nothing more in this row
                    break
                u += ux
                v += vx
            row_u += uy
            row_v += vy


@njit(cache=True, nogil=True, error_model="numpy")
def _bilinear(texture: Array, texel: np.float32, u: np.float32, v: np.float32, out: Array) -> None:
    """Sample a [rows, columns, 6] texture with texels of `texel` mm at (x, z) in mm."""
    one, zero, half = np.float32(1.0), np.float32(0.0), np.float32(0.5)
    # texel centres: a coarse texel is the mean of fine ones, whose first lies at (LEFT, TOP)
    shift = half * (texel - np.float32(TEXEL))
    fx = (u - np.float32(LEFT) - shift) / texel
    fy = (np.float32(TOP) - shift - v) / texel
    fx = min(max(fx, zero), np.float32(texture.shape[1]) - np.float32(1.01))
    fy = min(max(fy, zero), np.float32(texture.shape[0]) - np.float32(1.01))
    c, r = int(fx), int(fy)
    fx -= np.float32(c)
    fy -= np.float32(r)
    a, b, d, e = (one - fy) * (one - fx), (one - fy) * fx, fy * (one - fx), fy * fx
    near, far = texture[r], texture[r + 1]
    for k in range(6):
        out[k] = a * near[c, k] + b * near[c + 1, k] + d * far[c, k] + e * far[c + 1, k]


@njit(cache=True, nogil=True, error_model="numpy")
def _light(
    n: Array, tint: Array, light: np.float32, gloss: np.float32, lights: Array, ambient: Array, out: Array
) -> None:
    """Add the light that a surface with (unnormalised) normal `n` and colour `tint` sends to the camera."""
    one, zero, half = np.float32(1.0), np.float32(0.0), np.float32(0.5)
    wrap = np.float32(0.25)  # light bleeds a little around the terminator, as it does in skin
    length = np.float32(math.sqrt(max(n[0] * n[0] + n[1] * n[1] + n[2] * n[2], np.float32(1e-12))))
    nx, ny, nz = n[0] / length, n[1] / length, n[2] / length
    sky = half + half * ny
    red = ambient[1, 0] + (ambient[0, 0] - ambient[1, 0]) * sky
    green = ambient[1, 1] + (ambient[0, 1] - ambient[1, 1]) * sky
    blue = ambient[1, 2] + (ambient[0, 2] - ambient[1, 2]) * sky
    highlight = zero
    for q in range(lights.shape[0]):
        d = nx * lights[q, 0] + ny * lights[q, 1] + nz * lights[q, 2]
        f = max((d + wrap) / (one + wrap), zero)
        red += f * lights[q, 3]
        green += f * lights[q, 4]
        blue += f * lights[q, 5]
        m = np.float32(2.0) * d * nz - lights[q, 2]  # cosine between the mirrored light and the camera
        if d > zero and m > zero:
            m *= m
            m *= m
            m *= m
            highlight += m * m * gloss * lights[q, 4]
    out[0] += light * (tint[0] * red + highlight)
    out[1] += light * (tint[1] * green + highlight)
    out[2] += light * (tint[2] * blue + highlight)


@njit(cache=True, nogil=True, error_model="numpy")
def shade(
    owner: Array,
    bary: Array,
    depth: Array,
    faces: Array,
    material: Array,
    space: Array,
    normals: Array,
    uv: Array,
    occlusion: Array,
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

    Where the four samples lie on one smooth piece of skin they are lit together, else one by one.
    `texture` [rows, columns, 6]: albedo, slopes, darkening; `texel`: mm. `lights` [L, 6]: direction towards
    the light, RGB. `ambient` [2, 3]: RGB from above and from below. `eyes` [2, 7]: centre, gaze direction,
    iris radius (chord on the unit sphere). `colours` [4, 3]: iris, sclera, teeth, tongue. `shine`: strength
    of the skin's highlight.
    """
    size = image.shape[0]
    tint = np.empty(6, np.float32)  # colour, and slopes and darkening where the texture has wrinkles
    n = np.empty(3, np.float32)
    p = np.empty(3, np.float32)
    out = np.empty(3, np.float32)
    one, zero, half = np.float32(1.0), np.float32(0.0), np.float32(0.5)
    two, floor = np.float32(2.0), np.float32(0.25)
    for row in range(size):
        for column in range(size):
            out[:] = zero
            smooth = True
            near, far = np.float32(-1e9), np.float32(1e9)
            for sample in range(4):
                y, x = 2 * row + sample // 2, 2 * column + sample % 2
                i = owner[y, x]
                if i < 0 or material[faces[i, 0]] != SKIN:
                    smooth = False
                    break
                near, far = max(near, depth[y, x]), min(far, depth[y, x])
            if smooth and near - far < np.float32(0.006):
                n[:] = zero
                s, t, light = zero, zero, zero
                for sample in range(2):  # two opposite corners stand for the four
                    y, x = 2 * row + sample, 2 * column + sample
                    i = owner[y, x]
                    a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
                    u, v = half * bary[y, x, 0], half * bary[y, x, 1]
                    w = half - u - v
                    for k in range(3):
                        n[k] += u * normals[a, k] + v * normals[b, k] + w * normals[c, k]
                    s += u * uv[a, 0] + v * uv[b, 0] + w * uv[c, 0]
                    t += u * uv[a, 1] + v * uv[b, 1] + w * uv[c, 1]
                    light += u * occlusion[a] + v * occlusion[b] + w * occlusion[c]
                _bilinear(texture, texel, s, t, tint)
                for k in range(3):  # slopes tilt the normal along the head's own x and z axes
                    n[k] -= tint[3] * rotation[k, 0] + tint[4] * rotation[k, 1]
                light *= max(one - tint[5], floor)
                _light(n, tint, light, shine, lights, ambient, out)
                for k in range(3):
                    image[row, column, k] = out[k]
                continue
            for sample in range(4):
                y, x = 2 * row + sample // 2, 2 * column + sample % 2
                i = owner[y, x]
                if i < 0:
                    for k in range(3):
                        out[k] += background[row, column, k]
                    continue
                a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
                kind = material[a]
                if kind == CAVITY:
                    out[0] += np.float32(0.012)
                    out[1] += np.float32(0.005)
                    out[2] += np.float32(0.005)
                    continue
                u, v = bary[y, x, 0], bary[y, x, 1]
                w = one - u - v
                for k in range(3):
                    n[k] = u * normals[a, k] + v * normals[b, k] + w * normals[c, k]
                s = u * uv[a, 0] + v * uv[b, 0] + w * uv[c, 0]
                t = u * uv[a, 1] + v * uv[b, 1] + w * uv[c, 1]
                light = u * occlusion[a] + v * occlusion[b] + w * occlusion[c]
                gloss = zero
                if kind == SKIN:
                    _bilinear(texture, texel, s, t, tint)
                    for k in range(3):
                        n[k] -= tint[3] * rotation[k, 0] + tint[4] * rotation[k, 1]
                    light *= max(one - tint[5], floor)
                    gloss = shine
                elif kind == TEETH:
                    place = s / np.float32(7.5)
                    gap = abs(place - np.float32(math.floor(place)) - half)
                    light *= one - np.float32(2.1) * max(zero, gap - np.float32(0.36))
                    light *= np.float32(0.8) - np.float32(0.44) * min((s / np.float32(24.0)) ** 2, one)
                    for k in range(3):
                        tint[k] = colours[2, k]
                elif kind == TONGUE:
                    light *= np.float32(0.4)
                    for k in range(3):
                        tint[k] = colours[3, k]
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
                        tint[k] = colours[0, k] if chord < rim else colours[1, k]
                        if chord < np.float32(0.42) * rim:  # pupil
                            tint[k] = np.float32(0.006)
                        elif chord < rim and chord > np.float32(0.8) * rim:  # limbal ring
                            tint[k] *= np.float32(0.4)
                    # the upper lid's shadow
                    light *= one - min(max(two * n[1] - np.float32(0.04), zero), np.float32(0.45))
                    gloss = half
                _light(n, tint, light, gloss, lights, ambient, out)
            for k in range(3):
                image[row, column, k] = out[k] * np.float32(0.25)


@njit(cache=True, nogil=True, error_model="numpy")
def develop(image: Array, gain: np.float32, noise: Array, offset: Array, out: Array) -> None:
    """Expose, encode with gamma 2, add a tile of noise, and quantise to uint8."""
    size = image.shape[0]
    tile = noise.shape[0]
    for r in range(size):
        grain = noise[(r + offset[0]) % tile]
        shift = offset[1] % tile
        for c in range(size):
            place = c + shift if c + shift < tile else c + shift - tile
            for k in range(3):
                value = math.sqrt(min(max(image[r, c, k] * gain, np.float32(0.0)), np.float32(1.0)))
                value = np.float32(255.0) * value + grain[place, k]
                out[r, c, k] = np.uint8(min(max(value + np.float32(0.5), np.float32(0.0)), np.float32(255.0)))
