"""The FACS rig: a head mesh whose identity and action units are linear shapes.

The mesh is `assets/facs_head.npz` (CC0, see `assets/NOTICE`): a mean head, 20 identity components and 52
additive action shapes named after ARKit's blend shapes. Action units are mixtures of these shapes
(`UNIT_SHAPES`), separate for each side, plus the few interactions that a linear sum gets wrong: lips stay
together until AU25 parts them. The mesh has no teeth, so two rows are added, one fixed to the skull and one
to the jaw.

Axes: x to the subject's left, y backwards, z up, in metres. The texture coordinates of a point are its (x, z)
on the mean head in millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "CAVITY", "LEFT_EYE", "RIGHT_EYE", "RIG_UNITS", "SKIN", "TEETH", "TONGUE",
    "FaceRig", "load_rig", "unit_weights",
]  # fmt: skip

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

# Material of a vertex. The first four are the asset's components.
SKIN, TONGUE, LEFT_EYE, RIGHT_EYE, TEETH, CAVITY = range(6)

# AU -> weights of action shapes at full intensity; "{s}" is replaced by the side. Weights above 1 compensate
# for shapes that are weaker than FACS describes at intensity E.
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
"""All units that the rig can show, in ascending order."""


# Landmarks on the mean head seen from the front, (x, z) in millimetres, for the image's left half (x < 0). The nearest
# front-facing skin vertex carries a landmark, so that it follows identity, action units and pose.
_JAW: Final = (
    (-72.0, -122.0), (-71.0, -138.0), (-69.0, -154.0), (-65.0, -169.0), (-58.0, -184.0),
    (-49.0, -198.0), (-36.0, -211.0), (-19.0, -222.0), (0.0, -227.6),
)  # fmt: skip
_BROW: Final = ((-47.0, -102.0), (-40.0, -98.0), (-31.0, -96.5), (-22.0, -98.0), (-13.0, -101.0))
_NOSE: Final = ((0.0, -116.0), (0.0, -127.0), (0.0, -138.0), (0.0, -149.0))
_NOSTRILS: Final = ((-13.5, -160.5), (-7.0, -162.5), (0.0, -164.2))
_EYE: Final = (
    (-44.5, -115.7), (-35.1, -112.1), (-23.5, -113.5), (-14.8, -119.2), (-24.6, -119.8), (-35.5, -120.5),
)  # fmt: skip
_OUTER_LIP_TOP: Final = ((-22.6, -186.5), (-15.0, -181.0), (-6.0, -178.4), (0.0, -179.0))
_OUTER_LIP_BOTTOM: Final = ((0.0, -198.0), (-6.3, -197.5), (-13.5, -194.5))
_INNER_LIP: Final = ((-20.0, -185.9), (-8.1, -185.1), (0.0, -185.3))
_INNER_LIP_BOTTOM: Final = ((0.0, -187.1), (-5.5, -187.1))


@dataclass(frozen=True, slots=True, eq=False)
class FaceRig:
    """Mesh with linear shapes: vertices are `mean + sum_k c_k identity_k + sum_j w_j action_j`.

    Attributes:
        mean: float32 [V, 3], metres.
        identity: float32 [20, V, 3], for unit normal coefficients.
        actions: float32 [J, V, 3].
        action_names: Names of `actions`.
        faces: int32 [F, 3], counter-clockwise seen from outside.
        material: int32 [V].
        uv: float32 [V, 2], texture coordinates in millimetres (teeth: arc length and height).
        occlusion: float32 [V], fraction of light that reaches a vertex, 0 to 1.
        landmarks: int64 [68], vertices of the iBUG points.
        unit_actions: float32 [U, 2, J], weights of each unit's left and right half at full intensity.
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
        """Neutral head, float32 [V, 3] in metres, of up to 20 unit normal identity coefficients."""
        return _weighted(self.mean, np.asarray(coefficients, dtype=np.float32), self.identity)

    def deform(self, head: Floats, weights: Floats) -> Floats:
        """Add action shapes, weighted by float32 [J] from `unit_weights`, to a head from `person`."""
        return _weighted(head, weights, self.actions)


def _weighted(start: Floats, weights: Floats, parts: Floats) -> Floats:
    """Add weighted parts one by one; a matrix product may round differently in another process."""
    total = start.copy()
    for k in np.flatnonzero(weights).tolist():
        total += weights[k] * parts[k]
    return total


