"""Weights of EmotiEffLib and LibreFace as our models: the same numbers as the authors' networks."""

import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from affectkit.cli.main import main
from affectkit.errors import ConfigError, WeightsError
from affectkit.models import AffectModel, convert_emotiefflib, convert_libreface
from affectkit.models.released.pickles import load_inert

CLASSES = ["anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]


def pictures(size):
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(3, 3, 7, 7, generator=rng)
    return nn.functional.interpolate(coarse, size=size, mode="bilinear")[:, None]


@torch.no_grad()
def shake(net, run, size=224):
    """Random parameters, and the batch statistics of some pictures, so that these make a difference to the output."""
    rng = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    run(net.train(), 4 * pictures(size)[:, 0] - 2)
    return net.eval()


def emotion_net(name="tf_efficientnet_b0", outputs=8):
    """As the authors' training code makes it: a timm network with another classifier."""
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=outputs)
    if "efficientnet" in name:
        net.classifier = nn.Sequential(nn.Linear(net.num_features, outputs))
    return shake(net, lambda net, x: net(x), 260 if name.endswith("b2") else 224)


@pytest.fixture(scope="module")
def b0():
    return emotion_net()


def check(model, net, size):
    x = pictures(size)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    normal = model.backbone.normalize(x[:, 0])
    torch.testing.assert_close(normal, (x[:, 0] - mean) / std)
    with torch.no_grad():
        expected = net(normal)
        found = model(x)["expression"][:, 0]
    assert expected.std(dim=0).min() > 1e-3  # pictures make a difference
    count = found.shape[1]
    torch.testing.assert_close(found, expected[:, :count], atol=1e-4, rtol=1e-4)
    answers = model.predict(x)
    torch.testing.assert_close(
        answers["expression"][:, 0], expected[:, :count].softmax(-1), atol=1e-4, rtol=0
    )
    return answers, expected[:, count:]


@pytest.mark.parametrize(
    ("name", "outputs", "size"),
    [
        ("tf_efficientnet_b0", 8, 224),
        ("tf_efficientnet_b0", 10, 224),
        ("tf_efficientnet_b2", 7, 260),
        ("efficientnet_b0", 8, 224),
        ("mobilevitv2_150", 10, 224),
        ("mobilevit_xs", 9, 224),
    ],
)
def test_emotiefflib_modules_give_the_same_numbers(name, outputs, size, tmp_path):
    net = emotion_net(name, outputs)
    torch.save(net, tmp_path / "enet.pt")
    made = convert_emotiefflib(tmp_path / "enet.pt")
    assert made.release.startswith(f"{name}, ")
    assert len(made.mapped) == len(made.model.state_dict())
    assert set(", ".join(made.mapped.values()).split(", ")) == set(net.state_dict())
    answers, affect = check(made.model, net, size)
    assert ("va" in answers) == (outputs > 8)
    if outputs > 8:
        assert made.model.labels("va") == ("valence", "arousal")
        torch.testing.assert_close(answers["va"][:, 0], affect.clamp(-1, 1), atol=1e-4, rtol=0)
    seven = outputs in (7, 9)
    assert list(made.model.labels("expression")) == [c for c in CLASSES if c != "contempt" or not seven]
    spec = made.model.input_spec
    assert (spec.size, spec.alignment, spec.crop_margin) == (size, "box", 0.0)
    made.model.save_pretrained(tmp_path / "model")
    check(AffectModel.from_pretrained(tmp_path / "model"), net, size)


class Layers(nn.Module):
    """A sequence named `layers`, as in the MobileFaceNet of the authors."""

    def __init__(self, *layers, residual=False):
        super().__init__()
        self.layers, self.residual = nn.Sequential(*layers), residual

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


def conv(inputs, outputs, kernel=1, stride=1, padding=0, groups=1, act=True):
    net = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return Layers(net, nn.BatchNorm2d(outputs), *([nn.PReLU(outputs)] if act else []))


def bottleneck(inputs, outputs, inner, stride):
    middle = conv(inner, inner, 3, stride, 1, inner)
    return Layers(conv(inputs, inner), middle, conv(inner, outputs, act=False), residual=stride == 1)


