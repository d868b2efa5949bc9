"""Inner loops of the renderer, compiled by numba.

Import this module through `affectkit.synth.render.load_kernels`, which reports a missing numba. Every loop runs
in a fixed order in single precision, so a frame depends on its inputs only. Instead of branching at every
sample, loops collect the samples that pass, which is several times as fast.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from affectkit.synth.shading import shade

__all__ = ["deform", "develop", "mix_wrinkles", "project", "rasterise", "shade", "vertex_normals"]

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True, error_model="numpy")
def deform(head: Array, actions: Array, weights: Array, out: Array) -> None:
    """Write head + sum of weighted action shapes to `out`."""
    total = out.reshape(-1)
    total[:] = head.reshape(-1)
    for j in range(weights.shape[0]):
        w = weights[j]
        if w != 0.0:
            shape = actions[j].reshape(-1)
            for k in range(total.size):
                total[k] += w * shape[k]


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
    # Visible samples of a triangle: each sample is written, and kept by increasing the count `m`.
    spot = np.empty(n * n + 1, np.int64)
    found = np.empty((n * n + 1, 3), np.float32)
    for i in range(faces.shape[0]):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        ax, ay = screen[a, 0], screen[a, 1]
        bx, by = screen[b, 0], screen[b, 1]
        cx, cy = screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= zero:  # faces away from the camera (rows run down)
            continue
        left, right = min(ax, min(bx, cx)), max(ax, max(bx, cx))
        top, bottom = min(ay, min(by, cy)), max(ay, max(by, cy))
        # Sample centres inside the bounding box; one on its left or upper edge belongs to the neighbour.
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
        m = 0
        for y in range(y0, y1):
            u, v, was, over = row_u, row_v, False, False
            base = y * n
            for x in range(x0, x1):
                w = one - u - v
                inside = min(min(u, v), w) >= zero
                z = u * za + v * zb + w * zc
                k = base + x
                f = np.uint64(m)
                spot[f] = k
                found[f, 0] = z
                found[f, 1] = u
                found[f, 2] = v
                over |= was & (not inside)  # triangles are convex: nothing more in this row
                m += int(inside & (z > nearest[np.uint64(k)]) & (not over))
                u += ux
                v += vx
                was = inside
            row_u += uy
            row_v += vy
        for j in range(m):
            k = np.uint64(spot[j])
            nearest[k] = found[j, 0]
            who[k] = i
            where[k, 0] = found[j, 1]
            where[k, 1] = found[j, 2]


@njit(cache=True, nogil=True, error_model="numpy")
def develop(image: Array, gain: np.float32, noise: Array, offset: Array, out: Array) -> None:
    """Expose, encode with gamma 2, add a tile of noise, and quantise to uint8."""
    size, tile = image.shape[0], noise.shape[0]
    zero, one, half, top = np.float32(0.0), np.float32(1.0), np.float32(0.5), np.float32(255.0)
    start = 3 * (offset[1] % tile)
    for r in range(size):
        light, code = image[r].reshape(-1), out[r].reshape(-1)
        grain = noise[(r + offset[0]) % tile].reshape(-1)
        first = min(3 * tile - start, 3 * size)  # the tile begins anew there
        for k in range(first):
            value = top * math.sqrt(min(max(light[k] * gain, zero), one)) + grain[start + k]
            code[k] = np.uint8(min(max(value + half, zero), top))
        for k in range(first, 3 * size):
            value = top * math.sqrt(min(max(light[k] * gain, zero), one)) + grain[k - first]
            code[k] = np.uint8(min(max(value + half, zero), top))