def unit_weights(
    rig: FaceRig, units: Mapping[int, float | tuple[float, float]], gaze: tuple[float, float] = (0.0, 0.0)
) -> Floats:
    """Convert action-unit intensities to weights of the action shapes.

    Args:
        rig: The rig.
        units: AU number -> intensity from 0 to 1 (E on the FACS scale), or (left, right) intensities, from the
            subject's view.
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
        weights += np.float32(left) * row[0] + np.float32(right) * row[1]
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
        weights[index[f"eyeLookUp{s}"]] += max(gaze[1], 0.0)
        weights[index[f"eyeLookDown{s}"]] += max(-gaze[1], 0.0)
    return weights


@lru_cache(maxsize=1)
def load_rig() -> FaceRig:
    """Load the rig; every call returns the same object."""
    asset = resources.files("affectkit.synth") / "assets" / "facs_head.npz"
    with resources.as_file(asset) as path, np.load(path, allow_pickle=False) as data:
        mean = data["mean"].astype(np.float32)
        identity = data["id_basis"].astype(np.float32)
        actions = data["action_delta"].astype(np.float32)
        names = tuple(str(name) for name in data["action_names"])
        faces = data["faces"].astype(np.int32)
        material = data["component"].astype(np.int32)
    normals = _normals(mean, faces)
    landmarks = _landmark_vertices(mean, normals, material == SKIN)
    mean += np.float32(0.035) * actions[names.index("mouthClose")]  # its lips are a millimetre apart
    occlusion = _occlusion(mean, normals, material)
    # Gaze turns the iris, not the coarse ball.
    actions[:, (material == LEFT_EYE) | (material == RIGHT_EYE)] = 0.0
    # The tongue lies directly behind the lips in the asset; move it behind the teeth.
    mean[material == TONGUE] += np.array([0.0, 0.012, -0.004], dtype=np.float32)
    actions, names = _split_brow(actions, names, mean)
    uv = mean[:, (0, 2)] * np.float32(1e3)
    rig = FaceRig(
        mean, identity, actions, names, faces, material, uv, occlusion, landmarks, _unit_actions(names)
    )
    return _lengthen_neck(_add_mouth(rig))


def _append(
    rig: FaceRig, mean: Floats, identity: Floats, actions: Floats, faces: Ints, material: Ints, uv: Floats
) -> FaceRig:
    """Append vertices to the mesh; `faces` count from the first vertex of the whole mesh."""
    return replace(
        rig,
        mean=np.concatenate([rig.mean, mean]),
        identity=np.concatenate([rig.identity, identity], axis=1),
        actions=np.concatenate([rig.actions, actions], axis=1),
        faces=np.concatenate([rig.faces, faces]),
        material=np.concatenate([rig.material, material]),
        uv=np.concatenate([rig.uv, uv]),
        occlusion=np.concatenate([rig.occlusion, np.ones(len(mean), np.float32)]),
    )


def _mirror(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    return tuple((-x, z) for x, z in reversed(points))


def landmark_points() -> npt.NDArray[np.float64]:
    """(x, z) of the 68 points on the mean head, float64 [68, 2] in millimetres."""
    right_eye = tuple((-x, z) for x, z in (_EYE[3], _EYE[2], _EYE[1], _EYE[0], _EYE[5], _EYE[4]))
    points = (
        _JAW + _mirror(_JAW[:8])
        + _BROW + _mirror(_BROW)
        + _NOSE + _NOSTRILS + _mirror(_NOSTRILS[:2])
        + _EYE + right_eye
        + _OUTER_LIP_TOP + _mirror(_OUTER_LIP_TOP[:3])
        + _mirror(_OUTER_LIP_BOTTOM[1:]) + _OUTER_LIP_BOTTOM
        + _INNER_LIP + _mirror(_INNER_LIP[:2])
        + _mirror(_INNER_LIP_BOTTOM[1:]) + _INNER_LIP_BOTTOM
    )  # fmt: skip
    return np.asarray(points, dtype=np.float64)


def _landmark_vertices(
    mean: Floats, normals: Floats, allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Vertex of each landmark, int64 [68], in iBUG order, among the allowed ones."""
    front = allowed & (normals[:, 1] < 0.15) & (mean[:, 1] < -0.04)
    points = landmark_points()
    places = mean[:, (0, 2)].astype(np.float64) * 1e3
    distance = np.hypot(points[:, None, 0] - places[None, :, 0], points[:, None, 1] - places[None, :, 1])
    distance[:, ~front] = np.inf
    # All but the outline lie on the front of the face, not in the eye sockets behind it.
    depth = mean[None, :, 1] * 1e3
    foremost = np.where(distance < 6.0, depth, np.inf).min(axis=1, keepdims=True)
    distance[17:][(depth > foremost + 12.0)[17:]] = np.inf
    nearest: npt.NDArray[np.int64] = distance.argmin(axis=1)
    return nearest


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
    """Darken the backs of the lips and the nostrils."""
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
    """Split `browInnerUp`, the only shape of a paired muscle without sides, smoothly at the midline."""
    left = 1.0 / (1.0 + np.exp(-mean[:, 0] / 0.003))
    inner = actions[names.index("browInnerUp")]
    halves = np.stack([inner * left[:, None], inner * (1.0 - left)[:, None]]).astype(np.float32)
    return np.concatenate([actions, halves]), (*names, "browInnerLeft", "browInnerRight")


