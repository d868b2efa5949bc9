"""Training from prepared crops against training from the media, side by side in one run; prints ratios.

    python benchmarks/prepare.py [--clips 7] [--workers 0] [--rounds 3]

Two trees are rendered: JPEG images of 1040 x 1392 pixels, as BP4D has them, and H.264 videos of 1024 x 768, as DISFA
has them; clips of 16 frames each. Both are read through the datamodule with the transforms of a recipe (to 112 pixels),
from the media and from `affectkit data prepare`'s crops (256 pixels, JPEG): the loader alone, and with a step of a
small network. Then the crops are read without the datamodule, and decoded without reading: the decoder's limit. The
rounds alternate, so that a busy machine is busy for both.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import cv2
import numpy as np
import pyarrow as pa
import torch

from affectkit.data.shards import CropShards
from affectkit.datamodules import TableDataModule
from affectkit.datasets import TableDataset
from affectkit.datasets.preparing import prepare
from affectkit.models import AffectModel
from affectkit.synth import Face, FaceRenderer, Person, Scene

FRAMES, SIZE = 16, 112
SIZES = {"JPEG images, 1040 x 1392": (1392, 1040), "H.264 videos, 1024 x 768": (768, 1024)}


def render(clips: int, height: int, width: int) -> list[list[np.ndarray]]:
    """Faces that fill two thirds of frames with the grain of a camera."""
    renderer = FaceRenderer(512)
    renderer.set(Person(), Scene())
    rng = np.random.default_rng(0)
    side = min(height, width) * 2 // 3
    grain = rng.normal(0, 4, (height, width, 3)).astype(np.float32)
    result = []
    for clip in range(clips):
        frames = []
        for k in range(FRAMES):
            face = renderer.render(Face({12: k / FRAMES, 4: 0.3}, yaw=3.0 * clip)).image
            frame = np.full((height, width, 3), 90, np.float32)
            top, left = (height - side) // 2, (width - side) // 2 + k
            frame[top : top + side, left : left + side] = cv2.resize(face, (side, side))
            frames.append(np.clip(frame + np.roll(grain, 7 * k + clip, axis=1), 0, 255).astype(np.uint8))
        result.append(frames)
    return result


def write(root: Path, clips: list[list[np.ndarray]], *, video: bool) -> None:
    """A folder of images or a video for each clip, and the table that lists them."""
    lines = ["path,subject,split,num_frames,AU12"]
    for number, frames in enumerate(clips):
        path = root / (f"{number}.mp4" if video else str(number))
        if video:
            with av.open(str(path), "w") as container:
                stream = container.add_stream("libx264", rate=25, options={"crf": "18"})
                stream.height, stream.width = frames[0].shape[:2]
                stream.pix_fmt = "yuv420p"
                for frame in frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode())
        else:
            path.mkdir()
            for k, frame in enumerate(frames):
                cv2.imwrite(str(path / f"{k:04d}.jpg"), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        lines.append(f"{path.name},s{number},{'val' if number == 0 else 'train'},{FRAMES},{number % 2}")
    (root / "index.csv").write_text("\n".join(lines) + "\n")


def small_model() -> torch.nn.Module:
    """A network whose step does not hide the reading, as one on an accelerator does not."""
    backbone = {"type": "timm", "model_name": "test_resnet", "size": SIZE}
    return AffectModel(backbone, {"au": {"type": "au", "space": "AU12"}}, {"type": "mean"})


def epoch(loader: object, model: torch.nn.Module | None) -> float:
    """Seconds a clip of one pass, with a training step on each batch where there is a model."""
    optimizer = None if model is None else torch.optim.SGD(model.parameters(), lr=1e-3)
    clips = 0
    start = time.perf_counter()
    for batch in loader:  # type: ignore[attr-defined]
        clips += len(batch)
        if model is not None and optimizer is not None:
            logits = model(batch.frames)["au"]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.targets["au"].value)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return (time.perf_counter() - start) / clips


def loader_of(root: Path, prepared: Path | None, workers: int) -> object:
    """Training batches as a recipe asks for them."""
    data = TableDataModule(
        str(root),
        num_frames=FRAMES,
        size=SIZE,
        batch_size=2,
        num_workers=workers,
        prepared=None if prepared is None else str(prepared),
    )
    data.setup("fit")
    return data.train_dataloader()


def shares_of_decoder(crops: Path, rounds: int) -> None:
    """Print the processor time of decoding alone as a share of that of reading crops."""
    shards = CropShards(str(crops))
    clips = {clip: range(start, stop) for one in shards.manifest.shards for clip, start, stop in one.clips}
    tables = [pa.ipc.open_file(str(path)).read_all() for path in sorted(crops.rglob("*.arrow"))]
    pictures = [one.as_buffer() for table in tables for one in table["image"]]

    def decode() -> None:
        for content in pictures:
            cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)

    def read() -> None:
        for clip, frames in clips.items():
            shards.read(clip, frames)

    times: dict[str, list[float]] = {"decode": [], "read": []}
    for _ in range(rounds + 1):
        for work in (decode, read):
            start = time.process_time()
            work()
            times[work.__name__].append(time.process_time() - start)
    decoding, reading = (min(times[name]) for name in ("decode", "read"))
    print(
        f"  decoding is {decoding / reading:.2f} of reading crops ({1e3 * reading / len(pictures):.2f} ms a frame)"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=7)
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for title, (height, width) in SIZES.items():
            root, out = Path(folder) / title[:4].strip(), Path(folder) / f"prepared-{title[:4].strip()}"
            root.mkdir()
            write(root, render(options.clips, height, width), video="video" in title)
            side = min(height, width) * 2 // 3
            box = f"{(width - side) // 2},{(height - side) // 2},{side},{side}"
            start = time.perf_counter()
            made = prepare(TableDataset(root), out, crop=box)
            seconds = time.perf_counter() - start
            bytes_of = [sum(f.stat().st_size for f in at.rglob("*") if f.is_file()) for at in (root, out)]
            print(
                f"{title}: {made.frames} frames prepared, {1e3 * seconds / made.frames:.0f} ms each; ", end=""
            )
            print(f"{bytes_of[0] / 1e6:.1f} MB of media, {bytes_of[1] / 1e6:.1f} MB of crops")
            for what, model in (("loader alone", None), ("with a training step", small_model())):
                times: dict[str, list[float]] = {"media": [], "crops": []}
                places = {"media": None, "crops": out}
                loaders = {name: loader_of(root, at, options.workers) for name, at in places.items()}
                for loader in loaders.values():
                    epoch(loader, model)  # warm caches and processes
                for _ in range(options.rounds):
                    for name, loader in loaders.items():
                        times[name].append(epoch(loader, model))
                media, crops = (1e3 * statistics.median(times[name]) for name in ("media", "crops"))
                print(f"  {what}: {media:.0f} ms a clip from the media, {crops:.0f} ms from crops; ", end="")
                print(f"{media / crops:.1f} times as fast")
            shares_of_decoder(out, 4 * options.rounds)


if __name__ == "__main__":
    main()
