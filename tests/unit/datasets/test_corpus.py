"""Splits, counts and check tables of the published corpora."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from PIL import Image

from affectkit.data import ClipRecord, Target
from affectkit.datasets import CASME2, RAFDB
from affectkit.datasets.bases.corpus import Corpus, CountReport, Counts, compare_counts
from affectkit.errors import ConfigError
from affectkit.facs import AUSet, parse_coding
from affectkit.losses import inverse_frequency_weights

PEOPLE = ("sub01", "sub02", "sub03", "sub04")


class Toy(Corpus):
    """Two clips a subject, the second with a coding and an emotion."""

    name = "CASME2"
    protocols = CASME2.protocols
    citation = "none"
    licence = "none"
    expected: ClassVar = {"r1": Counts(subjects=4, clips=8)}

    def __init__(self, root, *, people=PEOPLE, coded=None, **options):
        self.people, self.coded = people, coded
        self.spaces = {"au": "AU1,AU12"}
        super().__init__(root, **options)

    def annotations(self):
        self.revision = "r1"
        self.conflicts.append("sub01/a: two labels")
        return [
            ClipRecord(
                clip=f"{name}/{k}",
                path=self.root / name / str(k),
                subject=name,
                apex=1 if k else None,
                au=parse_coding("R1+L1+12") if k else None,
                expression=" Happiness" if k else None,
            )
            for name in self.people
            for k in range(2)
        ]

    def labels(self, record, indices):
        return {"au": Target.make(torch.zeros(2), space="AU1,AU12")}

    def coded_frames(self, record):
        return self.coded if record.expression is None else 5


class Stills(Toy):
    name = "RAFDB"
    protocols = RAFDB.protocols
    has_subjects = False
    coded_frames = Corpus.coded_frames

    def annotations(self):
        names = [f"train_{n}" for n in range(9)] + ["test_0", "test_1"]
        return [ClipRecord(clip=name, path=self.root / name, expression="Fear") for name in names]


class Parted(Toy):
    def parts(self):
        return {"first": self.everything[:2]}


def test_splits_hold_the_subjects_of_the_fold(tmp_path):
    fold = Toy(tmp_path).folds()[2]
    for split in ("train", "val", "test"):
        for name in ("sub03", 3):
            data = Toy(tmp_path, split=split, fold=name)
            assert data.subjects == tuple(sorted(getattr(fold, split)))
            assert data.chosen_fold == fold
            assert len(data) == 2 * len(data.subjects)
    assert len(Toy(tmp_path)) == 8


def test_the_seed_chooses_the_validation_subjects(tmp_path):
    drawn = {Toy(tmp_path, split="val", fold="sub01", seed=seed).subjects for seed in range(8)}
    assert len(drawn) == 3


def test_the_only_fold_needs_no_name_and_images_stand_for_subjects(tmp_path):
    assert [clip.clip for clip in Stills(tmp_path, split="test").clips] == ["test_0", "test_1"]
    train, val = (Stills(tmp_path, split=split) for split in ("train", "val"))
    assert (len(train), len(val)) == (8, 1)


def test_several_folds_need_a_name(tmp_path):
    with pytest.raises(ConfigError, match=r"A split of CASME2 needs a fold.*sub01, sub02"):
        Toy(tmp_path, split="train")
    with pytest.raises(ConfigError, match="no protocol '3fold'"):
        Toy(tmp_path, protocol="3fold")


def test_counts(tmp_path):
    found = Parted(tmp_path).count(media=False)
    assert (found.subjects, found.clips, found.frames) == (4, 8, None)
    assert found.positives == {"AU1": 4, "AU12": 4}
    assert found.classes == {"happiness": 4}
    assert found.conflicts == ("sub01/a: two labels",)
    assert found.missing == ()
    assert found.parts == {
        "first": Counts(subjects=1, clips=2, positives={"AU1": 1, "AU12": 1}, classes={"happiness": 1})
    }
    assert Toy(tmp_path, coded=2).count(media=False).frames == 4 * (2 + 5)
    stills = Stills(tmp_path).count(media=False)
    assert (stills.subjects, stills.frames) == (None, None)


def test_missing_media_are_named(tmp_path):
    whole, short, empty = (tmp_path / "sub01" / "0", tmp_path / "sub01" / "1", tmp_path / "sub02" / "0")
    for folder, number in ((whole, 1), (short, 1), (empty, 0)):
        folder.mkdir(parents=True)
        for k in range(number):
            Image.new("RGB", (4, 4)).save(folder / f"{k}.png")
    missing = Toy(tmp_path, people=("sub01", "sub02")).count().missing
    assert missing == (
        f"sub01/1 ({short}): frame 2 is annotated, the video has 1",
        f"sub02/0 ({empty}): There is no image here.",
        f"sub02/1 ({tmp_path / 'sub02' / '1'}): there is no such file or folder",
    )


def test_counts_are_compared_where_they_are_stated():
    expected = Counts(
        subjects=2, positives={"AU1": 3, "AU2": 0}, parts={"p": Counts(clips=4), "q": Counts(frames=1)}
    )
    same = CountReport(
        subjects=2,
        clips=9,
        positives={"AU1": 3},
        classes={"x": 1},
        parts={"p": Counts(clips=4), "q": Counts(frames=1)},
    )
    assert compare_counts(expected, same) == []
    other = CountReport(positives={"AU1": 2, "AU4": 1}, classes={"y": 1}, parts={"p": Counts(clips=5)})
    differences = [
        "subjects: 2 expected, None found",
        "positives AU1: 3 expected, 2 found",
        "p clips: 4 expected, 5 found",
        "q frames: 1 expected, None found",
    ]
    assert compare_counts(expected, other) == differences
    differences[2:2] = ["positives AU4: 0 expected, 1 found", "classes x: 1 expected, 0 found"]
    differences[4:4] = ["classes y: 0 expected, 1 found"]
    strict = replace(expected, all_units=True, classes={"x": 1})
    assert compare_counts(strict, other) == differences


# Frames and positives of each part, and the weights that were published for the folds' training parts.
BP4D = {
    1: (50631, "8322 8172 10085 21055 29862 29183 28277 20274 7664 16080 8023 7076"),
    2: (50182, "10223 6568 9870 23312 27651 27954 26187 25762 10024 18379 8657 7867"),
    3: (46034, "12497 10370 9800 23309 23103 30133 28066 22339 7181 15947 7608 7286"),
}
DISFA = {
    1: (43604, "1839 1125 5119 2360 1218 4503 10850 4902"),
    2: (43605, "1469 879 6653 3558 1287 6187 13206 4123"),
    3: (43605, "3198 3640 8161 4409 2968 6161 12191 2508"),
}
WEIGHTS = [
    ("bp4d12", BP4D, (1, 2), "1.342985 1.689665 1.248091 .561356 .433044 .435894 "
     ".457287 .541004 1.408054 .722762 1.493145 1.666711"),
    ("bp4d12", BP4D, (1, 3), "1.191051 1.337315 1.246995 .558933 .468168 .418041 "
     ".440099 .581900 1.670360 .774237 1.586367 1.726535"),
    ("bp4d12", BP4D, (2, 3), "1.132895 1.519623 1.308560 .552098 .507140 .443118 "
     ".474432 .535111 1.496040 .749851 1.582501 1.698632"),
    ("disfa8", DISFA, (1, 2), "1.422290 2.347771 .399672 .795021 1.878217 .440125 .195583 .521322"),
    ("disfa8", DISFA, (1, 3), "1.390215 1.469573 .527298 1.034498 1.672842 .656650 .303915 .945009"),
    ("disfa8", DISFA, (2, 3), "1.510590 1.560063 .475896 .884891 1.656857 .570937 .277589 1.063177"),
]  # fmt: skip


@pytest.mark.parametrize(("space", "parts", "chosen", "published"), WEIGHTS)
def test_whole_parts_have_the_published_weights(space, parts, chosen, published):
    units = AUSet.parse(space)
    frames = sum(parts[part][0] for part in chosen)
    columns = zip(*(map(int, parts[part][1].split()) for part in chosen), strict=True)
    weights = inverse_frequency_weights([sum(column) / frames for column in columns])
    assert len(weights) == len(units)
    assert [round(float(weight), 6) for weight in weights] == pytest.approx(
        [float(n) for n in published.split()], abs=1.1e-6
    )


def test_paths_need_not_exist(tmp_path):
    assert all(not Path(record.path).exists() for record in Toy(tmp_path).clips)
