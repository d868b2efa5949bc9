from __future__ import annotations

import pytest
from torch import nn

from affectkit.errors import ConfigError
from affectkit.models import build, list_models, register
from affectkit.models.registry import name_of
from affectkit.registry import Registry, plain


def test_plain_copies_mappings_and_sequences_and_nothing_else():
    given = {"a": (1, 2.0, None, True), "b": {"c": "d"}}
    assert plain(given) == {"a": [1, 2.0, None, True], "b": {"c": "d"}}
    with pytest.raises(ConfigError, match="set"):
        plain({"a": {1}})


def test_plain_takes_omegaconf():
    omegaconf = pytest.importorskip("omegaconf")
    assert plain(omegaconf.OmegaConf.create({"a": [1, {"b": 2}]})) == {"a": [1, {"b": 2}]}


@pytest.fixture
def shapes():
    registry: Registry[object] = Registry("shape")

    @registry.register("square")
    class Square:
        def __init__(self, side: int, *, colour: str = "red") -> None:
            self.side, self.colour = side, colour

    return registry


def test_registry_builds_what_a_config_names(shapes):
    square = shapes.build({"type": "square", "colour": "blue"}, side=2)
    assert (square.side, square.colour) == (2, "blue")
    assert shapes.name_of(type(square)) == "square"
    assert shapes.names() == ("square",)


@pytest.mark.parametrize(
    ("config", "injected", "message"),
    [
        ({"side": 2}, {}, "needs a 'type'"),
        ("square", {}, "needs a 'type'"),
        ({"type": "circle"}, {}, "no shape named 'circle'. Known: square"),
        ({"type": ["square"]}, {}, "no shape named"),
        ({"type": "os.system"}, {}, "no shape named"),
        ({"type": "square", "size": 2}, {}, "no argument 'size'. It takes: side, colour"),
        ({"type": "square", "side": 2}, {"side": 3}, "no argument 'side'. It takes: colour"),
        ({"type": "square"}, {}, "lacks 'side'"),
    ],
)
def test_registry_explains_wrong_configs(shapes, config, injected, message):
    with pytest.raises(ConfigError, match=message):
        shapes.build(config, **injected)


def test_registry_keeps_names_unique_and_known(shapes):
    with pytest.raises(ConfigError, match="already"):
        shapes.register("square")(int)
    with pytest.raises(ConfigError, match="int"):
        shapes.name_of(int)


def test_kinds_of_parts():
    names = list_models("temporal")
    assert list(names) == sorted(names)
    assert {"framewise", "mean", "transformer"} <= set(names)
    assert name_of("temporal", build("temporal", {"type": "mean"}, in_features=3)) == "mean"
    for use in (lambda: list_models("tower"), lambda: register("tower", "x"), lambda: build("tower", {})):
        with pytest.raises(ConfigError, match="tower"):
            use()
    with pytest.raises(ConfigError, match="Linear"):
        name_of("head", nn.Linear(1, 1))
