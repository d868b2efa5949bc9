"""The same people and movements under other recording conditions."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from affectkit.errors import ConfigError
from affectkit.synth import CorpusSettings, FaceRenderer, Person, render_corpus
from affectkit.synth.domains import sample_domain_scene, soften
from affectkit.synth.render import Face
from affectkit.synth.sampling import sample_scene


def scenes(domain, count=200):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng)
        yield scene, sample_domain_scene(rng, scene, domain)


def test_the_studio_is_the_scene_as_it_was_drawn():
    assert all(found == scene for scene, found in scenes("studio", 5))


def test_a_webcam_is_lit_from_one_side_noisy_and_far_away():
    found = [webcam for _, webcam in scenes("webcam")]
    azimuth = np.array([scene.key[0] for scene in found])
    assert (np.abs(azimuth) >= 60).all()
    assert 0.35 < (azimuth > 0).mean() < 0.65
    assert np.log([scene.exposure for scene in found]).std() == pytest.approx(0.45, abs=0.06)
    assert all(6 <= scene.noise <= 12 for scene in found)
    assert np.mean([scene.zoom for scene in found]) == pytest.approx(0.33, abs=0.005)
    assert all(webcam.background == scene.background for scene, webcam in scenes("webcam", 5))


def test_softened_frames_have_less_detail():
    renderer = FaceRenderer(64)
    renderer.set(Person(), next(scenes("studio", 1))[0])
    image = renderer.render(Face()).image
    (soft,) = soften(np.random.default_rng(0), image[None])
    assert soft.shape == image.shape
    assert soft.dtype == np.uint8
    detail = [np.abs(np.diff(one.astype(float), axis=1)).mean() for one in (image, soft)]
    assert detail[1] < 0.8 * detail[0]
    assert np.abs(soft.mean() - image.mean()) < 3


def test_a_corpus_of_another_domain_shows_the_same_people_and_movements(tmp_path, tiny_settings, tiny_corpus):
    webcam = render_corpus(
        tmp_path / "webcam", **tiny_settings, domain="webcam", num_workers=1, progress=False
    )
    one, two = (pq.read_table(root / "index.parquet").to_pydict() for root in (tiny_corpus, webcam))
    assert one == two
    frames = [pq.read_table(root / "frames.parquet").to_pandas() for root in (tiny_corpus, webcam)]
    units = [column for column in frames[0] if column.startswith("AU")]
    assert frames[0][units].equals(frames[1][units])
    width = [(frame["x16"] - frame["x0"]).mean() for frame in frames]
    assert width[1] / width[0] == pytest.approx(0.33 / 0.40, abs=0.01)


def test_an_unknown_domain_is_refused(tiny_settings):
    with pytest.raises(ConfigError, match="Unknown domain 'cinema'"):
        CorpusSettings(**tiny_settings, domain="cinema")
