import numpy as np
import pytest

from affectkit.synth import Face, FaceRenderer, Person, Scene, render_corpus


@pytest.fixture(scope="session")
def renderer():
    """A renderer of 96 px without noise, with light from the camera so that left and right are alike."""
    return FaceRenderer(96)


@pytest.fixture(scope="session")
def plain_scene():
    return Scene(key=(0.0, 25.0), fill_colour=(0.0, 0.0, 0.0), noise=0.0)


@pytest.fixture
def show(renderer, plain_scene):
    """Render a face of the mean person in the plain scene: units -> picture (float) and landmarks."""

    def _show(units=(), person=None, **pose):
        renderer.set(person or Person(), plain_scene)
        rendered = renderer.render(Face(dict(units), **pose))
        return rendered.image.astype(np.float64), rendered.landmarks.astype(np.float64)

    return _show


@pytest.fixture(scope="session")
def tiny_settings():
    return {"identities": 5, "clips": 3, "frames_per_clip": 6, "size": 32, "seed": 7}


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory, tiny_settings):
    root = tmp_path_factory.mktemp("synth") / "tiny"
    return render_corpus(root, **tiny_settings, num_workers=1, progress=False)
