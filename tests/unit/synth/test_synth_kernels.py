"""The compiled loops against plain numpy, and the same loops uncompiled (so that coverage is of the loops)."""

import math

import numpy as np
import pytest

from affectkit.synth import Face, FaceRenderer, Person, Scene, shading
from affectkit.synth import kernels as compiled
from affectkit.synth.render import load_kernels


class Uncompiled:
    """The Python functions under numba's dispatchers."""

    def __getattr__(self, name):
        return getattr(compiled if hasattr(compiled, name) else shading, name).py_func


@pytest.fixture(params=["compiled", "uncompiled"])
def k(request):
    return compiled if request.param == "compiled" else Uncompiled()


f32 = np.float32


def test_deform_adds_weighted_shapes(k):
    rng = np.random.default_rng(0)
    head, actions = rng.random((5, 3), f32), rng.random((3, 5, 3), f32)
    weights, out = np.array([0.5, 0.0, -1.0], f32), np.empty((5, 3), f32)
    k.deform(head, actions, weights, out)
    np.testing.assert_allclose(out, head + np.tensordot(weights, actions, 1), rtol=1e-5)


def test_project_is_a_pinhole(k):
    vertices = np.array([[0.02, -0.1, -0.1], [0.0, 0.0, 0.0]], f32)
    pivot = np.array([0.0, -0.05, -0.15], f32)
    space, screen = np.empty((2, 3), f32), np.empty((2, 2), f32)
    k.project(
        vertices, np.eye(3, dtype=f32), pivot, f32(1000), f32(0.9), np.array([32, 32], f32), space, screen
    )
    np.testing.assert_allclose(space[0], [0.02, 0.05, 0.05], atol=1e-7)
    f = 1000 * 0.9 / (0.9 - 0.05)
    np.testing.assert_allclose(screen[0], [32 + f * 0.02, 32 - f * 0.05], rtol=1e-5)


def test_normals_of_a_tetrahedron_point_outwards(k):
    space = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [9, 9, 9]], f32)
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.int32)
    normals = np.ones((5, 3), f32)
    k.vertex_normals(space, faces, normals)
    np.testing.assert_allclose(normals[:4], space[:4] / math.sqrt(3), atol=1e-6)
    np.testing.assert_array_equal(normals[4], 0.0)


def test_wrinkles_are_mixed_in_place(k):
    boxes = np.array([[0, 0, 1, 2], [1, 1, 1, 1], [0, 0, 2, 2]], np.int32)
    texels = np.arange(21, dtype=f32).reshape(7, 3)
    out = np.full((2, 2, 3), 9, f32)
    k.mix_wrinkles(boxes, np.array([0, 2, 3]), texels, np.array([1.0, 2.0, 0.0], f32), out)
    expected = np.zeros((2, 2, 3))
    expected[0] = texels[:2]
    expected[1, 1] = 2 * texels[2]
    np.testing.assert_array_equal(out, expected)


def reference_raster(screen, depth_of, faces, n):
    """Every triangle against every sample, with numpy."""
    y, x = np.mgrid[:n, :n] + 0.5
    depth, owner = np.full((n, n), -1e9), np.full((n, n), -1)
    for i, (a, b, c) in enumerate(faces):
        (ax, ay), (bx, by), (cx, cy) = screen[a], screen[b], screen[c]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= 0:
            continue
        u = ((by - cy) * (x - cx) + (cx - bx) * (y - cy)) / area
        v = ((cy - ay) * (x - cx) + (ax - cx) * (y - cy)) / area
        z = u * depth_of[a] + v * depth_of[b] + (1 - u - v) * depth_of[c]
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (z > depth)
        depth[hit], owner[hit] = z[hit], i
    return depth, owner


def test_raster_agrees_with_numpy(k):
    rng = np.random.default_rng(3)
    n = 24
    screen = rng.uniform(-6, 30, (60, 2)).astype(f32)
    space = np.concatenate([screen, rng.random((60, 1), f32)], 1)
    faces = rng.integers(0, 60, (80, 3)).astype(np.int32)
    depth, owner, bary = np.empty((n, n), f32), np.empty((n, n), np.int32), np.zeros((n, n, 2), f32)
    k.rasterise(screen, space, faces, depth, owner, bary)
    expected_depth, expected_owner = reference_raster(
        screen.astype(float), space[:, 2].astype(float), faces, n
    )
    same = owner == expected_owner
    assert same.mean() > 0.99, "a sample on an edge may fall to either side"
    np.testing.assert_allclose(depth[same], expected_depth[same], atol=1e-4)
    assert len(np.unique(owner)) > 5
    there = owner >= 0
    corners = faces[owner[there]]
    u, v = bary[there].T
    x = u * screen[corners[:, 0], 0] + v * screen[corners[:, 1], 0] + (1 - u - v) * screen[corners[:, 2], 0]
    np.testing.assert_allclose(x, np.nonzero(there)[1] + 0.5, atol=1e-2)


