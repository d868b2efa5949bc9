"""From pixels to face meshes: Google's face detector, mesh and blendshape networks, and one for the brows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import atan2, cos, sin
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from affectkit.errors import ConfigError
from affectkit.faces import blazeface
from affectkit.faces.brows import cut_brows, normalize_contrast
from affectkit.faces.face import Face, FaceDetector, detector_name, find_faces
from affectkit.faces.mesh import FaceMesh
from affectkit.faces.networks import load_network

__all__ = ["NETWORKS", "MeshDetector", "Region", "region_of_face", "region_of_mesh"]

_DETECTOR: Final = "8a8e9561c9c070f80eb41165e8dfe36059c9f3c2c1fbe0b73c205b4274f2f530"
_MESH: Final = "9868555856f5d6d90627a8635ce872d90e3edc138d2ce063f3bca733e75fddfe"
_BLENDSHAPES: Final = "526e7609dfd30390bfc32380fc365d04be803d9db605f0ee18049c349aee6e1d"
_BROWS: Final = "aa503b15c166a232aa39fe88010d2ff32029017d504c2c2dee0d66053cf4dc44"
NETWORKS: Final = hashlib.sha256(f"{_DETECTOR}{_MESH}{_BLENDSHAPES}{_BROWS}".encode()).hexdigest()[:16]
"""Hash of the four networks."""

_SIDE: Final = 256  # pixels of the sides of the mesh network's input
_MARGIN: Final = 1.5  # the region's side, in longer sides of the face's box
_TOGETHER: Final = 16  # pictures in one call of a network
_OVERLAP: Final = 0.3  # intersection over union from which two detections are one face
_EYE_CORNERS: Final = (33, 263)  # outer ones, left in the picture first

# What the blendshape network reads of the mesh.
_READ: Final = np.array((
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251,
    263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318,
    321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386,
    387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, *range(468, 478),
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Region:
    """A square of the frame that shows one face, in pixels.

    Args:
        x: Centre, to the right.
        y: Centre, down.
        side: Length of the sides.
        angle: Radians by which it is turned, clockwise: the slope of the line between the eyes.
    """

    x: float
    y: float
    side: float
    angle: float

    def matrix(self, size: int) -> npt.NDArray[np.float64]:
        """The similarity from a picture of `size` pixels to the frame, float64 [2, 3]."""
        step = self.side / size
        c, s = cos(self.angle) * step, sin(self.angle) * step
        half = size / 2
        return np.array([[c, -s, self.x - half * (c - s)], [s, c, self.y - half * (s + c)]])


def region_of_mesh(points: Tensor) -> Region:
    """The region in which the next frame's mesh is looked for.

    Args:
        points: float [478, 3] of the last frame.
    """
    places = points[:, :2].double()
    low, high = places.amin(0), places.amax(0)
    left, right = places[list(_EYE_CORNERS)].tolist()
    return _region((*low.tolist(), *high.tolist()), left, right)


def _region(corners: Sequence[float], left: Sequence[float], right: Sequence[float]) -> Region:
    """The region of a box (left, top, right, bottom) and two eyes."""
    x, y, far_x, far_y = corners
    side = _MARGIN * max(far_x - x, far_y - y)
    return Region((x + far_x) / 2, (y + far_y) / 2, side, atan2(right[1] - left[1], right[0] - left[0]))


class MeshDetector:
    """Faces with 478 points, blendshapes, head pose and gaze, in single pictures.

    A detector finds the faces. The mesh network then reads each face in a square region of 256 pixels, turned so
    that the eyes are level, the blendshape network reads 146 of the points, and a further network reads the pixels
    of forehead and eyes. Blendshapes depend on the region: 10 % of its size may change one by 0.2. A second pass,
    in the region of the first mesh, therefore makes photos agree with videos, and one detector with another. Use
    `MeshTracker` for consecutive frames of a video.

    With `refine=False`, results equal those of MediaPipe's Face Landmarker for images (points within 0.1 pixels and
    blendshapes within 0.01, measured with MediaPipe 1.2.3).

    Args:
        threshold: Least score of a detected face, 0 to 1.
        presence: Least certainty of the mesh network that a region shows a face, 0 to 1.
        detector: Another detector than the one that belongs to the mesh, which is fast but misses faces narrower than
            about a tenth of the frame's longer side. `CenterFace` finds smaller ones.
        refine: Read each face a second time, in the region of its first mesh.
        device: "cuda:1" where the installed onnxruntime can use it; the processor otherwise.

    Raises:
        ConfigError: A number is out of range.

    Example:
        >>> MeshDetector()(torch.zeros(2, 3, 48, 64, dtype=torch.uint8))
        [[], []]

    References:
        V. Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019
        (arXiv:1907.05047). Y. Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile
        GPUs", 2019 (arXiv:1907.06724). I. Grishchenko et al., "Attention Mesh: High-fidelity Face Mesh Prediction in
        Real-time", 2020 (arXiv:2006.10962). The networks are Google's, see `affectkit/faces/assets/NOTICE`.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        presence: float = 0.5,
        detector: FaceDetector | None = None,
        refine: bool = True,
        device: str | torch.device = "cpu",
    ) -> None:
        if not (0 < threshold < 1 and 0 <= presence < 1):
            raise ConfigError(
                f"The threshold {threshold} or presence {presence} is out of range.",
                remedy="Give numbers between 0 and 1.",
            )
        self.threshold, self.presence = threshold, presence
        self.detector, self.refine = detector, refine
        self.device = torch.device(device)

    def __str__(self) -> str:
        finder = "" if self.detector is None else f", faces by {detector_name(self.detector)}"
        return f"face mesh (threshold {self.threshold:g}, presence {self.presence:g}{finder})"

    def __getstate__(self) -> dict[str, Any]:
        """Other processes load the networks themselves."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __call__(self, frames: Tensor) -> list[list[Face]]:
        """Find the faces of each frame, independently of the others.

        Args:
            frames: uint8 [T, 3, H, W], RGB.

        Returns:
            T lists of faces with a `mesh`, the most certain detection first.

        Raises:
            WeightsError: A network's file is damaged.
        """
        regions = self.detect(frames)
        owners = [t for t, found in enumerate(regions) for _ in found]
        meshes = self.read([frames[t] for t in owners], [region for found in regions for region in found])
        faces: list[list[Face]] = [[] for _ in regions]
        for t, mesh in zip(owners, meshes, strict=True):
            if mesh.presence >= self.presence:
                faces[t].append(mesh.face())
        return faces

    def detect(self, frames: Tensor) -> list[list[Region]]:
        """Find regions that may show a face.

        Args:
            frames: uint8 [T, 3, H, W], RGB.

        Returns:
            T lists of regions, the most certain first.
        """
        if not len(frames):
            return []
        if self.detector is not None:
            return [[region_of_face(face) for face in faces] for faces in find_faces(self.detector, frames)]
        height, width = frames.shape[-2:]
        side = float(max(height, width))
        whole = Region(width / 2, height / 2, side, 0.0)
        corner = np.array([(width - side) / 2, (height - side) / 2] * 8)
        found: list[list[Region]] = []
        for first in range(0, len(frames), _TOGETHER):
            batch = frames[first : first + _TOGETHER]
            pictures = np.stack([_cut(frame, whole, blazeface.SIDE) for frame in batch])
            pixels = pictures.astype(np.float32) / 127.5 - 1
            for boxes, scores in zip(
                *self._detector.run(["boxes", "scores"], {"image": pixels}), strict=True
            ):
                candidates = blazeface.decode_faces(boxes, scores, self.threshold)
                faces, _ = blazeface.merge_faces(*candidates, _OVERLAP)
                places = (faces * side + corner).tolist()
                found.append([_region(place[:4], place[4:6], place[6:8]) for place in places])
        return found

    def read(self, frames: Sequence[Tensor], regions: Sequence[Region]) -> list[FaceMesh]:
        """Read the meshes of detected faces, twice if `refine` is set.

        Args:
            frames: uint8 [3, H, W] each, the frame of each region.
            regions: As many regions, from `detect`.

        Returns:
            One mesh per region, whatever it shows: check its `presence`.
        """
        meshes = self.fit(frames, regions)
        if self.refine:
            meshes = self.fit(frames, [region_of_mesh(mesh.points) for mesh in meshes])
        return meshes

    def fit(self, frames: Sequence[Tensor], regions: Sequence[Region]) -> list[FaceMesh]:
        """Read mesh, blendshapes and lowered brows in each region once; see `read`."""
        meshes: list[FaceMesh] = []
        pairs = list(zip(frames, regions, strict=True))
        for first in range(0, len(pairs), _TOGETHER):
            batch = pairs[first : first + _TOGETHER]
            pixels = np.stack(
                [_cut(frame, region, _SIDE, replicate=True) for frame, region in batch]
            ) / np.float32(255)
            raw, logits = self._mesh.run(["points", "presence"], {"image": pixels})
            matrices = np.stack([region.matrix(_SIDE) for _, region in batch])
            points = np.empty_like(raw)
            points[..., :2] = raw[..., :2] @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]
            points[..., 2] = raw[..., 2] * [[region.side / _SIDE] for _, region in batch]
            places = torch.from_numpy(points)
            (shapes,) = self._blendshapes.run(None, {"points": points[:, _READ, :2]})
            upper = [
                normalize_contrast(cut_brows(frame, face))
                for (frame, _), face in zip(batch, places, strict=True)
            ]
            (brows,) = self._brows.run(None, {"image": np.stack(upper)})
            presence = 1 / (1 + np.exp(-logits.astype(np.float64)))
            meshes.extend(
                FaceMesh(face, float(sure), shapes_, float(lowering), (frame.shape[1], frame.shape[2]))
                for (frame, _), face, sure, shapes_, (lowering,) in zip(
                    batch, places, presence, torch.from_numpy(shapes), brows, strict=True
                )
            )
        return meshes

    @cached_property
    def _detector(self) -> Any:
        return load_network("face_detector.onnx", _DETECTOR, self.device)

    @cached_property
    def _mesh(self) -> Any:
        return load_network("face_mesh.onnx", _MESH, self.device)

    @cached_property
    def _blendshapes(self) -> Any:
        return load_network("face_blendshapes.onnx", _BLENDSHAPES, self.device)

    @cached_property
    def _brows(self) -> Any:
        return load_network("face_brows.onnx", _BROWS, self.device)


def region_of_face(face: Face) -> Region:
    """The region in which the mesh of a face is looked for that another detector found."""
    x, y, width, height = face.box
    left, right = ((0.0, 0.0), (1.0, 0.0)) if face.points is None else face.points[:2].tolist()
    return _region((x, y, x + width, y + height), left, right)


def _cut(frame: Tensor, region: Region, size: int, *, replicate: bool = False) -> npt.NDArray[np.uint8]:
    """The pixels of a region, uint8 [3, size, size]; outside the frame black, or the pixels of its edge.

    Sampling is bilinear between pixels whose coordinates are integers: half-pixel corrections would change the
    blendshapes by up to 0.15.
    """
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
    matrix = region.matrix(size)
    planes = [
        cv2.warpAffine(plane, matrix, (size, size), flags=flags, borderMode=border)
        for plane in frame.cpu().numpy()
    ]
    return np.stack(planes)
