"""Regions, motion, patch token attention and global dependency attention."""

import math

import pytest
import torch

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.facs import FLIP_68, REGIONS, ActionUnit, AUSet, region_centres
from affectkit.facs.mean_shape import MEAN_SHAPE_68
from affectkit.methods.micro_au_clip import GlobalDependencyAttention, PatchTokenAttention
from affectkit.models.regions import PatchRegions
from affectkit.models.temporal import LEDFilter, MotionTokens

GRID, PICTURE = 14, 224
UNITS = AUSet.of(1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 20, 25, 26)
ALL = [ActionUnit(number) for number in REGIONS["affectkit"].centres]


def faces():
    """Three sets of landmarks: an average face, a smaller one to the side, and a tilted one."""
    mean = torch.tensor(MEAN_SHAPE_68) * PICTURE
    turn = torch.tensor([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    return torch.stack([mean, mean * 0.5 + torch.tensor([120.0, -20.0]), (mean - 112) @ turn.T + 112])


def by_hand(points, unit):
    """Patch → weight of one unit, in plain loops."""
    homes = []
    for x, y in region_centres(unit, [tuple(p) for p in points.tolist()]):
        column, row = (int((v + 0.5) // (PICTURE / GRID)) for v in (x, y))
        homes.append((min(max(column, 0), GRID - 1), min(max(row, 0), GRID - 1)))
    found = {}
    for column, row in homes:
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                c, r = column + dx, row + dy
                if 0 <= c < GRID and 0 <= r < GRID:
                    near = min(abs(c - a) + abs(r - b) for a, b in homes)
                    found[r * GRID + c] = max(0.0, 1 - near / 3)
    return found


def as_dict(places, weights):
    found = [(int(p), float(w)) for p, w in zip(places, weights, strict=True) if w > 0]
    assert len(dict(found)) == len(found)  # no patch counts twice
    return dict(found)


def test_regions_are_those_computed_by_hand():
    points = faces()
    units = [*UNITS, ActionUnit(12, "L"), ActionUnit(4, "R")]
    places, weights = PatchRegions(units)(points, None, clips=3, picture=PICTURE, grid=GRID)
    assert places.shape == weights.shape == (3, len(units), 18)
    for b in range(3):
        for a, unit in enumerate(units):
            assert as_dict(places[b, a], weights[b, a]) == pytest.approx(by_hand(points[b], unit)), unit


def test_small_regions_are_the_patches_nearest_to_a_centre():
    points, units = faces(), [*UNITS, ActionUnit(12, "L")]
    places, weights = PatchRegions(units, side=2)(points, None, clips=3, picture=PICTURE, grid=7)
    assert places.shape == weights.shape == (3, len(units), 8)
    middle = torch.arange(7) + 0.5
    for b in range(3):
        for a, unit in enumerate(units):
            found, homes = {}, []
            for x, y in region_centres(unit, [tuple(p) for p in points[b].tolist()]):
                spot = [min(max((v + 0.5) / (PICTURE / 7), 0.0), 7.0) for v in (x, y)]
                homes.append([min(int(v), 6) for v in spot])
                near = [set((middle - v).abs().argsort(stable=True)[:2].tolist()) for v in spot]
                if any(v < 0.5 or v > 6.5 for v in spot):  # the other patch is outside the picture
                    near = [
                        {n} if v < 0.5 or v > 6.5 else s
                        for n, v, s in zip(homes[-1], spot, near, strict=True)
                    ]
                found |= {row * 7 + column: 0.0 for column in near[0] for row in near[1]}
            for place in found:
                row, column = divmod(place, 7)
                found[place] = 1 - min(abs(column - c) + abs(row - r) for c, r in homes) / 3
            assert as_dict(places[b, a], weights[b, a]) == pytest.approx(found), unit


def groups(grid, side):
    """Units of one region on a mean face."""
    places, weights = PatchRegions(ALL, side=side)(None, None, clips=1, picture=PICTURE, grid=grid)
    found = {}
    for unit, row, weight in zip(ALL, places[0], weights[0], strict=True):
        key = tuple(sorted((place, round(value, 3)) for place, value in as_dict(row, weight).items()))
        found.setdefault(key, []).append(unit.id)
    return {tuple(units) for units in found.values() if len(units) > 1}


def test_units_of_different_centres_keep_different_regions_on_49_patches():
    """Regions of 3 × 3 patches would join the brow lowerer and the lid tightener."""
    assert groups(7, 2) == groups(14, 3)
    joined = groups(7, 3) - groups(14, 3)
    assert any({4, 7} <= set(units) for units in joined)


def test_regions_flip_with_the_picture():
    points = faces()[:1]
    flipped = points[:, list(FLIP_68)].clone()
    flipped[..., 0] = PICTURE - 1 - flipped[..., 0]
    find = PatchRegions([ActionUnit(12, "L"), ActionUnit(12, "R"), ActionUnit(4), ActionUnit(20)])
    before = find(points, None, clips=1, picture=PICTURE, grid=GRID)
    after = find(flipped, None, clips=1, picture=PICTURE, grid=GRID)
    for here, there in ((0, 1), (1, 0), (2, 2), (3, 3)):
        mirrored = {
            p // GRID * GRID + GRID - 1 - p % GRID: w
            for p, w in as_dict(after[0][0, there], after[1][0, there]).items()
        }
        assert as_dict(before[0][0, here], before[1][0, here]) == pytest.approx(mirrored)


def test_regions_without_landmarks_are_those_of_the_mean_face():
    find, points = PatchRegions(UNITS), faces()
    mean = find(torch.tensor(MEAN_SHAPE_68)[None] * PICTURE - 0.5, None, clips=1, picture=PICTURE, grid=GRID)
    without = find(None, None, clips=2, picture=PICTURE, grid=GRID)
    assert torch.equal(without[0][1], mean[0][0])
    assert torch.equal(without[1][1], mean[1][0])
    mask = torch.ones(3, 68, dtype=torch.bool)
    mask[0, 48] = False  # a mouth corner: only the centres that need it fall back
    mask[1, 39] = False  # the unit of length: all do
    masked = find(points, mask, clips=3, picture=PICTURE, grid=GRID)
    whole = find(points, None, clips=3, picture=PICTURE, grid=GRID)
    assert torch.equal(masked[0][1], mean[0][0])
    assert torch.equal(masked[0][2], whole[0][2])
    brow, corner = UNITS.labels.index("AU4"), UNITS.labels.index("AU12")
    assert torch.equal(masked[0][0, brow], whole[0][0, brow])
    centres = find.centres(points, mask, clips=3, picture=PICTURE)
    assert torch.equal(
        centres[0, corner, 1], find.centres(points, None, clips=3, picture=PICTURE)[0, corner, 1]
    )
    assert torch.equal(
        centres[0, corner, 0], find.centres(None, None, clips=1, picture=PICTURE)[0, corner, 0]
    )


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_landmarks_that_are_not_finite_are_missing(wrong):
    find, points = PatchRegions(UNITS), faces()[:1]
    mask = torch.ones(1, 68, dtype=torch.bool)
    mask[0, 48] = False
    expected = find(points, mask, clips=1, picture=PICTURE, grid=GRID)
    points = points.clone()
    points[0, 48, 1] = wrong
    for given in (None, mask, torch.ones_like(mask)):
        places, weights = find(points, given, clips=1, picture=PICTURE, grid=GRID)
        assert torch.equal(places, expected[0])
        assert torch.equal(weights, expected[1])


def test_units_without_a_region():
    with pytest.raises(LabelSpaceError, match="no region for AU61"):
        PatchRegions([ActionUnit(12), ActionUnit(61)])


def test_attention_of_a_unit_sees_no_other_region():
    torch.manual_seed(0)
    attend = PatchTokenAttention(16, 2, heads=4)
    tokens = torch.randn(1, 9, 16, requires_grad=True)
    places = torch.tensor([[[0, 1, 2], [6, 7, 8]]])
    out, _ = attend(tokens, places, torch.ones(1, 2, 3))
    out[0, 0].sum().backward()
    assert tokens.grad[0, :3].abs().sum() > 0
    assert not tokens.grad[0, 3:].any()


def test_units_of_one_region_have_queries_of_their_own():
    torch.manual_seed(0)
    attend = PatchTokenAttention(16, 2, heads=4)
    same = torch.tensor([[[0, 1, 2], [0, 1, 2]]])
    out, seen = attend(torch.randn(1, 9, 16), same, torch.ones(1, 2, 3))
    assert not torch.allclose(out[0, 0], out[0, 1], atol=0.1)
    assert not torch.equal(seen[0, 0], seen[0, 1])


@torch.no_grad()
def test_attention_is_that_of_the_equation():
    torch.manual_seed(1)
    D, heads = 8, 2
    attend = PatchTokenAttention(D, 1, heads=heads).eval()
    tokens, places = torch.randn(1, 5, D), torch.tensor([[[4, 1, 2, 0]]])
    weights = torch.tensor([[[1.0, 2 / 3, 1 / 3, 0.0]]])
    out, seen = attend(tokens, places, weights)
    Z = tokens[0, places[0, 0, :3]]
    q = attend.queries[0] @ attend.query.weight.T
    K, V = Z @ attend.key.weight.T, Z @ attend.value.weight.T
    u, looks = [], []
    for h in range(heads):
        part = slice(h * D // heads, (h + 1) * D // heads)
        score = [
            float(q[part] @ K[p, part]) / math.sqrt(D / heads) + math.log(weights[0, 0, p]) for p in range(3)
        ]
        look = torch.softmax(torch.tensor(score), dim=0)
        u.append(look @ V[:, part])
        looks.append(look)
    f = torch.nn.functional.layer_norm(attend.queries[0] + torch.cat(u), (D,))
    torch.testing.assert_close(out[0, 0], f + attend.mlp(f), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen[0, 0, :3], torch.stack(looks).mean(0))
    assert seen[0, 0, 3] == 0


def test_dependency_is_the_identity_at_gate_0_and_learns_from_there():
    torch.manual_seed(0)
    depend = GlobalDependencyAttention(16, 3, heads=2, gate=0.0)
    units, whole = torch.randn(2, 3, 16), torch.randn(2, 16)
    out = depend(units, whole)
    assert torch.equal(out, units)
    out.square().sum().backward()
    assert depend.gate.grad.abs() > 0


def test_dependency_begins_at_the_stated_gate_and_bias():
    depend = GlobalDependencyAttention(16, 3, heads=2)
    conditional = torch.tensor([[1.0, 0.6, 0.0], [0.3, 1.0, 0.2], [0.0, 0.4, 1.0]])
    depend.set_cooccurrence(conditional)
    assert depend.gate.item() == pytest.approx(0.1)
    for i in range(4):
        for j in range(4):
            expected = 0.5 * math.log(conditional[i, j] + 0.05) if max(i, j) < 3 else 0.0
            assert depend.bias[i, j].item() == pytest.approx(expected, abs=1e-6)


def test_dependency_prefers_units_that_occur_together():
    torch.manual_seed(0)
    depend = GlobalDependencyAttention(16, 3, depth=1, heads=2, gate=1.0)
    units = torch.randn(1, 3, 16, requires_grad=True)

    def pull(conditional):
        depend.set_cooccurrence(conditional)
        (gradient,) = torch.autograd.grad(depend(units, torch.zeros(1, 16))[0, 0].sum(), units)
        return gradient[0, 1].norm() / gradient[0, 2].norm()

    near, far = torch.eye(3), torch.eye(3)
    near[0, 1], far[0, 2] = 1.0, 1.0
    assert pull(near) > 2 * pull(far)


@pytest.mark.parametrize("wrong", [torch.ones(2, 2), torch.full((3, 3), 1.5), torch.full((3, 3), math.nan)])
def test_wrong_cooccurrence(wrong):
    with pytest.raises(LabelSpaceError, match="Co-occurrence"):
        GlobalDependencyAttention(8, 3).set_cooccurrence(wrong)


def test_motion_is_apex_minus_onset():
    frames = torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(MotionTokens(4)(frames), frames[:, 3:].mean(1) - frames[:, 0])
    torch.testing.assert_close(MotionTokens(4)(frames[:, :2]), frames[:, 1] - frames[:, 0])
    mask = torch.arange(6)[None] < torch.tensor([[6], [2]])
    masked = MotionTokens(4)(frames, mask)
    torch.testing.assert_close(masked[1], frames[1, 1] - frames[1, 0])
    assert not MotionTokens(4)(frames[:, :1]).any()
    assert not MotionTokens(4, "led")(frames[:, :1]).any()


def test_other_motions():
    frames = torch.randn(2, 5, 3, 4)
    join = MotionTokens(4, "concat")
    both = torch.cat([frames[:, 0], frames[:, 2:].mean(1)], dim=-1)
    torch.testing.assert_close(join(frames), join.join(both))
    torch.testing.assert_close(MotionTokens(4, "apex")(frames), frames[:, 2:].mean(1))
    assert torch.equal(MotionTokens(4, "apex")(frames[:, :1]), frames[:, 0])
    led = MotionTokens(4, "led")
    torch.testing.assert_close(led(frames), LEDFilter()(frames)[:, 1:].mean(1))


@pytest.mark.parametrize(
    "build",
    [
        lambda: MotionTokens(4, "sideways"),
        lambda: PatchRegions([ActionUnit(12)], side=4),
        lambda: PatchTokenAttention(10, 2, heads=4),
        lambda: GlobalDependencyAttention(10, 2, heads=4),
    ],
)
def test_impossible_settings(build):
    with pytest.raises(ConfigError):
        build()