@pytest.fixture(params=["compiled", "uncompiled"])
def lamp(request):
    return shading if request.param == "compiled" else Uncompiled()


def plane(points, first, planes=1):
    """The numbers of a quantity: [planes, points]."""
    return points[first : first + planes * shading.BATCH].reshape(planes, -1)


def test_bilinear_reproduces_a_plane(lamp):
    from affectkit.synth.skin import LEFT, TEXEL, TOP, shrink

    rows, columns = np.mgrid[:264, :200].astype(f32)
    texture = np.stack([LEFT + TEXEL * columns, TOP - TEXEL * rows, np.ones_like(rows)], -1)
    texture = np.concatenate([texture, -texture], -1)
    for level in (0, 1, 2):
        points, corner = np.zeros(17 * shading.BATCH, f32), np.empty(shading.BATCH, np.int32)
        plane(points, shading._S)[0, :3] = 12.3, -999, 12.3
        plane(points, shading._T)[0, :3] = -101.7, 999, -101.7
        plane(points, shading._GLOSS)[0, :3] = -1, -1, 0.5
        lamp._sample_skin(points, corner, 3, shrink(texture, level), f32(TEXEL * 2**level))
        out = plane(points, shading._TINT, 6)
        np.testing.assert_allclose(out[:, 0], [12.3, -101.7, 1.0, -12.3, 101.7, -1.0], atol=2e-3)
        np.testing.assert_allclose(out[:3, 1], [LEFT, TOP, 1.0], atol=1.3, err_msg="stays on the texture")
        np.testing.assert_array_equal(out[:, 2], 0.0, err_msg="only skin has a texture")


def lit(
    lamp,
    normal,
    gloss=0.0,
    shine=0.0,
    slopes=(0.0, 0.0),
    dark=0.0,
    lights=((0, 0, 1, 1, 1, 1),),
    ambient=None,
):
    """The colour of a white point."""
    points = np.zeros(17 * shading.BATCH, f32)
    plane(points, shading._NORMAL, 3)[:, 0] = normal
    plane(points, shading._TINT, 3)[:, 0] = 1.0
    plane(points, shading._SLOPE, 2)[:, 0] = slopes
    for first, value in ((shading._LIGHT, 1.0), (shading._GLOSS, gloss), (shading._DARK, dark)):
        plane(points, first)[0, 0] = value
    lights = np.array(lights, f32).reshape(-1, 6)
    ambient = np.zeros((2, 3), f32) if ambient is None else np.array(ambient, f32)
    lamp._light(points, 1, np.eye(3, dtype=f32), lights, ambient, f32(shine))
    return plane(points, shading._TINT, 3)[:, 0]


def test_light_is_brightest_facing_the_lamp(lamp):
    def brightness(normal, **options):
        return lit(lamp, normal, **options)[0]

    assert brightness([0, 0, 1]) == pytest.approx(1.0)
    assert brightness([0, 0, 3]) == pytest.approx(1.0), "the normal need not be of length one"
    assert brightness([0, 0, 1]) > brightness([1, 0, 1]) > brightness([1, 0, 0]) > brightness([1, 0, -1])
    assert brightness([0, 0, -1]) == 0.0
    assert brightness([0, 0, 1], gloss=0.5) == pytest.approx(1.5)
    assert brightness([0, 0, 1], gloss=-1.0, shine=0.1) == pytest.approx(1.1), "the skin's own"
    assert brightness([0, 0, 1], slopes=(1.0, 0.0)) == pytest.approx(brightness([-1, 0, 1]))
    assert brightness([0, 0, 1], slopes=(0.0, 2.0)) == pytest.approx(brightness([0, -2, 1]))
    assert brightness([0, 0, 1], dark=0.3) == pytest.approx(0.7)
    assert brightness([0, 0, 1], dark=0.9) == pytest.approx(0.25), "creases are never black"


