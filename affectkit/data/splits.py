"""Splits by subject: training and test never share a subject."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

import torch

from affectkit.data.samplers import derive_seed
from affectkit.errors import ConfigError, SubjectLeakError

__all__ = ["canonical_subject", "check_disjoint", "leave_one_subject_out", "split_subjects"]


def canonical_subject(text: str) -> str:
    """Normalise the spelling of a subject: strip spaces, and drop the decimals of whole numbers.

    Example:
        >>> canonical_subject(" Anna  K. "), canonical_subject("1.0"), canonical_subject("007.0")
        ('Anna K.', '1', '007')
    """
    words = " ".join(unicodedata.normalize("NFKC", text).split())
    whole = re.fullmatch(r"([0-9]+)\.0+", words)
    return words if whole is None else whole[1]


def check_disjoint(splits: Mapping[str, Iterable[str | None]]) -> None:
    """Check that no subject appears in two splits, in any spelling.

    `1`, `1.0` and ` 1 ` are one subject. `S01`, `s01`, `S1` and `s_01`, which differ only in case, leading zeros or the
    separator before the number, are taken as spellings of one subject.

    Args:
        splits: Subjects of each split; repeats are allowed, and None (unknown) is skipped.

    Raises:
        SubjectLeakError: A subject appears in two splits, in one spelling or in two.

    Example:
        >>> check_disjoint({"train": ["s1", "s2"], "test": ["s2"]})
        Traceback (most recent call last):
            ...
        affectkit.errors.SubjectLeakError: Subject 's2' appears in both 'train' and 'test'. Move all ...
    """
    home: dict[str, tuple[str, str]] = {}
    for split, subjects in splits.items():
        for subject in dict.fromkeys(subjects):
            if subject is None:
                continue
            # Ignore case, leading zeros and a separator before a number.
            key = re.sub(r"(?<![0-9.])0+(?=[0-9])", "", canonical_subject(subject).casefold())
            key = re.sub(r"(?<=[^\W\d_])[\s_-]+(?=[0-9])", "", key)
            other, other_split = home.setdefault(key, (subject, split))
            if other_split == split:
                continue
            if canonical_subject(other) == canonical_subject(subject):
                raise SubjectLeakError(
                    f"Subject '{subject}' appears in both '{other_split}' and '{split}'.",
                    remedy="Move all clips of a subject to one split.",
                )
            raise SubjectLeakError(
                f"Subjects '{other}' in '{other_split}' and '{subject}' in '{split}' look like two spellings of one.",
                remedy="Use one spelling per subject, and move all clips to one split; rename one if they are two "
                "people.",
            )


def split_subjects(
    subjects: Iterable[str], fractions: Mapping[str, float], *, seed: int = 0
) -> dict[str, tuple[str, ...]]:
    """Assign subjects to splits at random.

    Args:
        subjects: Subjects in any order; repeats are allowed.
        fractions: Fraction of each split, with a sum of 1.
        seed: Seed of the assignment.

    Returns:
        Sorted subjects of each split.

    Raises:
        ConfigError: The fractions do not add up to 1, or a split gets no subject.

    Example:
        >>> parts = split_subjects(["a", "b", "c", "d"], {"train": 0.5, "val": 0.25, "test": 0.25})
        >>> {name: len(part) for name, part in parts.items()}
        {'train': 2, 'val': 1, 'test': 1}
    """
    if any(share <= 0 for share in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ConfigError(f"Fractions {dict(fractions)} must be positive and add up to 1.")
    people = sorted(set(subjects))
    rng = torch.Generator().manual_seed(derive_seed(seed, "subjects"))
    order = [people[place] for place in torch.randperm(len(people), generator=rng).tolist()]
    parts: dict[str, tuple[str, ...]] = {}
    share, start = 0.0, 0
    for name, fraction in fractions.items():
        share += fraction
        stop = round(share * len(order))
        parts[name] = tuple(sorted(order[start:stop]))
        if start == stop:
            raise ConfigError(f"The split '{name}' would get none of {len(order)} subjects.")
        start = stop
    return parts


def leave_one_subject_out(subjects: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Iterate over the subjects as test subjects; yield each with the sorted training subjects.

    Example:
        >>> next(leave_one_subject_out(["c", "a", "b", "a"]))
        ('a', ('b', 'c'))
    """
    people = sorted(set(subjects))
    for held_out in people:
        yield held_out, tuple(subject for subject in people if subject != held_out)
