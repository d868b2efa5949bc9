"""A corpus of small pictures with landmarks, to prepare crops of."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from pyarrow import dataset as arrow

from affectkit.data import ClipRecord, Target
from affectkit.data.shards import CropShards
from affectkit.data.video import open_video
from affectkit.datasets import AffectDataset

HEIGHT, WIDTH = 40, 52


def points_of(clip: str, frame: int) -> torch.Tensor:
    """Landmarks of an upright face that drifts from frame to frame."""
    rng = torch.Generator().manual_seed(5)
    points = torch.rand(68, 2, generator=rng) * 16
    points[36:42] += torch.tensor([0.0, -4.0])
    points[42:48] += torch.tensor([14.0, -4.0])
    return points + torch.tensor([10.0 + frame, 12.0 + ord(clip[0]) % 4])


class Faces(AffectDataset):
    """Folders of images; `lost` frames have no landmarks, `None` means that the corpus has none at all."""

    name = "faces"
    citation = "none"
    licence = "none"

    def __init__(self, root, given=None, lost=(), camera="left", **options):
        self.given, self.lost, self.camera = given, lost, camera
        self.spaces = {"au": "AU1"}
        super().__init__(root, **options)

    def records(self):
        folders = sorted(path for path in self.root.iterdir() if path.is_dir())
        return self.given or [
            ClipRecord(path.name, path, subject=path.name[0], onset=2, apex=3) for path in folders
        ]

    def labels(self, record, indices):
        return {"au": Target.make(torch.tensor([[index % 2.0] for index in indices]), space="AU1")}

    def landmarks(self, record, indices):
        if self.lost is None:
            return None
        mask = torch.ones(len(indices), 68, dtype=torch.bool)
        mask[:, 0] = False
        mask[[place for place, index in enumerate(indices) if index in self.lost]] = False
        return torch.stack([points_of(record.path.name, index) for index in indices]), mask


class Small(Faces):
    align_per = "clip"


class TwoCameras(Faces):
    media_options = ("camera",)


class Detector:
    """Finds what it is told, and remembers what it was shown."""

    def __init__(self, find):
        self.find, self.shown = find, []

    def __call__(self, frames):
        assert frames.dtype == torch.uint8
        assert frames.shape[1] == 3
        self.shown.append(len(frames))
        return [self.find(frame) for frame in frames]


def write_clip(folder, frames, seed=0, size=(HEIGHT, WIDTH)):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(frames):
        grey = rng.integers(40, 200, (size[0] // 8, size[1] // 8, 1), dtype=np.uint8)
        noise = grey + np.uint8([40, 10, 0])
        Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")


def raw(path):
    with open_video(path) as reader:
        return reader.read(range(reader.num_frames))


def table_of(out):
    return arrow.dataset(out / "shards", format="ipc").to_table().to_pylist()


def digests(out):
    return {shard.name: shard.sha256 for shard in CropShards(out).manifest.shards}


def transforms(out):
    return [row["transform"] for row in table_of(out)]