class ReleasedMobileFaceNet(nn.Module):
    def __init__(self, outputs=10):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(
            [
                conv(3, 128, 3, 2, 1),
                conv(128, 128, 3, 1, 1, 64),
                bottleneck(128, 128, 128, 2),
                Layers(*(bottleneck(128, 128, 128, 1) for _ in range(4))),
                bottleneck(128, 256, 256, 2),
                Layers(*(bottleneck(256, 256, 256, 1) for _ in range(6))),
                bottleneck(256, 256, 512, 2),
                Layers(*(bottleneck(256, 256, 256, 1) for _ in range(2))),
            ]
        )
        self.conv_sep = conv(256, 512)
        pool = conv(512, 512, 7, 1, 0, 512, act=False)
        self.features = Layers(pool, nn.Flatten(), nn.Linear(512, 512, bias=False), nn.BatchNorm1d(512))
        self.fc = nn.Linear(512, outputs)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.fc(self.features(self.conv_sep(x)))


def test_the_mobilefacenet_of_emotiefflib(tmp_path):
    net = shake(ReleasedMobileFaceNet(), lambda net, x: net(x), 112)
    sizes = [p.numel() for p in net.parameters()]
    # Of the published ONNX file, where normalisation after convolutions is folded, and that after the linear layer not.
    folded = sum(m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert sum(sizes) - folded + 2 * 512 == 2_054_282
    torch.save(net, tmp_path / "mbf_va_mtl.pt")
    made = convert_emotiefflib(tmp_path / "mbf_va_mtl.pt")
    assert set(", ".join(made.mapped.values()).split(", ")) == set(net.state_dict())
    made.model.save_pretrained(tmp_path / "model")
    x = pictures(112)
    for model in (made.model, AffectModel.from_pretrained(tmp_path / "model")):
        with torch.no_grad():
            expected = net(2 * x[:, 0] - 1)
        assert expected.std(dim=0).min() > 1e-2
        answers = model.predict(x)
        torch.testing.assert_close(
            answers["expression"][:, 0], expected[:, :8].softmax(-1), atol=1e-4, rtol=0
        )
        torch.testing.assert_close(answers["va"][:, 0], expected[:, 8:].clamp(-1, 1), atol=1e-4, rtol=0)
    assert (model.input_spec.size, model.input_spec.alignment) == (112, "box")
    with pytest.raises(ValueError, match="112 by 112"):
        model(pictures(64))
    model.train()(x)["expression"].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.backbone.parameters())


@pytest.mark.parametrize("form", ["state", "parallel", "safetensors", "nested"])
def test_a_state_dict_of_it(form, b0, tmp_path):
    state, path = b0.state_dict(), tmp_path / ("a.safetensors" if form == "safetensors" else "a.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "nested":
        torch.save({"epoch": 1, "model": b0}, path)
    else:
        prefix = "module." if form == "parallel" else ""
        torch.save({prefix + name: tensor for name, tensor in state.items()}, path)
    made = convert_emotiefflib(path)
    check(made.model, b0, 224)
    assert any("pad" in note for note in made.model.metadata["notes"]) == (form != "nested")


def test_old_files_without_counters(b0, tmp_path):
    torch.save({k: v for k, v in b0.state_dict().items() if "num_batches" not in k}, tmp_path / "a.pt")
    check(convert_emotiefflib(tmp_path / "a.pt").model, b0, 224)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda s: s.pop("bn2.weight"), "none of these networks"),
        (lambda s: s.update(more=torch.ones(1)), "none of these networks"),
        (lambda s: s.pop("classifier.0.bias"), r"missing: classifier\.0\.bias"),
        (lambda s: s.update({"classifier.0.scale": torch.ones(1)}), r"unexpected: classifier\.0\.scale"),
        (lambda s: s.pop("classifier.0.weight"), "no classifier"),
        (lambda s: s.update({"classifier.0.weight": torch.ones(6, 1280)}), "has 6 outputs"),
        (lambda s: s.update({"classifier.0.bias": torch.ones(9)}), "of another shape"),
        (lambda s: s["bn2.weight"].fill_(torch.nan), "NaN"),
    ],
)
def test_other_tensors_are_refused(fault, message, b0, tmp_path):
    state = {name: tensor.clone() for name, tensor in b0.state_dict().items()}
    fault(state)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=message) as caught:
        convert_emotiefflib(tmp_path / "a.pt")
    assert caught.value.path == tmp_path / "a.pt"
    assert "EmotiEffLib" in caught.value.remedy or "tensors and configuration" in caught.value.remedy


