"""Tracks and methods of the leaderboard. A new method is one entry in `METHODS` and a recipe in `methods/`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SEEDS, EPOCHS, EMA = 5, 12, 0.99


@dataclass(frozen=True)
class Track:
    """One table of the leaderboard.

    Args:
        title: Its heading.
        corpus: Recipe in `corpora/` of the training and validation people.
        head: Head that is tested.
        metric: Result that ranks the methods.
        text: Description.
        tested_on: Recipe of the test people, by default that of the training people.
    """

    title: str
    corpus: str
    head: str
    metric: str
    text: str
    tested_on: str | None = None


_F1 = "Macro F1 of the positive class, thresholds of the validation people."
_UAR = "Unweighted average recall (UAR) of seven expressions."
TRACKS: Mapping[str, Track] = {
    "units": Track(
        "Action units",
        "faces",
        "au",
        "f1_pos",
        f"16 action units, large movements in a studio; 76 people train and 64 test. {_F1}",
    ),
    "expressions": Track(
        "Expressions", "faces", "expression", "uar", f"The same people, one expression per clip. {_UAR}"
    ),
    "micro": Track(
        "Micro-expressions",
        "micro",
        "au",
        "f1_pos",
        f"8 action units per clip, brief movements at a low intensity; 101 people train and 54 test. {_F1}",
    ),
    "webcam": Track(
        "From studio to webcam",
        "faces",
        "au",
        "f1_pos",
        "The models of the track “Action units”, with their thresholds, on the same test people and movements recorded "
        f"by a webcam. {_F1}",
        "webcam",
    ),
    "few": Track(
        "Few labels",
        "few",
        "expression",
        "uar",
        f"The test people of the track “Expressions”; 12 people with 84 clips train. {_UAR}",
    ),
    "noisy": Track(
        "Noisy labels",
        "noisy",
        "expression",
        "uar",
        "The people of the track “Expressions”; 40 % of the training labels are another class at random, test labels "
        f"are right. {_UAR}",
    ),
}


@dataclass(frozen=True)
class Method:
    """One row of the tables.

    Args:
        title: Its name in the tables.
        kind: A baseline (a plain network with linear heads, or a published small network), or a method.
        recipes: By track, the recipe in `methods/`. Tracks with the same corpus and recipe share their models.
        note: Labels or knowledge that others in the table lack.
    """

    title: str
    kind: Literal["baseline", "method"]
    recipes: Mapping[str, str]
    note: str = ""


_CLIP = "cnn_expressions"
METHODS: Mapping[str, Method] = {
    "cnn": Method(
        "CNN",
        "baseline",
        {
            "units": "cnn_units", "webcam": "cnn_units", "micro": "cnn_micro",
            "expressions": _CLIP, "few": _CLIP, "noisy": _CLIP,
        },
    ),
    "vit": Method(
        "ViT",
        "baseline",
        {
            "units": "vit_units", "webcam": "vit_units", "micro": "vit_micro",
            "expressions": "vit_expressions",
        },
    ),
    "mesh": Method(
        "Face mesh",
        "baseline",
        {
            "units": "mesh_units", "webcam": "mesh_units",
            "expressions": "mesh_expressions", "few": "mesh_expressions", "noisy": "mesh_expressions",
        },
        "mesh network trained on real faces by its authors",
    ),
    "cnn_joint": Method(
        "CNN, two heads",
        "baseline",
        dict.fromkeys(("units", "webcam", "expressions"), "cnn_joint"),
        "labels of units and expressions",
    ),
    "cnn_smooth": Method("CNN, label smoothing", "baseline", {"noisy": "cnn_smooth"}),
    "ststnet": Method("STSTNet", "baseline", {"micro": "ststnet"}),
    "offapexnet": Method("Off-ApexNet", "baseline", {"micro": "offapexnet"}),
    "led": Method("LED", "baseline", {"micro": "led"}, "six frames per clip"),
    "graph": Method("ME-GraphAU head", "method", {"units": "graph_units", "webcam": "graph_units"}),
    "au_ttt": Method("AU-TTT", "method", {"units": "au_ttt", "webcam": "au_ttt"}),
    "ssm": Method(
        "SSM",
        "method",
        dict.fromkeys(("units", "webcam", "expressions", "few"), "ssm"),
        "labels of units and expressions, FACS prior",
    ),
    "mul_dml": Method(
        "Mul-DML", "method", dict.fromkeys(("expressions", "few", "noisy"), "mul_dml")
    ),
    "emocapclip": Method(
        "EmoCapCLIP, zero-shot",
        "method",
        {"expressions": "emocapclip"},
        "captions of exact units; no label of an expression",
    ),
    "fgsgl": Method("FG-SGL", "method", {"expressions": "fgsgl"}, "four frames per clip"),
    "feallm": Method(
        "FEALLM",
        "method",
        dict.fromkeys(("units", "webcam"), "feallm"),
        "frozen tower of the demo model, trained on other rendered people; labels of units and expressions",
    ),
    "noisy_labels": Method(
        "Noisy labels with a rater", "method", {"noisy": "noisy_labels"}, "answers of a simulated rater"
    ),
    "micro_au_clip": Method("Micro-AU CLIP", "method", {"micro": "micro_au_clip"}),
    "aullm": Method("AULLM++", "method", {"micro": "aullm"}, "six frames per clip"),
}  # fmt: skip


def cells() -> Iterator[tuple[str, str]]:
    """Track and method of every cell, track by track."""
    for track in TRACKS:
        for name, method in METHODS.items():
            if track in method.recipes:
                yield track, name


def arguments(corpus: str, recipe: str) -> list[str]:
    """Options of `affectkit fit` for a corpus and a recipe."""
    paths = (HERE / "corpora" / f"{corpus}.yaml", HERE / "methods" / f"{recipe}.yaml")
    return [argument for path in paths for argument in ("--config", str(path))]


def settings(track: str, method: str) -> str:
    """Hash of everything that determines the numbers of a cell, except for the code."""
    from affectkit.cli.recipe import as_text, compose

    one = TRACKS[track]
    corpora = dict.fromkeys((one.corpus, one.tested_on or one.corpus))
    options = [option for corpus in corpora for option in arguments(corpus, METHODS[method].recipes[track])]
    texts = [as_text(compose(Path(path))) for path in options if path != "--config"]
    content = "\n".join([*texts, one.head, one.metric, str((EPOCHS, EMA))])
    return hashlib.sha256(content.encode()).hexdigest()[:12]
