"""The graph head as part of any model: shapes, gradients, training, saving, export."""

import json

import onnxruntime
import pytest
import torch

from affectkit.errors import ConfigError, LabelSpaceError
from affectkit.models import AffectModel, Features, GraphAUHead, Head, build
from affectkit.models.export import export_onnx

SPACE = "AU1,AU4,AU12,AU12L,AU12R"
KINDS = [
    {"graph": "nearest", "neighbours": 2},
    {"graph": "edges"},
    {"graph": "edges", "layers": 1, "rectify_sum": False, "nodes": {"AU12L": "AU4", "AU12R": "AU4"}},
]


def make(**arguments):
    torch.manual_seed(0)
    return GraphAUHead(12, SPACE, node_features=8, **arguments)


def features(batch=2, frames=3, masked=False):
    rng = torch.Generator().manual_seed(batch)
    tokens = torch.randn(batch, frames, 9, 12, generator=rng)
    mask = torch.ones(batch, frames, dtype=torch.bool)
    mask[:, -1] = not masked
    return Features(tokens.mean((1, 2)), tokens.mean(2), tokens, mask)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_frame", [True, False])
class TestHead:
    @pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 5), (3, 2)])
    def test_shapes_and_range(self, kind, per_frame, batch, frames):
        head = make(**kind, per_frame=per_frame).eval()
        logits = head(features(batch, frames))
        assert logits.shape == ((batch, frames, 5) if per_frame else (batch, 5))
        answers = head.predict(logits)
        assert ((answers > 0) & (answers < 1)).all()

    def test_a_plain_tensor_of_places(self, kind, per_frame):
        head, given = make(**kind, per_frame=per_frame).eval(), features()
        expected = make(**kind).eval()(given)
        torch.testing.assert_close(head(given.tokens), expected)
        torch.testing.assert_close(head(given.tokens[0, 0]), expected[0, 0])
        torch.testing.assert_close(head(given.tokens[0]), expected[0])

    def test_gradients_reach_every_parameter(self, kind, per_frame):
        head = make(**kind, per_frame=per_frame).train()
        head(features()).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
        silent = [name for name, p in head.named_parameters() if not p.grad.any()]
        assert silent == []

    def test_its_config_is_json_and_builds_an_equal_head(self, kind, per_frame):
        head = make(**kind, per_frame=per_frame, target="units").eval()
        twin = build("head", json.loads(json.dumps(head.config)), in_features=12).eval()
        assert twin.config == head.config
        assert twin.target == "units"
        twin.load_state_dict(head.state_dict(), strict=True)
        assert torch.equal(twin(features()), head(features()))

    def test_bfloat16(self, kind, per_frame):
        head = make(**kind, per_frame=per_frame).eval().to(torch.bfloat16)
        logits = head(Features(torch.zeros(2, 12).bfloat16(), tokens=features().tokens.bfloat16()))
        assert logits.dtype == torch.bfloat16
        assert logits.isfinite().all()

    def test_padding_changes_no_real_output(self, kind, per_frame):
        head, padded = make(**kind, per_frame=per_frame).eval(), features(masked=True)
        before = head(padded)
        padded.tokens[:, -1] = 1e3
        after = head(padded)
        torch.testing.assert_close(*((x[:, :-1] if per_frame else x) for x in (after, before)))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_evaluation_averages_places_first_without_a_difference(kind):
    """The short cut of evaluation equals the whole computation with the same statistics."""
    head, given = make(**kind), features()
    for _ in range(3):
        head.train()(given)  # statistics other than 0 and 1
    expected = head.eval()(given)
    head.edges.train()
    head.edges.bn.eval()
    torch.testing.assert_close(head(given), expected, atol=1e-5, rtol=1e-5)


def test_sides_share_the_node_of_their_unit():
    head = make()
    assert head.node_of_label.tolist() == [0, 1, 2, 2, 2]
    assert head.units.fc.out_features == 3 * 8
    assert make(nodes={"AU12L": "AU4"}).node_of_label.tolist() == [0, 1, 2, 1, 2]
    assert GraphAUHead(4, "AU6L,AU6R", node_features=2, neighbours=9).nearest.neighbours == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"node_features": 7}, ConfigError),
        ({"neighbours": 0}, ConfigError),
        ({"layers": 0}, ConfigError),
        ({"graph": "full"}, ConfigError),
        ({"nodes": {"AU6L": "AU1"}}, ConfigError),
        ({"nodes": {"AU12L": "smile"}}, LabelSpaceError),
        ({"space": "basic7"}, LabelSpaceError),
    ],
)
def test_wrong_arguments(arguments, error):
    with pytest.raises(error):
        GraphAUHead(12, **{"space": SPACE, "node_features": 8, **arguments})


def test_features_without_places():
    with pytest.raises(ValueError, match="tokens: true"):
        make()(Features(torch.zeros(1, 12)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    backbone = {"type": "timm", "model_name": "test_resnet", "size": 64, "tokens": True}
    head = {"type": "graph_au", "space": SPACE, "node_features": 8, "graph": "edges"}
    return AffectModel(backbone, {"au": head}).eval()


def test_it_learns(model):
    torch.manual_seed(0)
    frames = torch.rand(8, 1, 3, 64, 64)
    frames[:4] *= 0.3
    value = torch.zeros(8, 1, 5)
    value[:4] = 1
    optimizer, losses = torch.optim.Adam(model.parameters(), 1e-2), []
    model.train()
    for _ in range(30):
        total = torch.nn.functional.binary_cross_entropy_with_logits(model(frames)["au"], value)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert losses[-1] < 0.5 * losses[0]


def test_it_is_saved_alone(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    head = Head.from_pretrained(tmp_path / "model")
    frames = torch.rand(2, 3, 3, 64, 64)
    torch.testing.assert_close(head(model.backbone(frames)), model(frames)["au"])


@pytest.mark.parametrize("graph", ["nearest", "edges"])
def test_both_graphs_are_exported(graph, tmp_path):
    torch.manual_seed(0)
    backbone = {"type": "timm", "model_name": "test_resnet", "size": 64, "tokens": True}
    head = {"type": "graph_au", "space": SPACE, "node_features": 8, "graph": graph}
    model = AffectModel(backbone, {"au": head}).eval()
    export_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    frames = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8)
    found = torch.from_numpy(session.run(None, {"frames": frames.numpy()})[0])
    torch.testing.assert_close(found, model.predict(frames)["au"], atol=1e-4, rtol=0)
