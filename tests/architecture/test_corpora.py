"""A corpus is one file: nothing else of the package names it, and what belongs to it is found by its name."""

import re
from pathlib import Path

import pytest

from affectkit import datamodules, datasets
from affectkit.datasets import Corpus, corpora
from affectkit.rehearse import rehearsals

ROOT = Path(__file__).parents[2]
PUBLISHED = {name: cls for name, cls in corpora().items() if issubclass(cls, Corpus)}
# Where names of corpora mean something else: label spaces called after them, a paper's settings, its code.
OTHERS = re.compile(r"^(facs|methods|models|inference|synth|metrics|losses|tasks)/")
MEMBERS = {"megc2019": ("casme2", "samm", "smic")}  # a composite knows what it is made of


def words(path):
    """The code of a file without strings of documentation and comments, in lower case."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'"""(?:.|\n)*?"""', "", text)
    return re.sub(r"#.*", "", text).lower()


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_other_file_names_the_corpus(name):
    own = {f"datasets/{name}.py", f"rehearse/{name}.py"}
    own |= {
        f"{folder}/{whole}.py"
        for whole, parts in MEMBERS.items()
        if name in parts
        for folder in ("datasets", "rehearse")
    }
    package = ROOT / "affectkit"
    naming = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(rf"(?<![a-z0-9_]){name}(?![a-z0-9_])", words(path))
    ]
    assert [path for path in naming if path not in own and not OTHERS.match(path)] == []


@pytest.mark.parametrize("name", corpora())
def test_a_corpus_has_its_parts(name):
    cls = corpora()[name]
    assert getattr(datasets, cls.__name__) is cls
    module = getattr(datamodules, f"{cls.__name__.removesuffix('Dataset')}DataModule")
    assert module.dataset_class is cls
    assert module.__name__ in dir(datamodules)
    assert cls.__name__ in dir(datasets)
    folder = "smic" if name == "megc2019" else name  # the composite stands in the cards of its members
    assert (ROOT / "datasets" / folder / "README.md").is_file()


def test_published_corpora_have_a_rehearsal_and_a_recipe():
    assert set(rehearsals()) == set(PUBLISHED)
    recipes = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "recipes").rglob("*.yaml"))
    lacking = {cls.__name__ for cls in PUBLISHED.values() if f"{cls.__name__}DataModule" not in recipes}
    assert lacking <= {"SMIC"}  # a part of MEGC2019's recipe


def test_names_of_no_corpus():
    with pytest.raises(AttributeError, match="no attribute 'CK'"):
        _ = datasets.CK
    with pytest.raises(AttributeError, match="no attribute 'CKDataModule'"):
        _ = datamodules.CKDataModule
    with pytest.raises(AttributeError, match="no attribute 'frames'"):
        _ = datamodules.frames


def test_contributing_lists_the_files_of_a_corpus():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("### A corpus") :]
    listed = re.findall(r"^\| `([^`]+)` \|", section[: section.index("\n\n", section.index("|---"))], re.M)
    assert listed
    for pattern in listed:
        assert (ROOT / pattern.replace("NAME", "rafdb").replace("TASK", "expression")).exists()
