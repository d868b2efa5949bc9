"""Videos that live in memory."""

from __future__ import annotations

import pytest
from helpers.memory import MemoryVideo, noise


@pytest.fixture
def memory_video():
    def make(count: int, picture=noise, **kwargs) -> MemoryVideo:
        return MemoryVideo(count, picture, **kwargs)

    return make
