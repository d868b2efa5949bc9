"""Shared by all tests: no network, one thread, and a tiny corpus that needs no media."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault(
    "JSONARGPARSE_DEPRECATION_WARNINGS", "off"
)  # lightning 2.6 calls what jsonargparse 4.53 deprecates

import tempfile

import pytest
import torch

os.environ["AFFECTKIT_CACHE"] = tempfile.mkdtemp(prefix="affectkit-tests-")  # never the user's own


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Skip what this machine cannot run, with the reason."""
    from pathlib import Path

    media = Path(__file__).parent.parent / "media"
    no_gpu = pytest.mark.skip(reason="no CUDA device")
    no_media = pytest.mark.skip(reason="real media are absent: run `make media`")
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        if "realmedia" in item.keywords and not media.is_dir():
            item.add_marker(no_media)
