"""Processor time of prediction per frame and stage, and that its memory does not grow with the video.

    python benchmarks/predict.py [--seconds 8] [--rounds 3] [--size 640x360] [--threads 1] [--model FOLDER]

A video of a rendered face that moves is predicted into a CSV table by the default path: decoding, detection, the mesh
of the followed face, alignment, a network that reads picture and mesh, and the table with pose and gaze. Processor time
counts all threads; it is measured on the machine as it is, and again with a busy process on every processor. The bar is
27 ms a frame.

Memory is the peak of a process of its own that predicts 30 minutes of a small video, against one that predicts a minute
of it. `--memory` measures only that.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import cv2
import numpy as np
import torch

from affectkit.data.video.pyav import PyAVReader
from affectkit.faces import MeshDetector
from affectkit.inference import Predictor, TableWriter, write_predictions
from affectkit.inference.wording import counted
from affectkit.models import AffectModel, load
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
    """A network of pictures and meshes, untrained: its speed is that of a trained one."""
    signals = {"type": "signals", "signals": {"mesh": 1434, "blendshapes": 52, "pose": 3}}
    picture = {"type": "timm", "model_name": name, "size": size}
    heads = {
        "au": {"type": "au", "space": "bp4d12", "per_frame": True},
        "intensity": {"type": "intensity", "space": "intensity:AU1,AU2,AU4,AU6,AU12,AU25", "per_frame": True},
    }
    return AffectModel({"type": "fused", "parts": {"picture": picture, "face": signals}}, heads).eval()


class Stages:
    """Processor seconds spent inside of functions, by stage; a function inside of another counts for itself."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[tuple[str, float]] = []

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count for a stage."""
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1][0]] += now - self._open[-1][1]
        self._open.append((stage, now))
        try:
            yield
        finally:
            now = time.process_time()
            self.seconds[stage] += now - self._open.pop()[1]
            if self._open:
                self._open[-1] = (self._open[-1][0], now)

    def watch(self, owner: Any, name: str, stage: str) -> None:
        """Count a method for a stage."""
        method = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            with self.of(stage):
                return method(*args, **options)

        setattr(owner, name, timed)

    def watch_frames(self, owner: Any) -> None:
        """Count the frames of a reader for decoding."""
        frames = owner.frames

        def timed(*args: Any) -> Iterator[Any]:
            reader = frames(*args)
            while True:
                with self.of("decode"):
                    frame = next(reader, None)
                if frame is None:
                    return
                yield frame

        owner.frames = timed


def cost(path: Path, folder: Path, model: AffectModel, rounds: int) -> tuple[float, dict[str, float], float]:
    """Processor milliseconds a frame, those by stage, and wall milliseconds a frame; medians of the rounds."""
    predictor, stages = Predictor(model), Stages()
    stages.watch_frames(PyAVReader)
    stages.watch(MeshDetector, "detect", "detect")
    stages.watch(MeshDetector, "fit", "mesh")
    stages.watch(Predictor, "_run", "units")
    stages.watch(TableWriter, "write", "table")
    stages.watch(TableWriter, "__exit__", "table")
    found = []
    for _ in range(rounds + 1):
        stages.seconds.clear()
        start, wall = time.process_time(), time.perf_counter()
        frames = write_predictions(predictor, path, folder / "face.csv").frames
        total, wall = time.process_time() - start, time.perf_counter() - wall
        found.append(
            (
                1000 * total / frames,
                {k: 1000 * s / frames for k, s in stages.seconds.items()},
                1000 * wall / frames,
            )
        )
    return sorted(found[1:], key=lambda one: one[0])[rounds // 2]  # the first round warms caches


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Busy processes beside this one."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


def speed(options: argparse.Namespace, folder: Path) -> None:
    """Processor time a frame, alone and beside others."""
    path = folder / "face.mp4"
    width, height = map(int, options.size.split("x"))
    write_video(path, width, height, 25, options.seconds)
    if options.part:
        model = load(options.model) if options.model else make_model("resnet18", 112)
        total, stages, wall = cost(path, folder, model, options.rounds)
        print(f"  {options.part}: {total:.1f} ms of processor time a frame, {wall:.1f} ms on the clock")
        rest = total - sum(stages.values())
        for name, value in {**stages, "follow, align, rest": rest}.items():
            print(f"    {name}: {value:.1f} ms, {value / total:.0%}")
        return
    print(f"{options.size}, one face, {counted(options.threads, 'thread')}; the bar is 27 ms:")
    command = [sys.executable, "-P", *sys.argv, "--part"]
    subprocess.run([*command, "as it is"], check=True)
    with neighbours(os.cpu_count() or 1):
        subprocess.run([*command, "beside busy processes"], check=True)


def peak(path: Path, table: Path) -> tuple[float, int]:
    """Megabytes at the peak, and rows, of a process that predicts a video."""
    arguments = [sys.executable, "-P", __file__, "--child", str(path), str(table)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    megabytes, rows = done.stdout.split()
    return float(megabytes), int(rows)


def child(path: str, table: str) -> None:
    """Predict in this process and print its peak."""
    torch.set_num_threads(1)
    done = write_predictions(Predictor(make_model("test_resnet", 32)), path, table)
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
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--threads", type=int, default=1, help="of torch and onnxruntime")
    parser.add_argument(
        "--model", help="folder of a model; by default an untrained one of ResNet-18 and a mesh"
    )
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help="memory alone")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        if not options.memory:
            speed(options, Path(name))
        if not options.part:
            memory(Path(name))


if __name__ == "__main__":
    main()