def _unit_actions(names: tuple[str, ...]) -> Floats:
    table = np.zeros((len(RIG_UNITS), 2, len(names)), dtype=np.float32)
    for row, shapes in zip(table, UNIT_SHAPES.values(), strict=True):
        for name, weight in shapes.items():
            for half, side in zip(row, ("Left", "Right"), strict=True):
                half[names.index(name.format(s=side))] = weight if "{s}" in name else weight / 2
    return table


def _teeth(height: tuple[float, float], depth: float) -> tuple[Floats, Floats, Ints]:
    """Vertices (metres), uv (mm along the arc, mm of height) and triangles of a row of teeth, a curved strip."""
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


def _add_mouth(rig: FaceRig) -> FaceRig:
    """Append two rows of teeth, shifted with the lips of a person, and a dark wall behind them."""
    upper, upper_uv, upper_faces = _teeth((-187.5, -177.0), -128.5)
    lower, lower_uv, lower_faces = _teeth((-199.0, -188.5), -126.5)
    wall = np.array([(-22, -92, -168), (22, -92, -168), (22, -92, -206), (-22, -92, -206)], np.float32)
    wall_faces = np.array([(0, 2, 1), (0, 3, 2)], np.int32)
    still = np.zeros((len(rig.actions), 3), np.float32)
    jaw = still.copy()
    for k, name in enumerate(rig.action_names):
        if name.startswith("jaw"):  # the lower teeth are nearer to the joint than the chin is
            jaw[k] = 0.75 * rig.actions[k, rig.landmarks[[7, 8, 9]]].mean(axis=0)
    lip_top, lip_bottom = rig.landmarks[[51, 62]], rig.landmarks[[57, 66]]
    for part, uv, faces, anchor, kind, motion in (
        (upper, upper_uv, upper_faces, lip_top, TEETH, still),
        (lower, lower_uv, lower_faces, lip_bottom, TEETH, jaw),
        (wall * np.float32(1e-3), np.zeros((4, 2), np.float32), wall_faces, lip_top, CAVITY, still),
    ):
        n = len(part)
        shift = np.repeat(rig.identity[:, anchor].mean(axis=1)[:, None], n, axis=1)
        moves = np.repeat(motion[:, None], n, axis=1)
        faces = faces + np.int32(len(rig.mean))
        rig = _append(rig, part, shift, moves, faces, np.full(n, kind, np.int32), uv)
    return rig


def _lengthen_neck(rig: FaceRig) -> FaceRig:
    """Extend the ragged lower edge of the neck beyond the picture."""
    skin = rig.faces[rig.material[rig.faces[:, 0]] == SKIN]
    known = {(int(a), int(b)) for pair in ((0, 1), (1, 2), (2, 0)) for a, b in skin[:, pair]}
    edges = sorted((a, b) for a, b in known if (b, a) not in known and rig.mean[[a, b], 2].max() < -0.2)
    rim = sorted({v for edge in edges for v in edge})
    copy = {v: len(rig.mean) + k for k, v in enumerate(rim)}
    skirt = [(b, a, copy[a]) for a, b in edges] + [(b, copy[a], copy[b]) for a, b in edges]
    below = rig.mean[rim] * np.array([1.3, 1.0, 1.0], np.float32) - np.array([0.0, 0.0, 0.12], np.float32)
    faces, identity, actions = np.array(skirt, np.int32), rig.identity[:, rim], rig.actions[:, rim]
    return _append(rig, below, identity, actions, faces, rig.material[rim], rig.uv[rim])
