"""A small untrained model and videos that live in memory."""

from __future__ import annotations

import pytest
import torch
from helpers.memory import MemoryVideo, noise

from affectkit.models import AffectModel


@pytest.fixture
def memory_video():
    def make(count: int, picture=noise, **kwargs) -> MemoryVideo:
        return MemoryVideo(count, picture, **kwargs)

    return make


@pytest.fixture(scope="session")
def make_model():
    def make(frames: int = 1, heads: dict | None = None, **spec) -> AffectModel:
        torch.manual_seed(0)
        heads = heads or {
            "expression": {"type": "expression", "space": "basic7"},
            "au": {"type": "au", "space": "AU1,AU12", "per_frame": True},
        }
        model = AffectModel(
            {"type": "timm", "model_name": "test_resnet", "size": 32},
            heads,
            {"type": "transformer", "max_frames": 8} if frames > 1 else None,
            input_spec={"frames": frames, **spec},
        )
        for parameter in model.heads.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return model.eval()

    return make
