"""What importing costs, checked in fresh processes."""

import pytest
from helpers.imports import modules_after, modules_after_each

LAYERS = ["affectkit", "affectkit.facs", "affectkit.errors"]
WITHOUT_METRICS = ["affectkit.data", "affectkit.faces", "affectkit.models", "affectkit.inference"]
WITH_TORCH = [
    *WITHOUT_METRICS,
    "affectkit.datasets",
    "affectkit.synth",
    "affectkit.losses",
    "affectkit.metrics",
]


@pytest.fixture(scope="module")
def loaded():
    """What is loaded after each of these, imported one after the other: a fresh process a package takes longer."""
    return modules_after_each(WITH_TORCH)


@pytest.mark.parametrize("name", LAYERS)
def test_the_domain_needs_the_standard_library_only(name):
    loaded = modules_after(f"import {name}")
    assert not loaded & {"torch", "numpy", "lightning", "pandas", "torchvision"}


@pytest.mark.parametrize("name", WITH_TORCH)
def test_no_lightning_and_no_optional_package_below_the_tasks(name, loaded):
    assert name in loaded[name]
    assert not loaded[name] & {
        "lightning",
        "pytorch_lightning",
        "timm",
        "open_clip",
        "cv2",
        "av",
        "decord",
        "pandas",
        "numba",
    }


@pytest.mark.parametrize("name", WITHOUT_METRICS)
def test_using_a_model_loads_no_metrics(name, loaded):
    assert "torchmetrics" not in loaded[name]  # it would take most of the time


def test_public_names_resolve_on_first_use():
    import affectkit

    assert str(affectkit.ActionUnit(12)) == "AU12"
    assert {"AUHead", "AUSet", "__version__"} <= set(dir(affectkit))
    with pytest.raises(AttributeError, match="no attribute 'AUHaed'"):
        _ = affectkit.AUHaed


def test_command_line_help_loads_no_torch():
    loaded = modules_after("from affectkit.cli.main import main; main(['--help'])")
    assert not loaded & {"torch", "lightning", "numpy"}
