"""Clips as folders of images whose pixels hold the number of the frame."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Indices are kept in a folder of this file's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("AFFECTKIT_CACHE", str(folder))
        yield folder


@pytest.fixture
def make_clip(tmp_path):
    """Writes a folder of images under the root; frame k is filled with k + `base`."""

    def make(name: str, *, frames: int = 6, base: int = 0, size: tuple[int, int] = (10, 8)) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for index in range(frames):
            Image.new("RGB", size, (base + index, 0, 0)).save(folder / f"img{index + 1}.png")
        return folder

    return make


@pytest.fixture
def write_index(tmp_path):
    """Writes `index.csv` out of lines."""

    def write(*lines: str, name: str = "index.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
