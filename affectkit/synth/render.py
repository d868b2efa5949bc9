"""Face renderer: action units, pose, person and scene to an RGB picture and 68 landmarks.

It uses a z-buffer with 2 x 2 samples per pixel, smooth normals bent by wrinkle maps, two lights, an ambient
gradient and analytic irises. The frame is a crop centred between eyes and mouth of the neutral face in the
given pose, as in a video of aligned faces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from affectkit.errors import MissingDependencyError
from affectkit.synth.rig import LEFT_EYE, RIGHT_EYE, FaceRig, load_rig, unit_weights
from affectkit.synth.skin import COLUMNS, ROWS, TEXEL, SkinLook, paint_skin, shrink, smooth_noise, wrinkles

__all__ = ["RENDERER_VERSION", "Face", "FaceRenderer", "Person", "Rendered", "Scene"]

RENDERER_VERSION: Final = 3
"""Incremented when the same settings give different pixels; part of the hash of a corpus."""

Floats = npt.NDArray[np.float32]

_DISTANCE: Final = 0.9  # metres from the camera to the pivot
_PIVOT: Final = np.array([0.0, -0.05, -0.15], dtype=np.float32)  # between the ears
_IRIS: Final = 0.36  # radius of the iris as a chord on the unit eye


@dataclass(frozen=True, slots=True)
class Person:
    """Properties of a person.

    Attributes:
        shape: Up to 20 identity coefficients, unit normal.
        skin: Appearance of the skin.
        iris: Linear RGB.
        wrinkle: Relative depth of wrinkles, 0.6 to 1.4.
        expressivity: Gain of all action shapes, about 0.85 to 1.15.
    """

    shape: tuple[float, ...] = ()
    skin: SkinLook = field(default_factory=SkinLook)
    iris: tuple[float, float, float] = (0.07, 0.035, 0.015)
    wrinkle: float = 1.0
    expressivity: float = 1.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Light, background and camera of a clip; colours are linear RGB.

    Attributes:
        key: (azimuth, elevation) of the main light in degrees; 0 is the camera, positive azimuths are to the
            image's right.
        key_colour: Colour of the main light.
        fill_colour: Colour of the fill light, opposite the main light.
        sky: Ambient light from above.
        ground: Ambient light from below.
        shine: Strength of highlights on the skin, 0 to 0.3.
        exposure: Gain.
        noise: Standard deviation of the camera noise in 8-bit steps.
        background: Colours of the corners: top left, top right, bottom left, bottom right.
        background_noise: Strength of a smooth pattern, 0 to 1.
        zoom: Distance from eyes to mouth as a fraction of the frame's side.
        shift: (right, down) shift of the face as a fraction of the frame's side.
        seed: Seed of background pattern and noise.
    """

    key: tuple[float, float] = (-25.0, 30.0)
    key_colour: tuple[float, float, float] = (0.8, 0.78, 0.74)
    fill_colour: tuple[float, float, float] = (0.16, 0.17, 0.2)
    sky: tuple[float, float, float] = (0.34, 0.35, 0.37)
    ground: tuple[float, float, float] = (0.16, 0.14, 0.13)
    shine: float = 0.08
    exposure: float = 1.0
    noise: float = 2.0
    background: tuple[tuple[float, float, float], ...] = ((0.1, 0.1, 0.11),) * 4
    background_noise: float = 0.0
    zoom: float = 0.40
    shift: tuple[float, float] = (0.0, 0.0)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Face:
    """Action units, pose and gaze of one frame.

    Attributes:
        units: AU number -> intensity from 0 to 1, or (left, right) intensities, from the subject's view.
        yaw: Degrees, positive to the subject's left (the image's right).
        pitch: Degrees, positive up.
        roll: Degrees, positive clockwise in the image.
        gaze: (to the subject's left, up) relative to the head, -1 to 1 for about 25 degrees.
    """

    units: Mapping[int, float | tuple[float, float]] = field(default_factory=dict)
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """Picture, uint8 [S, S, 3] in RGB, and landmarks, float32 [68, 2] as (x, y) with pixel centres at integers."""

    image: npt.NDArray[np.uint8]
    landmarks: Floats


