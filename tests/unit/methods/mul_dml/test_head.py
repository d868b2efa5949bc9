"""Heads with an embedding of slices, and their classifiers."""

import pytest
import torch
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.methods.mul_dml import MetricAUHead, MetricExpressionHead
from affectkit.models import Features, Head

SMALL = {"slices": 3, "slice_width": 4}
CLASSES = "anger,fear,happiness"


def make(kind, space, **options):
    torch.manual_seed(0)
    return kind(6, space, **{**SMALL, "references": 8, **options}).eval()


def filled(classifier, kind=MetricExpressionHead, space=CLASSES, **options):
    """A head with 5 references, the last one without annotation, and the references' vectors."""
    head = make(kind, space, classifier=classifier, **options)
    with torch.no_grad():
        embeddings = head.embed(torch.randn(5, 6))
    if kind is MetricExpressionHead:
        value = F.one_hot(torch.tensor([0, 0, 1, 2, 1]), 3).float()
    else:
        value = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0], [1, 0]])
    mask = torch.ones(5, value.shape[1], dtype=torch.bool)
    mask[4] = False
    head.set_references(embeddings, value, mask)
    return head, head.vectors(embeddings)


def test_slices_have_unit_length_and_their_vector_too():
    for head, groups in ((make(MetricExpressionHead, CLASSES), 1), (make(MetricAUHead, "AU4,AU12"), 2)):
        slices = head.embed(torch.randn(5, 6))
        assert slices.shape == (5, groups, 3, 4)
        torch.testing.assert_close(slices.norm(dim=-1), torch.ones(5, groups, 3))
        torch.testing.assert_close(head.vectors(slices).norm(dim=-1), torch.ones(5, groups))


def test_the_linear_layer_reads_each_group_by_its_own_weights():
    head = make(MetricAUHead, "AU4,AU12")
    slices = head.embed(torch.randn(5, 6))
    vectors = head.vectors(slices) * 12**0.5
    expected = torch.stack([vectors[:, g] @ head.weight[g] + head.bias[g] for g in (0, 1)], dim=1)
    torch.testing.assert_close(head.classify(slices), expected)
    single = make(MetricExpressionHead, CLASSES)
    slices = single.embed(torch.randn(5, 6))
    expected = F.linear(single.vectors(slices)[:, 0] * 12**0.5, single.weight, single.bias)
    torch.testing.assert_close(single.classify(slices), expected)


def test_votes_of_neighbours_are_weighted_by_their_cosine():
    head, known = filled("knn", neighbours=3)
    given = head.embed(torch.randn(2, 6))
    answer = head.predict(head.classify(given))
    cosines = head.vectors(given)[:, 0] @ known[:4, 0].T  # the last one is not annotated
    for row, cosine in zip(answer, cosines, strict=True):
        best = cosine.topk(3)
        weights = (best.values / 0.1).softmax(0)
        votes = torch.zeros(3).index_add(0, torch.tensor([0, 0, 1, 2])[best.indices], weights)
        torch.testing.assert_close(row, (votes + 1e-3) / 1.003)


def test_votes_on_units_count_those_that_show_it():
    head, known = filled("knn", MetricAUHead, "AU4,AU12", neighbours=2)
    given = head.embed(torch.randn(2, 6))
    answer = head.predict(head.classify(given))
    states = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    for unit in (0, 1):
        cosines = head.vectors(given)[:, unit] @ known[:4, unit].T
        best = cosines.topk(2)
        votes = ((best.values / 0.1).softmax(-1) * states[:, unit][best.indices]).sum(-1)
        torch.testing.assert_close(answer[:, unit], (votes + 1e-3) / 1.002)


def test_prototypes_are_the_means_of_classes():
    head, known = filled("prototype")
    given = head.embed(torch.randn(2, 6))
    means = torch.stack([known[:2, 0].mean(0), known[2, 0], known[3, 0]])
    expected = head.vectors(given)[:, 0] @ F.normalize(means, dim=-1).T / 0.1
    torch.testing.assert_close(head.classify(given), expected)


def test_prototypes_of_a_unit_are_those_with_and_without_it():
    head, known = filled("prototype", MetricAUHead, "AU4,AU12", sharpness=0.5)
    given = head.embed(torch.randn(2, 6))
    logits = head.classify(given)
    vectors = head.vectors(given)
    for unit, shows in enumerate(([0, 2], [1, 2])):
        rest = [row for row in range(4) if row not in shows]
        with_it, without = (F.normalize(known[rows, unit].mean(0), dim=-1) for rows in (shows, rest))
        expected = (vectors[:, unit] @ with_it - vectors[:, unit] @ without) / 0.5
        torch.testing.assert_close(logits[:, unit], expected)


@pytest.mark.parametrize("classifier", ["knn", "prototype"])
@pytest.mark.parametrize(("kind", "space"), [(MetricExpressionHead, CLASSES), (MetricAUHead, "AU4,AU12")])
def test_without_references_every_label_is_as_likely(classifier, kind, space):
    head = make(kind, space, classifier=classifier)
    answer = head.predict(head(torch.randn(2, 6)))
    torch.testing.assert_close(answer, torch.full_like(answer, 1 / head.outcomes))


def test_training_uses_the_linear_layer_and_later_references_replace_earlier_ones():
    head, _ = filled("knn")
    features = torch.randn(2, 6)
    linear = make(MetricExpressionHead, CLASSES)
    linear.load_state_dict(head.state_dict() | {}, strict=False)
    torch.testing.assert_close(head.train()(features), linear.train()(features))
    head.set_references(torch.ones(9, 1, 3, 4), torch.ones(9, 3), torch.ones(9, 3).bool())  # one too many
    assert head.reference_mask.all()
    head.set_references(torch.ones(1, 1, 3, 4), torch.ones(1, 3), torch.ones(1, 3).bool())
    assert head.reference_mask.any(1).tolist() == [True] + 7 * [False]


@pytest.mark.parametrize("classifier", ["linear", "knn", "prototype"])
def test_a_saved_head_predicts_the_same(classifier, tmp_path):
    head = make(MetricExpressionHead, CLASSES) if classifier == "linear" else filled(classifier)[0]
    head.save_pretrained(tmp_path)
    twin = Head.from_pretrained(tmp_path)
    assert twin.config == head.config
    features = torch.randn(2, 6)
    assert torch.equal(twin(features), head(features))


def test_frames_have_their_own_predictions():
    head = make(MetricAUHead, "AU4,AU12", per_frame=True, target="micro_au")
    clips = Features.of_frames(torch.randn(2, 3, 6), None)
    assert head.embed(clips).shape == (2, 3, 2, 3, 4)
    assert head(clips).shape == (2, 3, 2)
    assert head.config["target"] == "micro_au"


def test_impossible_settings():
    with pytest.raises(ConfigError, match="Unknown classifier 'svm'"):
        make(MetricExpressionHead, CLASSES, classifier="svm")
    with pytest.raises(ConfigError, match="must be positive"):
        make(MetricExpressionHead, CLASSES, slices=0)
