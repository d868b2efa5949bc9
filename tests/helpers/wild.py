"""The toy corpus with units, classes, valence and arousal by frame, and the evaluation of random outputs."""

import torch

from affectkit.data import Draw, Target, collate, derive_seed
from affectkit.models import AUHead, DimensionsHead, ExpressionHead
from affectkit.tasks.evaluation import Evaluation
from helpers.toy import ToyDataset

UNITS, CLASSES = "AU1,AU12,AU4", "happiness,anger,neutral"
HEADS = {
    "va": DimensionsHead(4, "va", per_frame=True),
    "emotion": ExpressionHead(4, CLASSES, per_frame=True, target="expression"),
    "au": AUHead(4, UNITS, per_frame=True),
}


class Wild(ToyDataset):
    """The toy corpus with the three targets by frame; not every frame has each."""

    def __init__(self, **options):
        super().__init__(space=UNITS, **options)
        self.spaces = {"au": UNITS, "expression": CLASSES, "va": "va"}

    def people(self):
        return {"sex": ("female", "male", "female")}

    def labels(self, record, indices):
        rng = torch.Generator().manual_seed(derive_seed(11, record.clip))
        frames = self.frames_each
        known = torch.rand(frames, 3, generator=rng) < 0.8
        values = {
            "au": (torch.rand(frames, 3, generator=rng) < 0.4).float(),
            "expression": torch.randint(3, [frames], generator=rng),
            "va": torch.rand(frames, 2, generator=rng) * 2 - 1,
        }
        masks = {"au": known, "expression": known[:, 0], "va": known[:, 1:2].expand(-1, 2)}
        rows = list(indices)
        return {
            name: Target.make(values[name][rows], masks[name][rows], space=self.spaces[name])
            for name in self.spaces
        }


def evaluate(data, heads=HEADS, seed=3):
    """An evaluation of random outputs, and per subject the tables of predictions, labels and masks."""
    evaluation = Evaluation(heads, [data], "cpu")
    rng = torch.Generator().manual_seed(seed)
    seen = []
    for index in range(len(data)):
        batch = collate([data[Draw(index)]])
        logits = {name: torch.randn(1, 3, len(head.space), generator=rng) for name, head in heads.items()}
        evaluation.update(0, logits, batch)
        seen.append((batch.meta["subject"][0], logits, batch.targets))
    return evaluation, seen
