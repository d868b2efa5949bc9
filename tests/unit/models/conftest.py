from __future__ import annotations

import pytest
import torch

from affectkit.models import AffectModel

TINY = {"type": "timm", "model_name": "test_resnet", "size": 32}


@pytest.fixture
def tiny_model() -> AffectModel:
    torch.manual_seed(0)
    model = AffectModel(
        TINY,
        {
            "au": {"type": "au", "space": "AU1,AU12", "per_frame": True},
            "expression": {"type": "expression", "space": "basic7", "dropout": 0.5, "hidden": 8},
            "strength": {"type": "intensity", "space": "intensity:AU6,AU12"},
        },
        {"type": "transformer", "heads": 2, "max_frames": 8},
        input_spec={"frames": 5, "fps": 25.0, "crop_margin": 0.2},
    )
    return model.eval()