class Payload(nn.Module):
    """Pickles as a module with an attribute that is a call."""

    def __init__(self, call):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.call = call


class Call:
    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("function", [os.mkdir, subprocess.call, eval, exec, getattr])
def test_nothing_of_a_pickled_module_runs(function, tmp_path):
    argument = (
        str(tmp_path / "harm") if function is os.mkdir else f"__import__('os').mkdir('{tmp_path / 'harm'}')"
    )
    arguments = (argument,) if function is not getattr else (tmp_path, "mkdir")
    torch.save(Payload(Call(function, *arguments)), tmp_path / "a.pt")
    if function is os.mkdir:  # of a module that torch blocks by name
        with pytest.raises(WeightsError, match=r"could run code: \w+\.mkdir"):
            load_inert(tmp_path / "a.pt")
    else:
        content = load_inert(tmp_path / "a.pt")
        assert list(content.tensors) == ["weight"]
        assert content.classes[""].endswith(".Payload")
    assert not (tmp_path / "harm").exists()


def test_a_module_is_read_without_its_classes(tmp_path):
    """In a process that cannot import the classes."""
    code = (
        "import torch, sys, types; from torch import nn\n"
        "m = types.ModuleType('elsewhere'); sys.modules['elsewhere'] = m\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__(); self.bn = nn.BatchNorm1d(3, eps=.5); self.fc = nn.Linear(3, 2)\n"
        "        self.register_buffer('unsaved', torch.ones(1), persistent=False)\n"
        "Net.__module__ = 'elsewhere'; m.Net = Net; Net.__qualname__ = 'Net'\n"
        f"torch.manual_seed(0); torch.save(Net(), r'{tmp_path / 'a.pt'}')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    found = load_inert(tmp_path / "a.pt")
    assert set(found.tensors) == {"fc.weight", "fc.bias"} | {
        f"bn.{k}" for k in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert found.classes[""] == "elsewhere.Net"
    assert found.settings["bn.eps"] == 0.5


def test_files_that_cannot_be_read_say_the_way_round(tmp_path, b0):
    torch.save(b0.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps({"a": 1}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "traced.pt")
    for name in ("old.pt", "bare.pt"):
        with pytest.raises(WeightsError) as caught:
            convert_emotiefflib(tmp_path / name)
        assert "state_dict()" in caught.value.remedy
    with pytest.raises(WeightsError, match="TorchScript"):
        convert_emotiefflib(tmp_path / "traced.pt")
    torch.save(b0, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:-900])
    (tmp_path / "a.onnx").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("cut.pt", "a.onnx", "list.pt", "absent.pt", "a.safetensors"):
        with pytest.raises(WeightsError) as caught:
            convert_emotiefflib(tmp_path / name)
        assert caught.value.path == tmp_path / name


def test_a_module_within_itself_and_a_zip_of_something_else(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2))
    net.append(net)
    torch.save(net, tmp_path / "loop.pt")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("a/b.txt", "text")
    for name in ("loop.pt", "other.pt"):
        with pytest.raises(WeightsError, match="Cannot read the checkpoint") as caught:
            load_inert(tmp_path / name)
        assert caught.value.path == tmp_path / name
        assert len(str(caught.value)) < 600


class LibreFace(nn.Module):
    """The released layout: a sequence of torchvision's children, and classifiers with a sigmoid."""

    def __init__(self, outputs):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(*list(torchvision.models.resnet18(weights=None).children())[:-1])
        for name, count in outputs.items():
            layers = [
                nn.Linear(512, 128),
                nn.ReLU(),
                nn.BatchNorm1d(128),
                nn.Dropout(0.1),
                nn.Linear(128, count),
            ]
            self.add_module(name, nn.Sequential(*layers, nn.Sigmoid()))

    def forward(self, x, name):
        return getattr(self, name)(self.encoder(x).flatten(1))


def libreface_net(outputs):
    return shake(LibreFace(outputs), lambda net, x: [net(x, name) for name in outputs])


@pytest.mark.parametrize(
    ("outputs", "task", "heads"),
    [
        ({"classifier": 12, "classifier_2": 12}, None, {"intensity": "classifier", "au": "classifier_2"}),
        ({"classifier": 12}, "au", {"au": "classifier"}),
        ({"classifier": 12}, "intensity", {"intensity": "classifier"}),
        ({"classifier": 8}, None, {"expression": "classifier"}),
    ],
)
def test_libreface_gives_the_same_numbers(outputs, task, heads, tmp_path):
    net = libreface_net(outputs)
    torch.save({"model": net.state_dict(), "epoch": 3}, tmp_path / "combined_resnet.pt")
    made = convert_libreface(tmp_path / "combined_resnet.pt", task=task)
    made.model.save_pretrained(tmp_path / "model")
    x = pictures(224)
    for model in (made.model, AffectModel.from_pretrained(tmp_path / "model")):
        answers, normal = model.predict(x), model.backbone.normalize(x[:, 0])
        assert set(answers) == set(heads)
        for head, name in heads.items():
            with torch.no_grad():
                expected = net(normal, name)
            assert ((expected > 0.01) & (expected < 0.99)).float().mean() > 0.3
            found = answers[head][:, 0]
            if head == "expression":
                torch.testing.assert_close(found.argmax(-1), expected.argmax(-1))
                with torch.no_grad():
                    expected = net.classifier[:-1](net.encoder(normal).flatten(1)).softmax(-1)
            scale = 5 if head == "intensity" else 1
            torch.testing.assert_close(found, scale * expected, atol=1e-4, rtol=0)
    assert set(", ".join(made.mapped.values()).split(", ")) == set(net.state_dict())
    spec = made.model.input_spec
    assert (spec.size, spec.alignment, spec.crop_margin) == (
        224,
        "ffhq",
        0 if "expression" in heads else -0.0625,
    )
    if "intensity" in heads:
        assert made.model.labels("intensity")[:6] == ("AU1", "AU2", "AU4", "AU5", "AU6", "AU9")
    if "au" in heads:
        assert made.model.labels("au")[3:6] == ("AU6", "AU7", "AU10")
    if "expression" in heads:
        assert made.model.labels("expression")[::7] == ("neutral", "contempt")


@pytest.mark.parametrize(
    ("outputs", "task"),
    [
        ({"classifier": 12}, None),
        ({"classifier": 12}, "expression"),
        ({"classifier": 8}, "au"),
        ({"classifier": 12, "classifier_2": 12}, "au"),
    ],
)
def test_a_task_that_does_not_fit_libreface(outputs, task, tmp_path):
    torch.save({"model": LibreFace(outputs).state_dict()}, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="what its classifier") as caught:
        convert_libreface(tmp_path / "a.pt", task=task)
    assert "--task" in caught.value.remedy


def test_other_files_for_libreface(tmp_path, b0):
    torch.save({"model": LibreFace({"classifier": 5}).state_dict()}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="5 outputs"):
        convert_libreface(tmp_path / "a.pt")
    torch.save(b0, tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"classifier\.4\.weight is missing"):
        convert_libreface(tmp_path / "b.pt")


def test_the_command_writes_a_model_with_its_terms(tmp_path, capsys):
    net = libreface_net({"classifier": 12, "classifier_2": 12})
    torch.save({"model": net.state_dict()}, tmp_path / "a.pt")
    command = ["model", "convert", "libreface", str(tmp_path / "a.pt"), "--output", str(tmp_path / "model")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "ResNet-18, intensity and au" in said
    assert "non-profit" in said
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "> Permission to use, copy, modify, and distribute this software" in card
    assert "https://github.com/ihp-lab/LibreFace" in card
    known = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))["metadata"]
    assert len(known["source_sha256"]) == 64
    assert main([*command[:2], "emotiefflib", *command[3:]]) == 3
