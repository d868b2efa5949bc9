import numpy as np
import pytest

from affectkit.synth.skin import COLUMNS, LEFT, ROWS, TEXEL, TOP, SkinLook, paint_skin, shrink, wrinkles


def texel(x, z):
    """Row and column of a place in mm."""
    return round((TOP - z) / TEXEL), round((x - LEFT) / TEXEL)


def test_lips_brows_and_lashes_have_their_own_colour():
    skin = paint_skin(SkinLook(mottle=0.0))
    forehead, lip = skin[texel(0, -70)], skin[texel(0, -194)]
    assert lip[1] / lip[0] < 0.8 * forehead[1] / forehead[0], "lips are redder"
    assert skin[texel(25, -98.5)].sum() < 0.5 * forehead.sum()
    assert skin[texel(30, -111.6)].sum() < 0.6 * forehead.sum()
    np.testing.assert_allclose(skin[texel(25, -98.5)], skin[texel(-25, -98.5)], rtol=0.5)


def test_looks_differ_as_asked():
    plain = paint_skin(SkinLook(mottle=0.0))
    beard = paint_skin(SkinLook(mottle=0.0, stubble=1.0))
    assert beard[texel(0, -215)].sum() < 0.8 * plain[texel(0, -215)].sum()
    np.testing.assert_allclose(beard[texel(0, -80)], plain[texel(0, -80)])
    one, two = (paint_skin(SkinLook(mottle=1.0, seed=seed)) for seed in (1, 2))
    assert np.abs(one - two).mean() > 1e-3
    np.testing.assert_array_equal(one, paint_skin(SkinLook(mottle=1.0, seed=1)))
    for tone in ((0.02, 0.01, 0.01), (0.95, 0.9, 0.9)):
        skin = paint_skin(SkinLook(tone=tone, mottle=1.0))
        assert skin.min() > 0
        assert skin.max() <= 1


def test_shrink_is_the_mean_of_blocks():
    texture = np.random.default_rng(0).random((ROWS, COLUMNS, 3)).astype(np.float32)
    small = shrink(texture, 2)
    assert small.shape == (ROWS // 4, COLUMNS // 4, 3)
    np.testing.assert_allclose(small[3, 5], texture[12:16, 20:24].mean((0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(shrink(texture, 0), texture)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_wrinkles_are_rectangles_inside_the_texture(level):
    found = wrinkles(level)
    rows, columns = ROWS >> level, COLUMNS >> level
    sizes = found.boxes[:, 2] * found.boxes[:, 3]
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 0] + found.boxes[:, 2] <= rows).all()
    assert (found.boxes[:, 1] + found.boxes[:, 3] <= columns).all()
    np.testing.assert_array_equal(found.starts, np.cumsum(sizes) - sizes)
    assert len(found.texels) == sizes.sum()
    assert len(set(found.keys)) == len(found.keys)


def test_wrinkles_lie_where_facs_says_and_on_their_own_side():
    found = wrinkles()
    for (unit, side), box, start in zip(found.keys, found.boxes, found.starts, strict=True):
        r, c, h, w = box.tolist()
        dark = found.texels[start : start + h * w, 2].reshape(h, w)
        if dark.sum() <= 0:
            continue
        z = TOP - TEXEL * (r + (dark.sum(1) @ np.arange(h)) / dark.sum())
        x = LEFT + TEXEL * (c + (dark.sum(0) @ np.arange(w)) / dark.sum())
        assert x > 0 if side == 0 else x < 0, (unit, side)
        assert (z > -112) == (unit in (1, 2, 4, 5)), (unit, z)


def test_crease_is_a_valley():
    """Across the upright furrow of AU4 the slope first falls, then rises: the normal turns to both sides."""
    found = wrinkles()
    k = found.keys.index((4, 0))
    r, c, h, w = found.boxes[k].tolist()
    field = found.texels[found.starts[k] : found.starts[k] + h * w].reshape(h, w, 3)
    row = field[texel(5, -99)[0] - r]
    middle = texel(4.2, -99)[1] - c
    assert row[middle - 2, 0] < 0 < row[middle + 2, 0]
    assert row[middle, 2] > row[middle + 5, 2]
