"""Figures show every value, gaps and thresholds."""

import numpy as np
import pytest
from helpers.pictures import table
from PIL import Image

from affectkit.errors import ConfigError
from affectkit.inference import ClipTable, write_timelines
from affectkit.inference.pictures.timeline import timeline_figure


def test_a_strip_for_every_value():
    clip = ClipTable(table(20, failed=range(5, 8), source="talks/talk.mp4"))
    figure = timeline_figure(clip, 0)
    names = [axes.texts[0].get_text() for axes in figure.axes]
    assert names == [
        "AU1  inner brow raiser", "AU2  outer brow raiser", "AU6  cheek raiser", "AU12  lip corner puller",
        "AU25  lips part", "AU12  lip corner puller, intensity", "neutral", "happiness", "surprise",
    ]  # fmt: skip
    levels = [[line.get_ydata()[0] for line in axes.lines] for axes in figure.axes]
    assert levels == [[0.4], [0.5], [0.5], [0.6], [0.5], [], [], [], []]
    assert [axes.get_ylim()[1] for axes in figure.axes[4:6]] == pytest.approx([1.04, 5.2])
    outline = figure.axes[3].patches[-1].get_data()
    np.testing.assert_allclose(outline.values, clip.values(0)[:, 3])
    np.testing.assert_allclose(outline.edges[[0, -1]], [0, 0.8])
    above = figure.axes[3].patches[-2].get_data()
    assert above.baseline == 0.6
    expected = np.where(clip.values(0)[:, 3] >= 0.6, clip.values(0)[:, 3], np.nan)
    np.testing.assert_array_equal(above.values, expected)
    gap = figure.axes[3].patches[0]
    assert (gap.get_x(), gap.get_x() + gap.get_width()) == (pytest.approx(0.2), pytest.approx(0.32))
    title, key = figure.get_suptitle().splitlines()
    assert title == "talk.mp4, model model, face 0: values in 17 of 20 frames"
    assert "orange: at or above it" in key
    assert figure.get_supxlabel().replace("\n", " ") == clip.caution


def test_long_clips_are_thinned_and_say_so():
    data = table(6000)
    data.loc[3001, "AU01"] = 1.0
    figure = timeline_figure(ClipTable(data), 0)
    title = figure.get_suptitle().splitlines()[0]
    assert title.endswith("bands span the lowest and highest of every 5 frames")
    high = figure.axes[0].patches[-1].get_data().values
    assert len(high) == 1200
    assert high[600] == pytest.approx(1.0)


def test_a_photo_has_bars():
    data = table(1).assign(valence=-0.5, AU02=np.nan, AU12=[0.7])
    data.attrs["affectkit"]["heads"]["va"] = {"columns": ["valence"], "values": "value", "range": [-1.0, 1.0]}
    clip = ClipTable(data)
    (axes,) = (figure := timeline_figure(clip, 0)).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:4] == [
        "AU1  inner brow raiser",
        "AU2  outer brow raiser",
        "AU6  cheek raiser",
        "AU12  lip corner puller",
    ]
    bars = {
        round(one.get_y() + 0.25): one
        for one in axes.patches
        if one.get_facecolor()[:3] != (0xEC / 255, 0xEE / 255, 0xF2 / 255)
    }
    values = clip.values(0)[0]
    assert 1 not in bars  # NaN
    place = [signal.column for signal in clip.signals].index("valence")
    assert (bars[place].get_x(), bars[place].get_width()) == pytest.approx((0.25, 0.25))  # from 0 to −0.5
    for k in {*bars} - {place}:
        assert bars[k].get_width() == pytest.approx(float(clip.signals[k].scale(values[k])), abs=1e-6)
    assert bars[3].get_facecolor() != bars[0].get_facecolor()  # at its threshold
    assert [line.get_xdata()[0] for line in axes.lines] == [0.4, 0.5, 0.5, 0.6, 0.5]
    texts = [text.get_text() for text in axes.texts]
    assert (texts[1], texts[3]) == ("no value", "0.70")
    assert texts[5] == f"{values[5]:.2f} of 5"
    assert "hatched" not in figure.get_suptitle()
    (empty,) = timeline_figure(ClipTable(table(1, failed=range(1))), None).axes
    assert {text.get_text() for text in empty.texts} == {"no value"}


def test_a_figure_for_each_face(tmp_path):
    paths = write_timelines(table(6, faces=2), tmp_path / "new" / "t.png")
    assert [path.name for path in paths] == ["t_face0.png", "t_face1.png"]
    for path in paths:
        with Image.open(path) as image:
            assert image.width == 1200
    assert write_timelines(table(6, faces=2), tmp_path / "one.svg", face=1) == [tmp_path / "one.svg"]
    assert [path.name for path in write_timelines(table(6, failed=range(6)), tmp_path / "none.pdf")] == [
        "none.pdf"
    ]


def test_names_are_text_and_nothing_else(tmp_path):
    odd = {"neutral": "<script>$x^$</script>", "happiness": "喜び"}
    data = table(4).rename(columns=odd)
    data.attrs["affectkit"] |= {"warning": None}
    data.attrs["affectkit"]["heads"]["expression"]["columns"] = list(odd.values())
    (path,) = write_timelines(data.assign(timestamp=np.nan), tmp_path / "odd.svg")
    assert "<script" not in path.read_text(encoding="utf-8")
    figure = timeline_figure(ClipTable(data.assign(timestamp=np.nan)), 0)
    assert figure.axes[-2].texts[0].get_text() == "<script>$x^$</script>"
    assert figure.axes[-1].get_xlabel() == "frame"
    assert figure.axes[-1].get_xlim() == (0, 4)


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(ConfigError, match=r"'t\.gif' is not the name of a figure"):
        write_timelines(table(2), tmp_path / "t.gif")
    with pytest.raises(ConfigError, match=r"no face 7.*Its faces: 0\."):
        write_timelines(table(2), tmp_path / "t.png", face=7)
    with pytest.raises(ConfigError, match="Its faces: none"):
        write_timelines(table(2, failed=range(2)), tmp_path / "t.png", face=0)
