"""The rehearsal of SMIC has the published numbers."""

from __future__ import annotations

import pytest

from affectkit.errors import ConfigError
from affectkit.rehearse import rehearse
from affectkit.rehearse.smic import write_smic


@pytest.mark.parametrize(("part", "clips", "people"), [("HS", 164, 16), ("VIS", 71, 8), ("NIR", 71, 8)])
def test_full_has_the_published_numbers(tmp_path, part, clips, people):
    counts = write_smic(tmp_path, size="full", media=False, part=part)["counts"]
    assert (counts["clips"], counts["subjects"], counts["frames"]) == (clips, people, None)
    if part == "HS":
        assert counts["classes"] == {"negative": 70, "positive": 51, "surprise": 43}
    assert len(list(tmp_path.glob(f"SMIC_all_cropped/{part}/s*/micro/*/s*"))) == clips


def test_tiny_looks_like_the_real_one(tmp_path):
    manifest = write_smic(tmp_path, variant="raw")
    files = sorted(tmp_path.glob("SMIC_all_raw/HS/s*/micro/*/*/image*.bmp"))
    assert len(files) == manifest["counts"]["frames"]
    assert set(manifest["counts"]["classes"]) == {"negative", "positive", "surprise"}
    assert any(path.stem.startswith("image0") for path in files)
    assert list(tmp_path.glob("SMIC_all_raw/HS/s*/non_micro"))
    assert manifest["rendered"] is True


def test_wrong_arguments(tmp_path):
    for name in ("part", "variant"):
        with pytest.raises(ConfigError, match=f"{name}='x'"):
            rehearse("smic", tmp_path, **{name: "x"})
