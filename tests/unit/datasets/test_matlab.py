"""MAT files: what SciPy writes is read, and what is damaged raises and never crashes the process."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from helpers.corruption import attempt
from scipy.io import savemat

from affectkit.datasets.reading import matlab
from affectkit.datasets.reading.matlab import read_field, read_matrix
from affectkit.errors import AnnotationError


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("shape", [(1, 1), (66, 2), (2, 3, 4), (0, 0)])
def test_matrices(tmp_path, compressed, dtype, shape):
    wanted = np.random.default_rng(0).uniform(0, 100, shape).astype(dtype)
    path = tmp_path / "a.mat"
    savemat(path, {"x": "text", "pts": wanted, "y": 1.0}, do_compression=compressed)
    found = read_matrix(path, "pts")
    np.testing.assert_array_equal(found, wanted)
    assert found.shape == shape


def structure(count):
    fit = np.empty((1, count), dtype=[("pred", object), ("pose", object), ("name", object)])
    for number in range(count):
        pose = {"rot": np.eye(3), "angle": np.zeros((1, 3))}
        fit[0, number] = (np.full((number % 3, 2), number * 1.5), pose, "face")
    return fit


@pytest.mark.parametrize("compressed", [False, True])
def test_fields_of_structures(tmp_path, compressed):
    savemat(tmp_path / "a.mat", {"fit": structure(7)}, do_compression=compressed)
    entries = read_field(tmp_path / "a.mat", "fit", "pred")
    assert [entry.shape for entry in entries] == [(number % 3, 2) for number in range(7)]
    assert [entry.tolist() for entry in entries] == [[[n * 1.5] * 2] * (n % 3) for n in range(7)]


def test_empty_matrices_without_a_head_and_the_other_byte_order(tmp_path):
    """As MATLAB itself writes fields that were never set, and as it wrote on other machines."""

    def element(kind, content):
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    def matrix(flags, shape, name, *rest):
        head = element(6, struct.pack(">II", flags, 0)) + element(5, struct.pack(">ii", *shape))
        return element(14, head + element(1, name) + b"".join(rest))

    names = element(5, struct.pack(">i", 8)) + element(1, b"pred".ljust(8, b"\0"))
    number = matrix(6, (1, 2), b"", struct.pack(">HHBBxx", 2, 2, 3, 7))  # two bytes in the small form
    content = matrix(2, (1, 2), b"fit", names, element(14, b""), number)
    (tmp_path / "a.mat").write_bytes(b"MATLAB".ljust(124) + b"\x01\x00MI" + content)
    empty, found = read_field(tmp_path / "a.mat", "fit", "pred")
    assert empty.size == 0
    assert found.tolist() == [[3, 7]]


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"pts": np.ones((49, 2))}, "no variable 'fit'"),
        ({"fit": np.ones((49, 2))}, "'fit' is not a structure"),
        ({"fit": {"pose": 1}}, "'fit' has no field 'pred'"),
        ({"fit": {"pred": "a" * 98}}, "class 4 holds no real numbers"),
        ({"fit": {"pred": np.ones((49, 2), dtype=complex)}}, "class 6 holds no real numbers"),
    ],
)
def test_files_of_something_else(tmp_path, variables, fault):
    savemat(tmp_path / "a.mat", variables)
    with pytest.raises(AnnotationError, match=fault) as caught:
        read_field(tmp_path / "a.mat", "fit", "pred")
    assert caught.value.path == tmp_path / "a.mat"
    assert (caught.value.line, caught.value.frame) in [(1, None), (None, 0)]


def _edit(path, place, content):
    data = bytearray(path.read_bytes())
    data[place : place + len(content)] = content
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("place", "content", "fault"),
    [
        (126, b"XX", "not a MAT file"),
        (124, b"\x00\x02", r"HDF5, MATLAB's format 7\.3; save it with -v7"),
        (128 + 8, struct.pack("<I", 14), "kind 14 instead of numbers"),
        (128 + 8, struct.pack("<I", 1), "head of a matrix is damaged"),
        (128 + 24 + 8, struct.pack("<i", -3), "head of a matrix is damaged"),
        (128 + 24 + 8, struct.pack("<i", 5), r"5 x 2 has 6 numbers"),
        (128 + 4, struct.pack("<I", 48), "it is truncated"),
        (128 + 40, struct.pack("<HH", 1, 5), "it is truncated"),
        (128 + 48 + 4, struct.pack("<I", 47), "it is truncated"),
        (128 + 4, struct.pack("<I", 40), "it is truncated"),
    ],
)
def test_damaged_places(tmp_path, place, content, fault):
    path = tmp_path / "a.mat"
    savemat(path, {"pts": np.arange(6.0).reshape(3, 2)})
    _edit(path, place, content)
    with pytest.raises(AnnotationError, match=fault):
        read_matrix(path, "pts")


def test_damaged_structures(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    savemat(path, {"fit": structure(3)})
    content = path.read_bytes()
    names = content.index(struct.pack("<HH", 5, 4))  # the width of the fields' names, in the small form
    for value in (0, 7):
        _edit(path, names + 4, struct.pack("<i", value))
        with pytest.raises(AnnotationError, match="names of the fields are damaged"):
            read_field(path, "fit", "pred")
    path.write_bytes(content)
    _edit(path, 128 + 24 + 8, struct.pack("<ii", 2, 3))
    with pytest.raises(AnnotationError, match="has 3 entries, not 6"):
        read_field(path, "fit", "pred")
    path.write_bytes(content)
    entry = content.index(struct.pack("<I", 14), names)
    _edit(path, entry, struct.pack("<I", 9))
    with pytest.raises(AnnotationError, match="kind 9 instead of a matrix") as caught:
        read_field(path, "fit", "pred")
    assert caught.value.frame == 0
    savemat(path, {"fit": structure(30)}, do_compression=True)
    monkeypatch.setattr(matlab, "_LARGEST", 1000)
    with pytest.raises(AnnotationError, match="too large"):
        read_field(path, "fit", "pred")
    path.unlink()
    with pytest.raises(AnnotationError, match="cannot be opened"):
        read_field(path, "fit", "pred")


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_bytes_give_an_error_or_numbers(tmp_path, compressed):
    path = tmp_path / "a.mat"
    savemat(path, {"fit": structure(9)}, do_compression=compressed)
    content = path.read_bytes()
    right = [entry.tolist() for entry in read_field(path, "fit", "pred")]
    rng = random.Random(int(compressed))
    errors = wrong = 0
    for _ in range(400):
        damaged = bytearray(content)
        kind = rng.randrange(3)
        if kind == 0:
            del damaged[rng.randrange(len(damaged)) :]
        elif kind == 1:
            for _ in range(rng.randrange(1, 9)):
                damaged[rng.randrange(116, len(damaged))] = rng.randrange(256)
        else:
            start = rng.randrange(len(damaged))
            del damaged[start : start + rng.randrange(64)]
        path.write_bytes(damaged)
        entries, error = attempt(lambda: read_field(path, "fit", "pred"))
        errors += error is not None
        assert error is None or error.path == path
        wrong += entries is not None and [entry.tolist() for entry in entries] != right
    assert errors > 200
    if compressed:  # which carries a checksum
        assert wrong == 0
