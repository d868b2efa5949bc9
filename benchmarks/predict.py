"""What prediction costs besides the model, and that its memory does not grow with the video; prints ratios.

    python benchmarks/predict.py [--seconds 8] [--rounds 3] [--size 480x360]

A video of a rendered face that moves is predicted by a network of the size of those in the recipes (ResNet-18, pictures
of 112 pixels), on one core: the model alone on pictures that are cut out already, with decoding and a fixed crop, and
with decoding, detection, tracking and alignment; the last two into a CSV table. The rounds alternate, so that a busy
machine is busy for all three.

Memory is the peak of a process of its own that predicts 30 minutes of a small video with detection, against one that
predicts a minute of it. `--memory` measures only that.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import cv2
import numpy as np
import torch

from affectkit.data.video import open_video
from affectkit.faces import Crop
from affectkit.inference import Predictor, write_predictions
from affectkit.models import AffectModel
from affectkit.synth import Face, FaceRenderer, Person, Scene

MEMORY_SIZE, MEMORY_FPS = (160, 120), 5  # a small video: it is the number of frames that counts


def pictures(width: int, height: int, count: int = 25) -> list[np.ndarray]:
    """A face that smiles and moves to the side and back."""
    renderer = FaceRenderer(256)
    renderer.set(Person(), Scene())
    side = min(width, height) * 3 // 4
    found = []
    for k in range(count):
        turn = np.sin(2 * np.pi * k / count)
        image = cv2.resize(renderer.render(Face({12: abs(turn)}, yaw=8.0 * turn)).image, (side, side))
        frame = np.full((height, width, 3), 90, np.uint8)
        top, left = (height - side) // 2, (width - side) // 2 + int(turn * (width - side) / 4)
        frame[top : top + side, left : left + side] = image
        found.append(frame)
    return found


def write_video(path: Path, width: int, height: int, fps: int, seconds: float) -> None:
    """The pictures over and over."""
    loop = pictures(width, height)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(int(fps * seconds)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(loop[k % len(loop)], format="rgb24")))
        container.mux(stream.encode())


def make_model(name: str, size: int) -> AffectModel:
    """A network with the heads of the recipes, untrained: its speed is that of a trained one."""
    heads = {"au": {"type": "au", "space": "bp4d12"}, "expression": {"type": "expression", "space": "basic7"}}
    return AffectModel({"type": "timm", "model_name": name, "size": size}, heads).eval()


def model_only(predictor: Predictor, clip: torch.Tensor) -> None:
    """All frames through the model, in the batches of the predictor."""
    for batch in clip.split(predictor.batch_size):
        predictor.model.predict(batch)


def speed(seconds: float, rounds: int, width: int, height: int, folder: Path) -> None:
    """Frames a second of the three, and their ratios."""
    path = folder / "face.mp4"
    write_video(path, width, height, 25, seconds)
    model = make_model("resnet18", 112)
    fixed, detecting = Predictor(model, faces="center"), Predictor(model, faces="detect")
    with open_video(path) as video:
        frames = video.num_frames
        clip = torch.stack([Crop()(frame, 112) for _, _, frame in video.frames()])[:, None]
    tasks: dict[str, Callable[[], object]] = {
        "model only": lambda: model_only(fixed, clip),
        "with decoding, crop and table": lambda: write_predictions(fixed, path, folder / "fixed.csv"),
        "with detection and tracking as well": lambda: write_predictions(
            detecting, path, folder / "found.csv"
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if turn:  # the first one warms caches
                times[name].append(time.perf_counter() - start)
    base = statistics.median(times["model only"])
    print(f"{frames} frames of {width} x {height}, ResNet-18 at 112 pixels, one core:")
    for name, found in times.items():
        middle = statistics.median(found)
        print(f"  {name}: {frames / middle:.1f} frames a second, {base / middle:.2f} of the model's")


def peak(path: Path, table: Path) -> tuple[float, int]:
    """Megabytes at the peak, and rows, of a process that predicts a video."""
    arguments = [sys.executable, __file__, "--child", str(path), str(table)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    megabytes, rows = done.stdout.split()
    return float(megabytes), int(rows)


def child(path: str, table: str) -> None:
    """Predict in this process and print its peak."""
    torch.set_num_threads(1)
    done = write_predictions(Predictor(make_model("test_resnet", 32), faces="detect"), path, table)
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(usage / (2**20 if sys.platform == "darwin" else 2**10), done.frames)


def memory(folder: Path) -> None:
    """The peaks of a long and a short video."""
    peaks = {}
    for minutes in (1, 30):
        path = folder / f"{minutes}.mp4"
        write_video(path, *MEMORY_SIZE, MEMORY_FPS, 60 * minutes)
        peaks[minutes], frames = peak(path, folder / f"{minutes}.csv")
        print(f"  {minutes} minutes, {frames} frames: {peaks[minutes]:.0f} MB at the peak")
    print(f"  30 minutes take {peaks[30] - peaks[1]:+.0f} MB more than one")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of the video whose speed is measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="480x360")
    parser.add_argument("--memory", action="store_true", help="memory alone")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        if not options.memory:
            speed(options.seconds, options.rounds, *map(int, options.size.split("x")), Path(name))
        memory(Path(name))


if __name__ == "__main__":
    main()
