"""The detector that comes with the package, on a real photograph, on rendered heads, and on what is no face."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import torch
from skimage.data import astronaut
from torch.nn import functional as F

from affectkit.errors import ConfigError, WeightsError
from affectkit.faces import CenterFace, detect, detector_name
from affectkit.faces.detect import overlaps

ASSETS = resources.files("affectkit.faces") / "assets"
# Of the whole photograph, found by eye: where the box and the five points are.
BOX = (181, 58, 88, 120)
POINTS = [(203, 101), (246, 104), (223, 124), (203, 142), (241, 144)]


@pytest.fixture(scope="module")
def photo():
    """The upper left part of the photograph, [3, 224, 320]."""
    return torch.from_numpy(astronaut()).permute(2, 0, 1)[:, :224, 64:384].contiguous()


@pytest.fixture(scope="module")
def detector():
    return CenterFace()


def resized(picture, scale):
    height, width = (round(side * scale) for side in picture.shape[1:])
    return F.interpolate(picture[None], (height, width), mode="bilinear", antialias=True)[0]


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 2.0, 3.0])
def test_a_real_face_is_found_at_any_size(detector, photo, scale):
    (face,) = detector(resized(photo, scale)[None])[0]
    x, y, w, h = BOX
    wanted = torch.tensor([[x - 64.0, y, w, h]]) * scale
    assert overlaps(torch.tensor([face.box]), wanted).item() > 0.75
    assert face.score > 0.8
    points = (torch.tensor(POINTS) - torch.tensor([64, 0]) + 0.5) * scale - 0.5
    assert (face.points - points).norm(dim=1).max() < 8 * scale


@pytest.mark.parametrize(("side", "stretch"), [(160, 1.0), (80, 0.5), (640, 1.0), (1280, 2.0)])
def test_what_the_maps_say_in_pixels_of_the_frame(side, stretch):
    """A box 24 wide and 40 high about (82, 44), and points at shares of it, in pixels that the network sees."""
    maps = {
        name: torch.zeros(1, n, 160, 160)
        for name, n in (("heat", 1), ("size", 2), ("off", 2), ("points", 10))
    }
    place = (0, slice(None), 10, 20)
    maps["heat"][place] = 0.75
    maps["size"][place] = torch.tensor([10.0, 6.0]).log()  # height and width, in steps of 4 pixels
    maps["off"][place] = torch.tensor([0.5, 0.0])
    shares = torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.5, 0.625], [0.25, 0.75], [0.75, 0.75]])
    maps["points"][place] = shares.flip(-1).flatten()

    class Maps:
        def run(self, outputs, inputs):
            assert inputs["image"].shape[2:] == ((160, 160) if side < 640 else (640, 640))
            return [values.numpy() for values in maps.values()]

    detector = CenterFace()
    detector.__dict__["_session"] = Maps()
    ((face,),) = detector(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    assert face.score == 0.75
    assert face.box == pytest.approx([v * stretch for v in (70.0, 24.0, 24.0, 40.0)], abs=1e-3)
    edges = (torch.tensor([70.0, 24.0]) + shares * torch.tensor([24.0, 40.0])) * stretch
    assert torch.allclose(face.points, edges - 0.5, atol=1e-3)  # whole numbers are centres of pixels


def test_several_faces_the_likeliest_first(detector, photo):
    pair = torch.cat([photo, photo.flip(-1)], dim=2)
    pair[:, :, 320:] = F.pad(resized(photo, 0.7), (0, 320 - 224, 0, 224 - 157))
    faces = detector(pair[None])[0]
    assert len(faces) == 2
    assert faces[0].score >= faces[1].score
    assert sorted(face.box[0] // 320 for face in faces) == [0, 1]


def test_a_batch_gives_what_single_frames_give(detector, photo):
    frames = torch.stack([photo, torch.zeros_like(photo), photo.flip(-1)])
    together = detector(frames)
    assert [len(faces) for faces in together] == [1, 0, 1]
    for frame, faces in zip(frames, together, strict=True):
        for alone, face in zip(detector(frame[None])[0], faces, strict=True):
            assert alone.box == pytest.approx(face.box, abs=0.01)
    left, right = together[0][0].box, together[2][0].box
    assert left[0] + left[2] == pytest.approx(320 - right[0], abs=4)
    assert detector(frames[:0]) == []


def test_threshold_and_longest_side(photo):
    assert CenterFace(threshold=0.99)(photo[None]) == [[]]
    assert CenterFace(longest=32)(photo[None]) == [[]]  # a face of 9 pixels is too small


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2), (7, 5), (33, 65)])
def test_no_face_in_what_is_none(detector, size):
    noise = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    flat = torch.full((3, *size), 255, dtype=torch.uint8)
    assert detector(torch.stack([noise, flat])) == [[], []]


def test_a_tiny_picture_of_a_face(detector, photo):
    (face,) = detector(resized(photo[:, 40:200, 90:250], 24 / 160)[None])[0]
    x, _, w, h = face.box
    assert 0 <= x < 10
    assert 10 < x + w <= 24
    assert h > w > 8


def test_rendered_heads_are_found(detector):
    from affectkit.synth.render import Face, FaceRenderer, Person, Scene

    found = 0
    renderer = FaceRenderer(size=96)
    for seed in range(4):
        shape = torch.randn(20, generator=torch.Generator().manual_seed(seed)).tolist()
        renderer.set(Person(shape=tuple(shape)), Scene())
        picture = torch.from_numpy(renderer.render(Face()).image.copy()).permute(2, 0, 1)
        faces = detector(picture[None])[0]
        found += len(faces) == 1 and 40 < faces[0].box[2] < 100
    assert found == 4


def test_a_copy_in_another_process_loads_the_network_itself(detector, photo):
    whole = len(pickle.dumps(detector))
    assert whole < 1000
    again = pickle.loads(pickle.dumps(detector))
    assert again(photo[None])[0][0].box == detector(photo[None])[0][0].box


def test_the_asset_is_small_and_its_notice_tells_of_it():
    content = (ASSETS / "centerface.onnx").read_bytes()
    assert len(content) < 5_000_000
    notice = (ASSETS / "NOTICE").read_text()
    assert hashlib.sha256(content).hexdigest() == detect.SHA256
    assert detect.SHA256 in notice
    assert "MIT License" in notice
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert "affectkit/faces/assets/NOTICE" in project["license-files"]


def test_a_damaged_network_is_refused(monkeypatch, photo):
    monkeypatch.setattr(detect, "SHA256", "0" * 64)
    with pytest.raises(WeightsError, match=r"centerface\.onnx"):
        CenterFace()(photo[None])


def test_its_threads_are_those_of_torch_and_sleep_while_they_wait(monkeypatch, photo):
    import onnxruntime

    given = []

    def session(content, options, providers):
        given.append(options)
        return real(content, options, providers=providers)

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert len(CenterFace()(photo[None])[0]) == 1
    (options,) = given
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    for kind in ("intra_op", "inter_op"):
        assert options.get_session_config_entry(f"session.{kind}.allow_spinning") == "0"


def test_an_accelerator_that_onnxruntime_cannot_use_does_no_harm(photo):
    assert len(CenterFace(device="cuda:1")(photo[None])[0]) == 1


def test_an_accelerator_is_used_where_it_can_be(monkeypatch, photo):
    import onnxruntime

    asked = []

    class Session:
        def __init__(self, content, options, providers):
            asked.extend(providers)
            self.real = real(content, options, providers=["CPUExecutionProvider"])

        def run(self, *args):
            return self.real.run(*args)

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    assert len(CenterFace(device="cuda:1")(photo[None])[0]) == 1
    assert asked == [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"threshold": 1.0}, {"longest": 31}, {"overlap": -0.1}, {"overlap": 1.1}]
)
def test_numbers_out_of_range(options):
    with pytest.raises(ConfigError, match="out of range"):
        CenterFace(**options)


def test_it_says_what_it_is(detector):
    assert str(detector) == "CenterFace (threshold 0.5, longest side 640)"
    assert detector_name(detector) == str(detector)


def test_overlaps():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 10.0, 10.0], [20.0, 20.0, 1.0, 1.0]])
    shared = overlaps(boxes, boxes[:2])
    assert torch.allclose(shared, torch.tensor([[1, 1 / 3], [1 / 3, 1], [0, 0]]), atol=1e-6)


def test_nothing_is_reported_and_nothing_left_at_home(tmp_path):
    code = """import torch
from affectkit.faces import CenterFace
CenterFace()(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))"""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=200)
    assert list(tmp_path.rglob("*")) == []
