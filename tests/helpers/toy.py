"""A corpus without media: every unit lights up its own patch of the picture, so that a small net learns it."""

from dataclasses import replace
from pathlib import Path

import torch

from affectkit.data import ClipRecord, Target, derive_seed
from affectkit.datamodules import SingleDataModule
from affectkit.datasets import AffectDataset
from affectkit.facs import label_space

SIZE = 32
SPLITS = {"train": range(6), "val": range(6, 8), "test": range(8, 11)}


class ToyDataset(AffectDataset):
    """`subjects` people with `clips` clips each; some labels are missing, as in real corpora."""

    name = "toy"
    citation = "none"
    licence = "none"

    def __init__(
        self, root=Path(), *, split="all", clips=4, frames_per_clip=3, space="AU1,AU12,AU4", **options
    ):
        self.clips_each, self.frames_each = clips, frames_per_clip
        self.spaces = {"au": space, "intensity": f"intensity:{space}", "expression": "basic7"}
        super().__init__(root, split=split, **options)

    def records(self):
        people = SPLITS.get(self.split, range(11))
        return [
            ClipRecord(
                clip=f"s{p:02d}_{k}", path=Path("none"), subject=f"s{p:02d}", num_frames=self.frames_each
            )
            for p in people
            for k in range(self.clips_each)
        ]

    def truth(self, record):
        rng = torch.Generator().manual_seed(derive_seed(7, record.clip))
        units = label_space(self.spaces["au"])
        active = torch.rand(self.frames_each, len(units), generator=rng) < 0.4
        known = torch.rand(self.frames_each, len(units), generator=rng) < 0.9
        return active, known

    def labels(self, record, indices):
        active, known = self.truth(record)
        expression = torch.tensor(int(active[0, 0]) + 2 * int(active[0, 1]))
        rows = list(indices)
        return {
            "au": Target.make(active[rows].float(), known[rows], space=self.spaces["au"]),
            "intensity": Target.make(3.0 * active[rows], known[rows], space=f"intensity:{self.spaces['au']}"),
            "expression": Target.make(expression, space="basic7"),
        }

    def load(self, record, indices):
        active, _ = self.truth(record)
        rng = torch.Generator().manual_seed(derive_seed(8, record.clip))
        frames = torch.randint(0, 60, (self.frames_each, 3, SIZE, SIZE), generator=rng, dtype=torch.uint8)
        for k in range(active.shape[1]):
            frames[:, :, 4 * k : 4 * k + 4, :8] += (active[:, k].to(torch.uint8) * 150)[:, None, None, None]
        return frames[list(indices)]


class ToyDataModule(SingleDataModule):
    """The toy corpus behind Lightning's loaders."""

    def __init__(self, *, root=".", space="AU1,AU12,AU4", clips=4, **options):
        super().__init__(**options)
        self.root, self.space, self.clips = root, space, clips

    def make_dataset(self, split):
        return ToyDataset(self.root, split=split, space=self.space, clips=self.clips)


class WithPose(ToyDataset):
    """The toy corpus with a signal: the mean colour of each frame."""

    def __getitem__(self, draw):
        clip = super().__getitem__(draw)
        return replace(
            clip,
            signals={"pose": clip.frames.float().mean((2, 3))},
            signals_mask=torch.ones(3, dtype=torch.bool),
        )


class WithPoseDataModule(ToyDataModule):
    """The toy corpus with the signal, behind Lightning's loaders."""

    def make_dataset(self, split):
        return WithPose(self.root, split=split, space=self.space, clips=self.clips)

    def prepare_data(self):
        """Measure nothing."""