def test_ambient_light_comes_from_above_and_below(lamp):
    ambient = [[1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(lit(lamp, [0, 1, 0], lights=(), ambient=ambient), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(lit(lamp, [0, -1, 0], lights=(), ambient=ambient), [0, 1, 0], atol=1e-6)


def test_develop_encodes_and_clips(k):
    image = np.array([[[0.25, 4.0, 0.0]]], f32)
    noise = np.zeros((2, 2, 3), f32)
    noise[1, 0, 2] = -50.0
    out = np.empty((1, 1, 3), np.uint8)
    k.develop(image, f32(1), noise, np.array([1, 2]), out)
    np.testing.assert_array_equal(out[0, 0], [128, 255, 0])


def test_whole_frame_is_the_same_uncompiled(monkeypatch):
    """Open mouth and eyes, at a size at which Python is fast enough: all materials are met."""
    face = Face({25: 1.0, 26: 1.0, 4: 0.6}, yaw=12.0, gaze=(0.5, 0.2))
    renderer = FaceRenderer(20)
    renderer.set(Person(), Scene(zoom=0.75))
    fast = renderer.render(face)
    kinds = {
        int(renderer.rig.material[renderer.rig.faces[i, 0]]) for i in np.unique(renderer._owner) if i >= 0
    }
    assert {0, 2, 3, 4} <= kinds
    assert load_kernels() is compiled
    slow_renderer = FaceRenderer(20)
    slow_renderer._kernels = Uncompiled()
    slow_renderer.set(Person(), Scene(zoom=0.75))
    slow = slow_renderer.render(face)
    assert np.abs(fast.image.astype(int) - slow.image.astype(int)).max() <= 2
    np.testing.assert_allclose(fast.landmarks, slow.landmarks, atol=1e-3)


def test_mouth_and_back_of_the_throat_are_shaded(lamp):
    """One sample of each material that a small frame may miss."""
    renderer = FaceRenderer(16)
    renderer.set(Person(), Scene())
    renderer.render(Face())
    rig = renderer.rig
    n, pixels = 32, np.empty((16, 16, 3), f32)
    owner = np.full((n, n), -1, np.int32)
    for column, kind in enumerate((1, 5, 0, 4)):
        owner[:2, 2 * column : 2 * column + 2] = np.flatnonzero(rig.material[rig.faces[:, 0]] == kind)[0]
    bary = np.full((n, n, 2), 1 / 3, f32)
    depth = np.where(np.arange(n) % 2, 0.5, 0.0).astype(f32)[None].repeat(n, 0)  # a step in every pixel
    lamp.shade(
        owner, bary, depth, renderer._faces, renderer._kinds, renderer._space, renderer._surface,
        np.eye(3, dtype=f32), renderer._texture, f32(3.2), renderer._lights, renderer._ambient,
        renderer._eye_table(Face(), np.eye(3, dtype=f32)), renderer._colours, f32(0.1), renderer._background, pixels,
    )  # fmt: skip
    np.testing.assert_allclose(pixels[0, 1], [0.012, 0.005, 0.005], rtol=1e-4)
    assert pixels[0, 0, 0] > 1.5 * pixels[0, 0, 1], "the tongue is red"
    assert (pixels[0, :4] > 0).all()
    np.testing.assert_allclose(pixels[5, 5], renderer._background[5, 5], rtol=1e-5)


def test_crowded_row_is_lit_in_batches(lamp):
    """A row of pixels whose every sample lies on the same place of a tooth: more points than a batch holds."""
    renderer = FaceRenderer(16)
    size = shading.BATCH // 4 + 2
    owner = np.full((2 * size, 2 * size), -1, np.int32)
    owner[:2] = np.flatnonzero(renderer._kinds == 4)[0]
    bary, depth = np.full((2 * size, 2 * size, 2), 0.3, f32), np.zeros((2 * size, 2 * size), f32)
    pixels, black = np.full((size, size, 3), np.nan, f32), np.zeros((size, size, 3), f32)
    renderer.render(Face())
    lamp.shade(
        owner, bary, depth, renderer._faces, renderer._kinds, renderer._space, renderer._surface,
        np.eye(3, dtype=f32), renderer._texture, f32(3.2), renderer._lights, renderer._ambient,
        renderer._eye_table(Face(), np.eye(3, dtype=f32)), renderer._colours, f32(0.1), black, pixels,
    )  # fmt: skip
    assert (pixels[0] > 0.01).all()
    np.testing.assert_array_equal(pixels[0], np.broadcast_to(pixels[0, 0], (size, 3)))
    np.testing.assert_array_equal(pixels[1:], 0.0)
