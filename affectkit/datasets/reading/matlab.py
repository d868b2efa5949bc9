"""Reader of numbers in MATLAB's MAT files (levels 5 and 7) that checks every length.

SciPy also reads these files, but crashes the process on some damaged ones (13 of 600 copies with a few flipped bits,
SciPy 1.17).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affectkit.errors import AnnotationError

__all__ = ["read_field", "read_matrix"]

_HEAD = 128  # bytes
_LARGEST = 2**28  # bytes of a decompressed variable
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_STRUCTURE, _NUMERIC = 2, range(6, 16)  # classes of matrices
_COMPLEX = 0x800


class _DamageError(Exception):
    """Fault of a file."""


class _Element(NamedTuple):
    kind: int
    data: memoryview


class _Matrix(NamedTuple):
    """Head of a matrix, and the elements after it."""

    flags: int
    shape: tuple[int, ...]
    name: str
    rest: Iterator[_Element]
    order: str


def read_matrix(path: Path, name: str) -> NDArray[Any]:
    """Read a variable that holds a real matrix.

    Raises:
        AnnotationError: The file cannot be read, or the variable is absent or something else.
    """
    try:
        return _read_values(_find_variable(path, name))
    except _DamageError as fault:
        raise _error(path, fault) from fault


def read_field(path: Path, name: str, field: str) -> list[NDArray[Any]]:
    """Read a field with a real matrix of every entry of the structure array `name`.

    Raises:
        AnnotationError: The file cannot be read, or variable or field are absent or something else; the error's frame
            is the number of the entry.
    """
    entries: list[NDArray[Any]] = []
    frame = None
    try:
        matrix = _find_variable(path, name)
        places, count = _field_names(matrix), math.prod(matrix.shape)
        if field not in places:
            raise _DamageError(f"'{name}' has no field '{field}'")
        for number, element in enumerate(matrix.rest):
            if number % len(places) == places.index(field):
                frame = len(entries)
                entries.append(_read_values(_open_matrix(element, matrix.order)))
                frame = None
        if len(entries) != count:
            raise _DamageError(f"'{name}' has {len(entries)} entries, not {count}")
    except _DamageError as fault:
        raise _error(path, fault, frame) from fault
    return entries


def _error(path: Path, fault: _DamageError, frame: int | None = None) -> AnnotationError:
    remedy = "Unpack the file again, or remove it: frames without landmarks are masked."
    line = 1 if frame is None else None
    return AnnotationError(
        f"The file cannot be read: {fault}.", path=path, line=line, frame=frame, remedy=remedy
    )


def _find_variable(path: Path, name: str) -> _Matrix:
    """Head of a variable."""
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise _DamageError(f"it cannot be opened ({fault.strerror})") from fault
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if len(content) < _HEAD or order is None:
        raise _DamageError("it is not a MAT file")
    if struct.unpack_from(f"{order}H", content, 124)[0] != 0x0100:
        raise _DamageError("it is HDF5, MATLAB's format 7.3; save it with -v7")
    for element in _elements(memoryview(content)[_HEAD:], order):
        if element.kind == _COMPRESSED:
            element = next(_elements(_inflate(element.data), order), element)
        if element.kind == _MATRIX:
            matrix = _open_matrix(element, order)
            if matrix.name == name:
                return matrix
    raise _DamageError(f"there is no variable '{name}'")


def _inflate(data: memoryview) -> memoryview:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, _LARGEST)
    except zlib.error as fault:
        raise _DamageError(f"it cannot be decompressed ({fault})") from fault
    if not stream.eof:
        raise _DamageError("it is truncated or too large")
    return memoryview(content)


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    start = 0
    while start < len(data):
        if len(data) - start < 8:
            raise _DamageError("it is truncated")
        kind, length = struct.unpack_from(f"{order}II", data, start)
        begin, room = start + 8, len(data) - start - 8
        end = begin + (length if kind == _COMPRESSED else -(-length // 8) * 8)
        if kind >> 16:  # short form: kind and length share four bytes, the next four are the content
            kind, length, begin, end, room = kind & 0xFFFF, kind >> 16, start + 4, start + 8, 4
        if length > room:
            raise _DamageError("it is truncated")
        yield _Element(kind, data[begin : begin + length])
        start = end


def _open_matrix(element: _Element, order: str) -> _Matrix:
    """Head of a matrix."""
    if element.kind != _MATRIX:
        raise _DamageError(f"there is an element of kind {element.kind} instead of a matrix")
    if not len(element.data):  # MATLAB's short form of []
        return _Matrix(_NUMERIC[0], (0, 0), "", iter(()), order)
    rest = _elements(element.data, order)
    flags, shape, name = (
        _read_numbers(rest, order),
        _read_numbers(rest, order),
        bytes(_next_element(rest).data),
    )
    if len(flags) != 2 or len(shape) < 2 or (shape < 0).any():
        raise _DamageError("the head of a matrix is damaged")
    return _Matrix(int(flags[0]), tuple(shape.tolist()), name.decode("ascii", "replace"), rest, order)


def _read_values(matrix: _Matrix) -> NDArray[Any]:
    kind = matrix.flags & 0xFF
    if kind not in _NUMERIC or matrix.flags & _COMPLEX:
        raise _DamageError(f"a matrix of class {kind} holds no real numbers")
    if not math.prod(matrix.shape):
        return np.empty(matrix.shape)
    values = _read_numbers(matrix.rest, matrix.order)
    if len(values) != math.prod(matrix.shape):
        raise _DamageError(f"a matrix of {' x '.join(map(str, matrix.shape))} has {len(values)} numbers")
    return values.reshape(matrix.shape, order="F")


def _field_names(matrix: _Matrix) -> list[str]:
    """Names of the fields of a structure."""
    if matrix.flags & 0xFF != _STRUCTURE:
        raise _DamageError(f"'{matrix.name}' is not a structure")
    widths, names = _read_numbers(matrix.rest, matrix.order), bytes(_next_element(matrix.rest).data)
    if len(widths) != 1 or widths[0] < 1 or not names or len(names) % widths[0]:
        raise _DamageError("the names of the fields are damaged")
    cells = np.frombuffer(names, f"S{widths[0]}").tolist()
    return [cell.split(b"\0")[0].decode("ascii", "replace") for cell in cells]


def _read_numbers(elements: Iterator[_Element], order: str) -> NDArray[Any]:
    element = _next_element(elements)
    if element.kind not in _NUMBERS:
        raise _DamageError(f"there is an element of kind {element.kind} instead of numbers")
    dtype = np.dtype(_NUMBERS[element.kind]).newbyteorder("<" if order == "<" else ">")
    if len(element.data) % dtype.itemsize:
        raise _DamageError("it is truncated")
    return np.frombuffer(element.data, dtype)


def _next_element(elements: Iterator[_Element]) -> _Element:
    element = next(elements, None)
    if element is None:
        raise _DamageError("it is truncated")
    return element
