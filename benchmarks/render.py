"""Rendering speed against a painter's algorithm, in one run on one core; prints milliseconds and ratios.

    python benchmarks/render.py [--frames 100]

The reference draws the same posed mesh back to front with one `cv2.fillConvexPoly` call a triangle: flat
shading, no anti-aliasing, no textures. Ours does all of the frame: deformation, normals, 2 x 2 samples a
pixel, wrinkles, light.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import numpy.typing as npt

from affectkit.synth import Face, FaceRenderer, Person, Scene, unit_weights
from affectkit.synth.render import _DISTANCE, _PIVOT, _rotation

SIZE = 112


def paint(renderer: FaceRenderer, face: Face, *, smooth_edges: bool, cull: bool) -> npt.NDArray[np.uint8]:
    """Render a frame in numpy, and paint its triangles back to front with OpenCV."""
    rig = renderer.rig
    vertices = renderer._head + np.tensordot(unit_weights(rig, face.units), rig.actions, axes=1)
    space = (
        (vertices - _PIVOT)[:, (0, 2, 1)]
        * np.float32([1, 1, -1])
        @ _rotation(face.yaw, face.pitch, face.roll).T
    )
    scale = np.float32(SIZE * 5.5) / (1 - space[:, 2:] / np.float32(_DISTANCE))
    screen = np.float32(SIZE / 2) + space[:, :2] * scale * np.float32([1, -1])
    a, b, c = (space[rig.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    light = 60 + 180 * np.clip(normal[:, 2] / np.maximum(np.linalg.norm(normal, axis=1), 1e-12), 0, 1)
    colours = (light[:, None] * np.array([0.7, 0.8, 1.0])).tolist()
    corners = (screen[rig.faces] * 16).astype(np.int32)  # fillConvexPoly takes fixed-point corners
    order = np.argsort((a + b + c)[:, 2])
    if cull:
        order = order[normal[order, 2] > 0]
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    line = cv2.LINE_AA if smooth_edges else cv2.LINE_8
    for i in order.tolist():
        cv2.fillConvexPoly(image, corners[i], colours[i], lineType=line, shift=4)
    return image


def milliseconds(run: Callable[[], object], frames: int) -> float:
    """Median time of a call."""
    run()
    times = []
    for _ in range(frames):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=100)
    frames = parser.parse_args().frames
    cv2.setNumThreads(1)
    face = Face({12: 0.6, 6: 0.5, 25: 0.6, 1: 0.5}, yaw=8.0)
    start = time.perf_counter()
    renderer = FaceRenderer(SIZE)
    renderer.set(Person(), Scene())
    renderer.render(face)
    print(f"first frame (compiling, or loading what was compiled): {time.perf_counter() - start:.1f} s")
    few = max(frames // 5, 3)
    reference = milliseconds(lambda: paint(renderer, face, smooth_edges=True, cull=False), few)
    culled = milliseconds(lambda: paint(renderer, face, smooth_edges=True, cull=True), few)
    jagged = milliseconds(lambda: paint(renderer, face, smooth_edges=False, cull=True), few)
    print(f"painter's algorithm, {SIZE} px: {reference:.1f} ms a frame")
    print(f"  front faces only: {culled:.1f} ms; and not anti-aliased: {jagged:.1f} ms")
    for size in (64, 80, SIZE, 224):
        own = FaceRenderer(size)
        own.set(Person(), Scene())
        ours = milliseconds(lambda own=own: own.render(face), frames)  # type: ignore[misc]
        print(f"affectkit, {size} px: {ours:.2f} ms a frame")
        if size == SIZE:
            ratios = [f"{time / ours:.1f}" for time in (reference, culled, jagged)]
            print(
                f"  times as fast as the painter: {ratios[0]} (front faces {ratios[1]}, jagged {ratios[2]})"
            )


if __name__ == "__main__":
    main()
