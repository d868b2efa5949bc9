"""The FACS rig: a head mesh whose identity and action units are linear shapes.

The mesh is `assets/facs_head.npz` (CC0, see `assets/NOTICE`): a mean head, 20 identity components and 52
additive action shapes named after ARKit's blend shapes. Action units are mixtures of those shapes
(`UNIT_SHAPES`), each side by itself, with the few interactions that a linear sum gets wrong: lips stay
together until AU25 parts them. The mesh has no teeth, so two rows are added, one fixed to the skull and one
to the jaw.

Axes are the asset's: x to the subject's left, y backwards, z up; metres. Textures are addressed by the mean
head seen from the front: a point's texture coordinates are its mean (x, z) in millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

import numpy as np
import numpy.typing as npt

from affectkit.synth.landmarks import landmark_vertices

__all__ = [
    "CAVITY", "LEFT_EYE", "RIGHT_EYE", "RIG_UNITS", "SKIN", "TEETH", "TONGUE",
    "FaceRig", "load_rig", "unit_weights",
]  # fmt: skip

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

# Materials, one a vertex. The first four are the asset's components.
SKIN: Final = 0
TONGUE: Final = 1
LEFT_EYE: Final = 2
RIGHT_EYE: Final = 3
TEETH: Final = 4
CAVITY: Final = 5

# AU -> action shapes and their weights at full intensity; "{s}" is replaced by the side. Weights above 1
# make up for raw shapes that are weaker than what FACS describes at intensity E.
UNIT_SHAPES: Final[Mapping[int, Mapping[str, float]]] = {
    1: {"browInner{s}": 1.7},
    2: {"browOuterUp{s}": 1.3},
    4: {"browDown{s}": 1.25},
    5: {"eyeWide{s}": 1.85},
    6: {"cheekSquint{s}": 1.2, "eyeSquint{s}": 0.4},
    7: {"eyeSquint{s}": 1.0, "eyeBlink{s}": 0.2},
    9: {"noseSneer{s}": 1.6},
    10: {"mouthUpperUp{s}": 1.1},
    12: {"mouthSmile{s}": 0.8},
    14: {"mouthDimple{s}": 1.1},
    15: {"mouthFrown{s}": 1.4},
    16: {"mouthLowerDown{s}": 1.6},
    17: {"mouthShrugLower": 1.3},
    18: {"mouthPucker": 1.5, "mouthFunnel": 0.15},
    20: {"mouthStretch{s}": 1.5},
    22: {"mouthFunnel": 1.0},
    23: {"mouthPucker": 0.35, "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
    24: {"mouthPress{s}": 0.25, "mouthRollLower": 0.75, "mouthRollUpper": 0.65},
    25: {"jawOpen": 0.1, "mouthLowerDown{s}": 0.6, "mouthUpperUp{s}": 0.25, "mouthClose": -0.035},
    26: {"jawOpen": 0.55},
    28: {"mouthRollLower": 1.0, "mouthRollUpper": 1.0},
    45: {"eyeBlink{s}": 1.0},
}
RIG_UNITS: Final = tuple(UNIT_SHAPES)
"""Every unit that the rig can show, in ascending order."""

_LEFT, _RIGHT = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class FaceRig:
    """The mesh and its linear shapes.

    The vertices of a face are `mean + sum_k c_k identity_k + sum_j w_j action_j`.

    Attributes:
        mean: float32 [V, 3], metres.
        identity: float32 [20, V, 3], scaled to unit normal coefficients.
        actions: float32 [J, V, 3], additive.
        action_names: J names, in the order of `actions`.
        faces: int32 [F, 3], counter-clockwise seen from outside.
        material: int32 [V].
        uv: float32 [V, 2], texture coordinates in millimetres (for teeth: arc length and height).
        occlusion: float32 [V], how much light reaches a vertex, 0 to 1.
        landmarks: int64 [68], the vertices of the iBUG points.
        unit_actions: float32 [U, 2, J], weights of a unit's left and right half at full intensity.
    """

    mean: Floats
    identity: Floats
    actions: Floats
    action_names: tuple[str, ...]
    faces: Ints
    material: Ints
    uv: Floats
    occlusion: Floats
    landmarks: npt.NDArray[np.int64]
    unit_actions: Floats

    def person(self, coefficients: npt.ArrayLike) -> Floats:
        """Return a neutral head.

        Args:
            coefficients: up to 20 numbers, unit normal in the population.

        Returns:
            float32 [V, 3], metres.
        """
        return _weighted(self.mean, np.asarray(coefficients, dtype=np.float32), self.identity)

    def deform(self, head: Floats, weights: Floats) -> Floats:
        """Add action shapes to a neutral head.

        Args:
            head: float32 [V, 3], from `person`.
            weights: float32 [J], from `unit_weights`.

        Returns:
            float32 [V, 3], metres.
        """
        return _weighted(head, weights, self.actions)


def _weighted(start: Floats, weights: Floats, parts: Floats) -> Floats:
    """Add weighted parts one by one: unlike a matrix product, the same bits in every process."""
    total = start.copy()
    for k in np.flatnonzero(weights).tolist():
        total += weights[k] * parts[k]
    return total


def unit_weights(
    rig: FaceRig, units: Mapping[int, float | tuple[float, float]], gaze: tuple[float, float] = (0.0, 0.0)
) -> Floats:
    """Turn action-unit intensities into weights of the action shapes.

    Args:
        rig: The rig.
        units: AU number -> intensity from 0 to 1 (5 on the FACS scale), or (left, right), the subject's own
            sides.
        gaze: (to the subject's left, up) from -1 to 1; the lids follow.

    Returns:
        float32 [J].

    Example:
        >>> rig = load_rig()
        >>> weights = unit_weights(rig, {12: (1.0, 0.0)})
        >>> [rig.action_names[k] for k in weights.nonzero()[0]]
        ['mouthSmileLeft']
    """
    level = dict.fromkeys(RIG_UNITS, 0.0)
    weights = np.zeros(len(rig.action_names), dtype=np.float32)
    for unit, value in units.items():
        left, right = value if isinstance(value, tuple) else (value, value)
        level[unit] = (left + right) / 2
        row = rig.unit_actions[RIG_UNITS.index(unit)]
        weights += np.float32(left) * row[_LEFT] + np.float32(right) * row[_RIGHT]
    index = {name: k for k, name in enumerate(rig.action_names)}
    # Lips stay together while the jaw drops or a lip moves, until AU25 (or 27) parts them.
    together = 1.0 - min(level[25] / 0.5, 1.0)
    weights[index["mouthClose"]] += together * (
        0.52 * level[26] + 0.20 * level[10] + 0.16 * level[16] + 0.03 * (level[15] + level[20])
    )
    # Narrow lids cannot widen and wide lids cannot narrow.
    for s in ("Left", "Right"):
        blink, wide = index[f"eyeBlink{s}"], index[f"eyeWide{s}"]
        weights[wide] *= 1.0 - min(float(weights[blink]), 1.0)
        weights[blink] = min(float(weights[blink]), 1.0)
    up = gaze[1]
    for s in ("Left", "Right"):
        weights[index[f"eyeLookUp{s}"]] += max(up, 0.0)
        weights[index[f"eyeLookDown{s}"]] += max(-up, 0.0)
    return weights


@dataclass(slots=True, eq=False)
class _Mesh:
    """The arrays of a rig while parts are added to it."""

    mean: Floats
    identity: Floats
    actions: Floats
    faces: Ints
    material: Ints
    uv: Floats
    occlusion: Floats

    def add(
        self, mean: Floats, identity: Floats, actions: Floats, faces: Ints, material: Ints, uv: Floats
    ) -> None:
        """Append vertices; `faces` count from the first vertex of the whole mesh."""
        self.mean = np.concatenate([self.mean, mean])
        self.identity = np.concatenate([self.identity, identity], axis=1)
        self.actions = np.concatenate([self.actions, actions], axis=1)
        self.faces = np.concatenate([self.faces, faces])
        self.material = np.concatenate([self.material, material])
        self.uv = np.concatenate([self.uv, uv])
        self.occlusion = np.concatenate([self.occlusion, np.ones(len(mean), np.float32)])


@lru_cache(maxsize=1)
def load_rig() -> FaceRig:
    """Read the asset, add teeth, and tabulate the units.

    Returns:
        The rig; the same object on every call.

    Example:
        >>> load_rig().landmarks.shape
        (68,)
    """
    asset = resources.files("affectkit.synth") / "assets" / "facs_head.npz"
    with resources.as_file(asset) as path, np.load(path, allow_pickle=False) as data:
        mean = data["mean"].astype(np.float32)
        identity = data["id_basis"].astype(np.float32)
        actions = data["action_delta"].astype(np.float32)
        names = tuple(str(name) for name in data["action_names"])
        faces = data["faces"].astype(np.int32)
        material = data["component"].astype(np.int32)
    normals = _normals(mean, faces)
    landmarks = landmark_vertices(mean, normals, material == SKIN)
    mean += np.float32(0.035) * actions[names.index("mouthClose")]  # its lips stand a millimetre apart
    occlusion = _occlusion(mean, normals, material)
    actions[:, (material == LEFT_EYE) | (material == RIGHT_EYE)] = (
        0.0  # gaze turns the iris, not the coarse ball
    )
    # The tongue lies right behind the lips in the asset; rest it behind the teeth.
    mean[material == TONGUE] += np.array([0.0, 0.012, -0.004], dtype=np.float32)
    actions, names = _split_brow(actions, names, mean)
    uv = mean[:, (0, 2)] * np.float32(1e3)
    mesh = _Mesh(mean, identity, actions, faces, material, uv, occlusion)
    _add_mouth(mesh, names, landmarks)
    _lengthen_neck(mesh)
    return FaceRig(
        mesh.mean, mesh.identity, mesh.actions, names, mesh.faces, mesh.material,
        np.ascontiguousarray(mesh.uv), mesh.occlusion, landmarks, _unit_actions(names),
    )  # fmt: skip


def _normals(vertices: Floats, faces: Ints) -> Floats:
    corners = vertices[faces].astype(np.float64)
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((len(vertices), 3))
    for k in range(3):
        np.add.at(total, faces[:, k], face)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    unit: Floats = (total / np.maximum(length, 1e-20)).astype(np.float32)
    return unit


def _occlusion(mean: Floats, normals: Floats, material: Ints) -> Floats:
    """Darken what lies inside: backs of the lips, nostrils."""
    light = np.ones(len(mean), dtype=np.float32)
    x, y, z = (mean * 1e3).T
    lips = (np.abs(x) < 25) & (z > -212) & (z < -172) & (material == SKIN)
    depth = -134.0 + 11.0 * (x / 23.0) ** 2  # the line where the lips meet, curved around the jaws
    inside = lips & (normals[:, 1] > -0.25) & (y > depth + 1.0)
    light[inside] = 0.35
    nostril = (np.abs(x) < 16) & (z > -166) & (z < -148) & (y > -131) & (material == SKIN)
    light[nostril & (normals[:, 1] > -0.3)] = 0.25
    return light


def _split_brow(actions: Floats, names: tuple[str, ...], mean: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Split `browInnerUp`, the one shape of a paired muscle without sides, smoothly at the midline."""
    left = 1.0 / (1.0 + np.exp(-mean[:, 0] / 0.003))
    inner = actions[names.index("browInnerUp")]
    halves = np.stack([inner * left[:, None], inner * (1.0 - left)[:, None]]).astype(np.float32)
    return np.concatenate([actions, halves]), (*names, "browInnerLeft", "browInnerRight")


def _unit_actions(names: tuple[str, ...]) -> Floats:
    table = np.zeros((len(RIG_UNITS), 2, len(names)), dtype=np.float32)
    for row, shapes in zip(table, UNIT_SHAPES.values(), strict=True):
        for name, weight in shapes.items():
            if "{s}" in name:
                row[_LEFT, names.index(name.format(s="Left"))] = weight
                row[_RIGHT, names.index(name.format(s="Right"))] = weight
            else:
                row[:, names.index(name)] = weight / 2
    return table


def _teeth(height: tuple[float, float], depth: float) -> tuple[Floats, Floats, Ints]:
    """A row of teeth as a curved strip: vertices (metres), uv (mm along the arc, mm of height), triangles."""
    columns = 21
    angle = np.linspace(-1.25, 1.25, columns)
    x, y = 23.0 * np.sin(angle), depth + 20.0 * (1.0 - np.cos(angle))
    arc = 23.0 * angle
    low, high = height
    vertices = np.concatenate([np.stack([x, y, np.full(columns, z)], 1) for z in (low, high)]) * 1e-3
    uv = np.concatenate([np.stack([arc, np.full(columns, v)], 1) for v in (0.0, high - low)])
    k = np.arange(columns - 1)
    faces = np.concatenate(
        [np.stack([k, k + 1, k + 1 + columns], 1), np.stack([k, k + 1 + columns, k + columns], 1)]
    )
    return vertices.astype(np.float32), uv.astype(np.float32), faces.astype(np.int32)


def _add_mouth(mesh: _Mesh, names: tuple[str, ...], landmarks: npt.NDArray[np.int64]) -> None:
    """Append two rows of teeth and a dark wall behind them.

    The rows follow the identity of the lips before them; the lower row follows the jaw.
    """
    upper, upper_uv, upper_faces = _teeth((-187.5, -177.0), -128.5)
    lower, lower_uv, lower_faces = _teeth((-199.0, -188.5), -126.5)
    wall = np.array([(-22, -92, -168), (22, -92, -168), (22, -92, -206), (-22, -92, -206)], np.float32)
    wall_faces = np.array([(0, 2, 1), (0, 3, 2)], np.int32)
    still = np.zeros((len(names), 3), np.float32)
    jaw = still.copy()
    for k, name in enumerate(names):
        if name.startswith(
            "jaw"
        ):  # the mandible moves with the jaw only, less than the chin: nearer to the joint
            jaw[k] = 0.75 * mesh.actions[k, landmarks[[7, 8, 9]]].mean(axis=0)
    lip_top, lip_bottom = landmarks[[51, 62]], landmarks[[57, 66]]
    for part, uv, faces, anchor, kind, motion in (
        (upper, upper_uv, upper_faces, lip_top, TEETH, still),
        (lower, lower_uv, lower_faces, lip_bottom, TEETH, jaw),
        (wall * np.float32(1e-3), np.zeros((4, 2), np.float32), wall_faces, lip_top, CAVITY, still),
    ):
        n = len(part)
        shift = mesh.identity[:, anchor].mean(axis=1)
        mesh.add(
            part,
            np.repeat(shift[:, None], n, axis=1),
            np.repeat(motion[:, None], n, axis=1),
            faces + np.int32(len(mesh.mean)),
            np.full(n, kind, np.int32),
            uv,
        )


def _lengthen_neck(mesh: _Mesh) -> None:
    """Draw the ragged lower edge of the neck out of the picture."""
    skin = mesh.faces[mesh.material[mesh.faces[:, 0]] == SKIN]
    known = {(int(a), int(b)) for pair in ((0, 1), (1, 2), (2, 0)) for a, b in skin[:, pair]}
    edges = sorted((a, b) for a, b in known if (b, a) not in known and mesh.mean[[a, b], 2].max() < -0.2)
    rim = sorted({v for edge in edges for v in edge})
    place = {v: len(mesh.mean) + k for k, v in enumerate(rim)}
    skirt = [(b, a, place[a]) for a, b in edges] + [(b, place[a], place[b]) for a, b in edges]
    below = mesh.mean[rim] * np.array([1.3, 1.0, 1.0], np.float32) - np.array([0.0, 0.0, 0.12], np.float32)
    mesh.add(
        below,
        mesh.identity[:, rim],
        mesh.actions[:, rim],
        np.array(skirt, np.int32),
        mesh.material[rim],
        mesh.uv[rim],
    )
