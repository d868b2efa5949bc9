"""Faces rendered from a FACS rig, with exact labels."""

from __future__ import annotations

from affectkit.synth.corpus import expression_ceiling, render_corpus
from affectkit.synth.render import RENDERER_VERSION, Face, FaceRenderer, Person, Rendered, Scene
from affectkit.synth.rig import RIG_UNITS, FaceRig, load_rig, unit_weights
from affectkit.synth.settings import Association, CorpusSettings, association_table
from affectkit.synth.skin import SkinLook
from affectkit.synth.writers import write_frames, write_video

__all__ = [
    "RENDERER_VERSION", "RIG_UNITS", "Association", "CorpusSettings", "Face", "FaceRenderer", "FaceRig",
    "Person", "Rendered", "Scene", "SkinLook", "association_table", "expression_ceiling", "load_rig",
    "render_corpus", "unit_weights", "write_frames", "write_video",
]  # fmt: skip
