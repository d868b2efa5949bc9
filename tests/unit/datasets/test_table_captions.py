"""Captions of a table: columns, or JSON Lines beside it."""

from __future__ import annotations

import json

import pytest

from affectkit.datasets import TableDataset
from affectkit.errors import AnnotationError, ConfigError


def table(root, text):
    (root / "index.csv").write_text(text)
    return root


def test_columns_are_parts(tmp_path):
    root = table(tmp_path, "path,Caption,caption_summary,caption_Brows\na.png,Calm.,,Up.\nb.png,NA,Sad.,\n")
    data = TableDataset(root)
    assert [data.captions(record) for record in data.clips] == [
        {"global": "Calm.", "brows": "Up."},
        {"summary": "Sad."},
    ]


def test_a_file_beside_the_table_is_read(tmp_path):
    root = table(tmp_path, "path,clip\na.png,a\nb.png,b\n")
    (root / "captions.jsonl").write_text(json.dumps({"clip": "b", "local": {"mouth": "Open."}}))
    for data in (TableDataset(root), TableDataset(root / "index.csv")):
        assert [data.captions(record) for record in data.clips] == [{}, {"mouth": "Open."}]


def test_both_are_ambiguous(tmp_path):
    root = table(tmp_path, "path,clip,caption\na.png,a,Calm.\n")
    (root / "captions.jsonl").write_text(json.dumps({"clip": "a", "global": "Tense."}))
    with pytest.raises(AnnotationError, match="columns caption and in"):
        TableDataset(root)


def test_captions_of_other_clips_are_an_error(tmp_path):
    root = table(tmp_path, "path,clip\na.png,a\n")
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"clip": "z", "global": "Calm."}))
    with pytest.raises(ConfigError, match="None of the captions belongs to a clip of table"):
        TableDataset(root, captions=other)
    assert TableDataset(root).captions(TableDataset(root).clips[0]) == {}