def load_kernels() -> ModuleType:
    """Import the compiled loops, or raise `MissingDependencyError` without numba."""
    try:
        from affectkit.synth import kernels
    except ImportError as error:
        raise MissingDependencyError(
            "Rendering faces needs numba.", remedy="Run: pip install 'affectkit[synth]'."
        ) from error
    return kernels


def _rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """Rotate by yaw, pitch, roll in that order; camera axes are x right, y up, z towards the camera."""
    y, p, r = (math.radians(angle) for angle in (yaw, -pitch, -roll))
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    about_z = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return _product(about_z, _product(about_x, about_y)).astype(np.float32)


def _product(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Matrix product of 3 x 3 with 3 x N, summed in a fixed order: the same bits in every process."""
    total: npt.NDArray[Any] = a[:, 0, None] * b[0] + a[:, 1, None] * b[1] + a[:, 2, None] * b[2]
    return total


def _direction(azimuth: float, elevation: float) -> tuple[float, float, float]:
    a, e = math.radians(azimuth), math.radians(elevation)
    return math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)


class FaceRenderer:
    """Renderer of square frames of one size. It reuses buffers, so use one per thread.

    Args:
        size: Side of the frame in pixels.

    Raises:
        MissingDependencyError: numba is not installed.

    Example:
        >>> renderer = FaceRenderer(48)
        >>> renderer.set(Person(), Scene())
        >>> renderer.render(Face({12: 1.0})).image.shape
        (48, 48, 3)
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rig: FaceRig = load_rig()
        self._kernels = load_kernels()
        # Texels are about a pixel wide at this level (eyes and mouth are 72 mm apart, 0.4 of the side).
        self._level = min(max(round(math.log2(180.0 / size / TEXEL)), 0), 2)
        self._wrinkles = wrinkles(self._level)
        n, v = 2 * size, len(self.rig.mean)
        self._vertices = np.empty((v, 3), np.float32)
        self._space = np.empty((v, 3), np.float32)
        self._screen = np.empty((v, 2), np.float32)
        self._faces = self.rig.faces.astype(np.uint32)  # compiled code checks the sign of signed indices
        self._kinds = self.rig.material[self.rig.faces[:, 0]].astype(np.uint8)
        # Per vertex: normal in the frame, texture coordinates, occlusion.
        self._surface = np.zeros((v, 6), np.float32)
        self._surface[:, 3:5], self._surface[:, 5] = self.rig.uv, self.rig.occlusion
        self._depth = np.empty((n, n), np.float32)
        self._owner = np.empty((n, n), np.int32)
        self._bary = np.empty((n, n, 2), np.float32)
        # Albedo, then the wrinkles of the frame.
        self._texture = np.zeros((ROWS >> self._level, COLUMNS >> self._level, 6), np.float32)
        self._image = np.empty((size, size, 3), np.float32)
        self._eyes = [np.flatnonzero(self.rig.material == kind) for kind in (LEFT_EYE, RIGHT_EYE)]
        self._person = Person()
        self._paint()
        self.set(self._person, Scene())

    def set(self, person: Person, scene: Scene) -> None:
        """Choose person and scene; the person is repainted only when it is another object."""
        if person is not self._person:
            self._person = person
            self._paint()
        self._scene = scene
        rng = np.random.default_rng(scene.seed)
        self._background = _background(scene, self.size, rng)
        tile = max(self.size, 64)
        self._noise = (scene.noise * rng.standard_normal((tile, tile, 3))).astype(np.float32)
        azimuth, elevation = scene.key
        self._lights = np.array(
            [
                (*_direction(azimuth, elevation), *scene.key_colour),
                (*_direction(-azimuth * 1.5 + 20.0, 5.0), *scene.fill_colour),
            ],
            dtype=np.float32,
        )
        self._ambient = np.array([scene.sky, scene.ground], dtype=np.float32)
        self._colours = np.array(
            [person.iris, (0.66, 0.62, 0.6), (0.72, 0.68, 0.58), (0.42, 0.12, 0.11)], dtype=np.float32
        )
        self._frames = 0

    def render(self, face: Face) -> Rendered:
        """Render one frame. Successive frames after `set` differ in their camera noise."""
        person, scene, k, rig = self._person, self._scene, self._kernels, self.rig
        rotation = _rotation(face.yaw, face.pitch, face.roll)
        scale, centre = self._frame(rotation)
        weights = unit_weights(rig, face.units, face.gaze) * np.float32(person.expressivity)
        k.deform(self._head, rig.actions, weights, self._vertices)
        k.project(
            self._vertices, rotation, _PIVOT, scale, np.float32(_DISTANCE), centre, self._space, self._screen
        )
        k.vertex_normals(self._space, self._faces, self._surface[:, :3])
        k.rasterise(self._screen, self._space, self._faces, self._depth, self._owner, self._bary)
        strength = np.array([_side(face.units.get(u, 0.0), s) for u, s in self._wrinkles.keys], np.float32)
        k.mix_wrinkles(
            self._wrinkles.boxes, self._wrinkles.starts, self._wrinkles.texels,
            strength * np.float32(person.wrinkle), self._texture[..., 3:],
        )  # fmt: skip
        k.shade(
            self._owner, self._bary, self._depth, self._faces, self._kinds, self._space, self._surface,
            rotation, self._texture, np.float32(TEXEL * 2**self._level), self._lights, self._ambient,
            self._eye_table(face, rotation), self._colours, np.float32(scene.shine), self._background,
            self._image,
        )  # fmt: skip
        image = np.empty((self.size, self.size, 3), np.uint8)
        step = np.array([self._frames * 37, self._frames * 53], np.int64)
        k.develop(self._image, np.float32(scene.exposure), self._noise, step, image)
        self._frames += 1
        landmarks = self._screen[rig.landmarks] / np.float32(2.0) - np.float32(0.5)
        return Rendered(image, landmarks.astype(np.float32))

    def _paint(self) -> None:
        self._head = self.rig.person(self._person.shape)
        self._texture[..., :3] = shrink(paint_skin(self._person.skin), self._level)
        points = self._head[self.rig.landmarks]
        eyes, mouth = points[36:48].mean(axis=0), points[48:60].mean(axis=0)
        self._span = math.sqrt(float(((eyes - mouth) ** 2).sum()))
        self._middle = (eyes + mouth) / 2 - _PIVOT

    def _frame(self, rotation: Floats) -> tuple[np.float32, Floats]:
        """Scale (samples per metre) and centre that place eyes and mouth of the neutral face."""
        scene, middle = self._scene, self._middle
        scale = scene.zoom * 2 * self.size / self._span
        x, y, z = _product(rotation, np.array([[middle[0]], [middle[2]], [-middle[1]]], np.float32))[:, 0]
        f = scale * _DISTANCE / (_DISTANCE - z)
        corrected = scale * scale / f  # the same size at any depth of the face
        right, down = (self.size * (1 + 2 * shift) for shift in scene.shift)
        return np.float32(corrected), np.array([right - scale * x, down + scale * y], dtype=np.float32)

    def _eye_table(self, face: Face, rotation: Floats) -> Floats:
        across, up = face.gaze
        angle = math.radians(25.0)
        look = np.array([[math.sin(across * angle)], [math.sin(up * angle * 0.8)], [1.0]])
        look = _product(rotation, (look / math.sqrt(float((look**2).sum()))).astype(np.float32))[:, 0]
        centres = [self._space[eye].mean(axis=0) for eye in self._eyes]
        return np.array([[*centre, *look, _IRIS] for centre in centres], dtype=np.float32)


def _side(value: float | tuple[float, float], side: int) -> float:
    return value[side] if isinstance(value, tuple) else value


def _background(scene: Scene, size: int, rng: np.random.Generator) -> Floats:
    corners = np.asarray(scene.background, dtype=np.float32).reshape(2, 2, 3)
    t = np.linspace(0.0, 1.0, size, dtype=np.float32)
    rows = corners[0] * (1 - t)[:, None, None] + corners[1] * t[:, None, None]
    field = rows[:, None, 0] * (1 - t)[None, :, None] + rows[:, None, 1] * t[None, :, None]
    if scene.background_noise > 0.0:
        pattern = smooth_noise(rng, 8, (size, size))
        field = field * (1.0 + scene.background_noise * np.tanh(pattern))[..., None]
    return np.ascontiguousarray(np.clip(field, 0.0, 1.0), dtype=np.float32)
