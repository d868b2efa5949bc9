"""Processor time per frame of the face mesh and of its parts, with one thread, against CenterFace.

    python benchmarks/mesh.py [--rounds 30] [--size 640x360]

The frames show a rendered face that moves. Tasks alternate, so that a busy machine is busy for all of them; the
numbers are the processor time of the median round (of the mean one for videos, where some frames are detected).
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from itertools import cycle

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

from affectkit.faces import CenterFace, FaceTracker, MeshDetector, MeshTracker
from affectkit.synth import Face, FaceRenderer, Person, Scene


def make_frames(width: int, height: int, count: int = 24) -> list[torch.Tensor]:
    """A face that smiles and moves to the side and back, uint8 [3, H, W]."""
    renderer = FaceRenderer(256)
    renderer.set(Person(), Scene(zoom=0.3))
    frames, side = [], height * 3 // 4
    for k in range(count):
        turn = float(np.sin(2 * np.pi * k / count))
        image = cv2.resize(renderer.render(Face({12: abs(turn)}, yaw=8 * turn)).image, (side, side))
        frame = np.full((height, width, 3), 90, np.uint8)
        left = (width - side) // 2 + int(turn * (width - side) / 4)
        frame[height // 8 : height // 8 + side, left : left + side] = image
        frames.append(torch.from_numpy(frame).permute(2, 0, 1).contiguous())
    return frames


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--size", default="640x360")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frames = make_frames(*map(int, options.size.split("x")))
    detector, center, tracker, identities = MeshDetector(), CenterFace(), MeshTracker(), FaceTracker()
    frame, endless = frames[0], cycle(frames)
    regions = detector.detect(frame[None])[0]
    (mesh,) = detector.fit([frame], regions)
    faces = center(frame[None])[0]
    pixels = np.random.default_rng(0).random((1, 3, 256, 256), np.float32)
    points = mesh.points[None, :146, :2].numpy()
    tasks: dict[str, Callable[[], object]] = {
        "detect faces": lambda: detector.detect(frame[None]),
        "mesh network": lambda: detector._mesh.run(None, {"image": pixels}),
        "blendshape network": lambda: detector._blendshapes.run(None, {"points": points}),
        "read one region": lambda: detector.fit([frame], regions),
        "head pose and gaze": mesh.gaze,
        "photo (MeshDetector)": lambda: detector(frame[None]),
        "video (MeshTracker)": lambda: tracker.update(next(endless)),
        "CenterFace": lambda: center(frame[None]),
        "CenterFace and FaceTracker": lambda: (center(frame[None]), identities.update(faces, frame)),
    }
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(options.rounds + 2):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if turn > 1:  # the first rounds warm caches
                times[name].append(time.process_time() - start)
    base = statistics.median(times["CenterFace"])
    print(
        f"Frames of {options.size}, one face, one thread; milliseconds of processor time and share of CenterFace's:"
    )
    for name, found in times.items():
        middle = statistics.fmean(found) if "video" in name else statistics.median(found)
        print(f"  {name}: {1e3 * middle:.1f} ms, {middle / base:.2f}")


if __name__ == "__main__":
    main()
