"""Clips: reading, sampling, transforms, batches and splits, in plain tensors, without corpora and Lightning."""

from __future__ import annotations

from affectkit.data.captions import HELD_OUT, WriteCaptions, read_captions
from affectkit.data.clip import Clip, ClipBatch, collate, concat, is_same_setting
from affectkit.data.clip_labels import ClipLabels
from affectkit.data.frames import AllFrames, FrameSampler, OnsetApex, UniformSegments, Window
from affectkit.data.mixup import ClipMixup
from affectkit.data.record import ClipRecord
from affectkit.data.samplers import Draw, EvalSampler, ReplaySampler, derive_seed, draw_weights
from affectkit.data.shards import CropShards
from affectkit.data.splits import (
    canonical_subject,
    check_disjoint,
    leave_one_subject_out,
    split_subjects,
)
from affectkit.data.target import Target
from affectkit.data.transforms import (
    MIRRORS,
    CenterCrop,
    ClipTransform,
    ColorJitter,
    Compose,
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    RandomRotation,
    Resize,
)
from affectkit.data.video import Backend, VideoReader, open_video

__all__ = [
    "HELD_OUT",
    "MIRRORS",
    "AllFrames",
    "Backend",
    "CenterCrop",
    "Clip",
    "ClipBatch",
    "ClipLabels",
    "ClipMixup",
    "ClipRecord",
    "ClipTransform",
    "ColorJitter",
    "Compose",
    "CropShards",
    "Draw",
    "EvalSampler",
    "FrameSampler",
    "HorizontalFlip",
    "OnsetApex",
    "RandomCrop",
    "RandomResizedCrop",
    "RandomRotation",
    "ReplaySampler",
    "Resize",
    "Target",
    "UniformSegments",
    "VideoReader",
    "Window",
    "WriteCaptions",
    "canonical_subject",
    "check_disjoint",
    "collate",
    "concat",
    "derive_seed",
    "draw_weights",
    "is_same_setting",
    "leave_one_subject_out",
    "open_video",
    "read_captions",
    "split_subjects",
]
