"""Predictors for processes that must be able to import them; some are killed in the middle, the first time."""

import os
import signal
import sys
from pathlib import Path

from affectkit.faces import Face
from affectkit.inference import Predictor


class KilledOnce(Predictor):
    mark: Path

    def predict_video(self, video, *, start=0):
        for row in super().predict_video(video, start=start):
            yield row
            if video.path.name == "b.mkv" and row.frame == 30 and not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)


def killed_once(model, mark, device):
    """Where `mark` exists the process was killed already."""
    predictor = KilledOnce(model, faces="center", device=device)
    predictor.mark = mark
    return predictor


def without_lightning(model, device):
    """Prediction needs nothing of training."""
    if loaded := {"lightning", "pytorch_lightning"} & sys.modules.keys():
        raise RuntimeError(f"{loaded} were loaded")
    return Predictor(model, faces="center", batch_size=4, device=device)


class KillingDetector:
    """Finds a face in the middle; its process is killed at a dark frame, the first time."""

    def __init__(self, mark):
        self.mark = mark

    def __str__(self):
        return "the middle"

    def __call__(self, frames):
        if float(frames.float().mean()) < 60 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        height, width = frames.shape[-2:]
        return [[Face((width / 4, height / 4, width / 2, height / 2), 0.9)] for _ in frames]
