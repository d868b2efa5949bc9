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


def milliseconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median processor time of each call; they take turns, so that a busy machine slows all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, run in calls.items():
            for again in range(5):
                start = time.process_time()
                run()
                if again:  # the first call of a turn fetches its data from memory
                    times[name].append(time.process_time() - start)
    return {name: 1e3 * float(np.median(spent)) for name, spent in times.items()}


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
    calls: dict[str, Callable[[], object]] = {
        "painter": lambda: paint(renderer, face, smooth_edges=True, cull=False),
        "front": lambda: paint(renderer, face, smooth_edges=True, cull=True),
        "jagged": lambda: paint(renderer, face, smooth_edges=False, cull=True),
    }
    sizes = (64, 80, SIZE, 224)
    for size in sizes:
        own = FaceRenderer(size)
        own.set(Person(), Scene())
        calls[f"{size}"] = lambda own=own: own.render(face)  # type: ignore[misc]
    spent = milliseconds(calls, max(frames // 4, 1))
    print(f"painter's algorithm, {SIZE} px: {spent['painter']:.1f} ms a frame")
    print(f"  front faces only: {spent['front']:.1f} ms; and not anti-aliased: {spent['jagged']:.1f} ms")
    for size in sizes:
        print(f"affectkit, {size} px: {spent[str(size)]:.2f} ms a frame")
    ratios = {name: spent[name] / spent[str(SIZE)] for name in ("painter", "front", "jagged")}
    print(
        f"at {SIZE} px {ratios['painter']:.1f} times as fast as the painter "
        f"(front faces {ratios['front']:.1f}, jagged {ratios['jagged']:.1f})"
    )


if __name__ == "__main__":
    main()
