"""Train the network that estimates AU4 from the pixels of forehead and eyes, on rendered faces only.

Real faces differ from rendered ones in skin, hair and light, so training changes all of these strongly, and pictures
are normalised by local contrast. Brows of unusual thickness, faces without any wrinkle, hair, glasses and lines that
do not move are drawn at random. Besides the intensities, the loss compares frames of one person with each other: how
a face at rest looks differs from person to person.

Other units of the upper face are learned as well, so that AU4 is told apart from them, and then left out: on the real
clips of `tests/assets/real_faces.json`, AU1 and AU2 depended on the length of training, and arched brows at rest looked
like AU2. AU4 did not; few epochs were enough.

    python tools/brow_network.py     # renders and trains for a quarter of an hour on two cores, writes the asset
"""

from __future__ import annotations

import argparse
import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.faces import MeshDetector
from affectkit.faces.brows import cut_brows
from affectkit.models.export import drop_traces
from affectkit.synth import Face, FaceRenderer
from affectkit.synth.sampling import sample_person, sample_scene, sway
from affectkit.synth.varied import degrade

ASSET = Path(__file__).resolve().parent.parent / "affectkit/faces/assets/face_brows.onnx"
UPPER = {1: 0.35, 2: 0.30, 4: 0.38, 5: 0.20, 6: 0.25, 7: 0.25, 9: 0.15, 45: 0.20}  # unit: share of frames
LOWER = (10, 12, 15, 17, 20, 25, 26)
MARGIN = 12
HEIGHT, WIDTH = 64, 96
CLIPS, FRAMES = 3, 8  # of each person
GROUP = 8  # frames of one person that are compared

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def render_people(first: int, last: int) -> Arrays:
    """Pictures, uint8 [N, 3, H, W], intensities, float32 [N, U], and the person of each frame."""
    torch.set_num_threads(1)
    renderer, detector = FaceRenderer(192), MeshDetector(refine=False)
    pictures, labels, people = [], [], []
    for person in range(first, last):
        rng = np.random.default_rng([77, person])
        look = sample_person(rng)
        skin = replace(
            look.skin,
            brow_thickness=float(rng.uniform(0.5, 1.7)),
            brow_density=float(rng.uniform(0.35, 1.0)),
            brow_shift=float(rng.normal(0, 2.5)),
            mottle=float(rng.uniform(0.1, 1.6)),
        )
        if rng.uniform() < 0.3:  # brows hardly darker than the skin
            red, green, blue = (float(channel * rng.uniform(0.3, 0.8)) for channel in skin.tone)
            skin = replace(skin, hair=(red, green, blue))
        look = replace(
            look,
            skin=skin,
            shape=tuple(1.4 * coefficient for coefficient in look.shape),
            wrinkle=0.0 if rng.uniform() < 0.4 else float(rng.uniform(0.0, 1.5)),
            expressivity=float(rng.uniform(0.8, 1.2)),
        )
        for _ in range(CLIPS):
            scene = sample_scene(rng)
            scene = replace(
                scene,
                zoom=scene.zoom * float(rng.uniform(0.65, 1.1)),
                key=(float(rng.uniform(-80, 80)), float(rng.uniform(-20, 60))),
                shine=float(rng.uniform(0.0, 0.3)),
            )
            renderer.set(look, scene)
            pose = np.clip(sway(rng, FRAMES, (13.0, 9.0, 6.0), 7.0), (-35, -28, -28), (35, 28, 28))
            units = [draw_units(rng) for _ in range(FRAMES)]
            gaze = rng.normal(0.0, 0.4, (FRAMES, 2)).clip(-0.95, 0.95).tolist()
            shown = [
                renderer.render(Face(u, *p, tuple(g)))
                for u, p, g in zip(units, pose.tolist(), gaze, strict=True)
            ]
            images = degrade(
                rng, np.stack([one.image for one in shown]), np.stack([one.landmarks for one in shown])
            )
            frames = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
            for frame, drawn, faces in zip(frames, units, detector(frames), strict=True):
                if faces and faces[0].mesh is not None:
                    pictures.append(cut_brows(frame, faces[0].mesh.points, MARGIN))
                    labels.append([max(drawn.get(unit, (0.0,))) for unit in UPPER])
                    people.append(person)
    return np.stack(pictures), np.array(labels, np.float32), np.array(people)


def draw_units(rng: np.random.Generator) -> dict[int, tuple[float, float]]:
    """Units of one frame, independent of each other, some on one side only."""
    units = {}
    for unit, share in UPPER.items():
        if rng.uniform() < share:
            sides = 1 + rng.uniform(-0.12, 0.12) * np.array([1.0, -1.0])
            if rng.uniform() < 0.1 and unit != 45:
                sides[int(rng.integers(2))] *= rng.uniform(0.0, 0.25)
            left, right = np.minimum(rng.uniform(0.15, 1.0) * sides, 1.0).tolist()
            units[unit] = (left, right)
    for unit in LOWER:
        if rng.uniform() < 0.18:
            units[unit] = (float(rng.uniform(0.2, 1.0)),) * 2
    return units


def smooth_noise(count: int, cells: tuple[int, int]) -> Tensor:
    """Noise of coarse cells, [N, 1, H, W]."""
    return F.interpolate(torch.randn(count, 1, *cells), (HEIGHT, WIDTH), mode="bicubic")


def augment(pictures: Tensor) -> Tensor:
    """Change place, light, skin, hair, glasses and sharpness: uint8 [N, 3, H, W] to float [N, 1, 64, 96]."""
    n = len(pictures)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, 1)

    def in_share(share: float) -> Tensor:
        return (torch.rand(n, 1, 1, 1) < share).float()

    mix = torch.rand(n, 3, 1, 1) + 0.15
    x = (pictures.float() / 255 * mix / mix.sum(1, keepdim=True)).sum(1, keepdim=True)
    mirrored = torch.rand(n, 1, 1, 1) < 0.5
    x = torch.where(mirrored, x.flip(3), x)

    height, width = x.shape[2:]
    angle, scale, stretch = (
        np.deg2rad(5) * (2 * torch.rand(n) - 1),
        1 + 0.06 * (2 * torch.rand(n) - 1),
        1 + 0.04 * (2 * torch.rand(n) - 1),
    )
    c, s = scale * angle.cos(), scale * angle.sin()
    ratio = width / height
    across, down = WIDTH / width, HEIGHT / height
    shift = (torch.rand(n, 2) - 0.5) * torch.tensor([8 / width, 8 / height])
    rows = [
        [c * stretch * across, -s / ratio * down, shift[:, 0]],
        [s * ratio * across, c * down, shift[:, 1]],
    ]
    matrix = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(matrix, [n, 1, HEIGHT, WIDTH], align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    x = x.clamp(1e-3, 1) ** between(-0.6, 0.6).exp()
    x = x * (between(0, 0.5) * smooth_noise(n, (3, 4))).exp()
    x = x + between(0, 0.06) * in_share(0.6) * smooth_noise(n, (11, 16))
    x = x + between(0, 0.05) * in_share(0.6) * smooth_noise(n, (32, 48))
    y, z = torch.meshgrid(torch.linspace(-1, 1, HEIGHT), torch.linspace(-1, 1, WIDTH), indexing="ij")
    for side in (-1, 0, 1):  # hair at a side, or a fringe
        edge = side * z - between(0.55, 1.0) + between(-0.3, 0.3) * y
        if side == 0:
            edge = -y - between(0.35, 1.0) + between(-0.4, 0.4) * z
        edge = edge + 0.12 * smooth_noise(n, (5, 5))
        cover = (edge * between(8, 60)).sigmoid() * in_share(0.35)
        x = x * (1 - cover) + cover * (between(0, 0.9) + 0.12 * smooth_noise(n, (24, 60)))
    for _ in range(2):  # lines that do not move
        distance = y - between(-1, 0.1) - between(-0.4, 0.4) * z - 0.05 * smooth_noise(n, (3, 4))
        line = (-((distance / between(0.015, 0.04)) ** 2)).exp() * (4 * smooth_noise(n, (3, 4))).sigmoid()
        x = x - in_share(0.3) * between(-0.02, 0.12) * line
    worn, dark = in_share(0.15), in_share(0.5)
    rise, size, shape = between(0.2, 0.5), between(0.24, 0.36), between(2, 6)
    colour, rim = between(0, 0.4), between(0.04, 0.12)
    for eye in (-0.43, 0.43):  # glasses, half of them dark
        distance = ((z - eye).abs() / size) ** shape + ((y - rise).abs() / (1.25 * size)) ** shape
        distance = distance ** (1 / shape)
        inside = ((1 - distance) * 20).sigmoid()
        frame = (-(((distance - 1) / rim) ** 2)).exp()
        cover = worn * torch.maximum(frame, inside * dark * 0.95)
        x = x * (1 - cover) + cover * colour
    bridge = (
        worn * (-(((y - rise + 0.5 * size) / 0.05) ** 2)).exp() * (((0.43 - size) - z.abs()) * 40).sigmoid()
    )
    x = x * (1 - bridge) + bridge * colour
    for sigma in (0.5, 1.0, 1.5):
        chosen = torch.randperm(n)[: n // 6]
        x[chosen] = blur(x[chosen], sigma)
    return x + between(0, 0.04) * torch.randn_like(x)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [N, 1, H, W]."""
    reach = int(2.5 * sigma) + 1
    kernel = (-(torch.arange(-reach, reach + 1).float() ** 2) / (2 * sigma * sigma)).exp()
    kernel = kernel / kernel.sum()
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), kernel[None, None, None])
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), kernel[None, None, :, None])


def box_mean(x: Tensor) -> Tensor:
    """Mean over 17 x 17 pixels."""
    return F.avg_pool2d(F.avg_pool2d(F.pad(x, (8, 8, 8, 8), mode="replicate"), (1, 17), 1), (17, 1), 1)


class BrowNetwork(nn.Module):
    """Convolutions on grey pictures [N, 1, 64, 96], normalised as by `affectkit.faces.brows.normalize_contrast`."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for stage, outputs in enumerate((16, 32, 48, 72, 96)):
            kernel = 5 if stage == 0 else 3
            layers += [
                nn.Conv2d(inputs, outputs, kernel, 2, kernel // 2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            if 0 < stage < 4:
                layers += [
                    nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                ]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.out = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 6, 96), nn.ReLU(), nn.Linear(96, len(UPPER))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Intensities, 0 to 1, of the units of `UPPER`."""
        centred = x - box_mean(x)
        x = (centred / (box_mean(centred.square()).sqrt() + 0.02)).clamp(-3, 3)
        return self.out(self.layers(x.contiguous(memory_format=torch.channels_last)))


class Exported(nn.Module):
    """The network as it is stored: normalised pictures, [N, 1, 64, 96], to the intensity of AU4."""

    def __init__(self, network: BrowNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Intensities, [N, 1]."""
        fourth = list(UPPER).index(4)
        return self.network.out(self.network.layers(image))[:, fourth : fourth + 1]


def train(data: Arrays, epochs: int, seed: int) -> BrowNetwork:
    """Train, and print correlations for each eighth person, who is left out."""
    pictures, labels = torch.from_numpy(data[0]), torch.from_numpy(data[1])
    people = torch.from_numpy(data[2])
    torch.manual_seed(seed)
    network = BrowNetwork().to(memory_format=torch.channels_last)
    rows = [(people == person).nonzero()[:, 0] for person in people.unique() if person % 8]
    groups, batch = sum(len(own) // GROUP for own in rows), 32
    steps = groups // batch * epochs
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps + 1, pct_start=0.15)
    for epoch in range(epochs):
        network.train()
        pool = [
            group
            for own in rows
            for group in own[torch.randperm(len(own))].split(GROUP)
            if len(group) == GROUP
        ]
        order, total = torch.randperm(len(pool)).tolist(), 0.0
        for first in range(0, groups // batch * batch, batch):
            chosen = torch.cat([pool[k] for k in order[first : first + batch]])
            found, true = network(augment(pictures[chosen])), labels[chosen]
            error = (found - true).view(batch, GROUP, -1)
            moved = error - error.mean(1, keepdim=True)
            loss = F.smooth_l1_loss(found, true, beta=0.2)
            loss = loss + F.smooth_l1_loss(moved, torch.zeros_like(moved), beta=0.2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(
            f"epoch {epoch}: loss {total * batch / groups:.4f}; r {correlations(network, data)}", flush=True
        )
    return network.eval()


@torch.no_grad()
def correlations(network: BrowNetwork, data: Arrays) -> str:
    """Correlations with the true intensities over the people who are left out."""
    left_out = data[2] % 8 == 0
    middle = torch.from_numpy(data[0][left_out])[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
    network.eval()
    found = torch.cat([network(part.float().mean(1, keepdim=True) / 255) for part in middle.split(256)])
    pairs = zip(UPPER, found.T.numpy(), data[1][left_out].T, strict=True)
    return ", ".join(f"AU{unit} {np.corrcoef(a, b)[0, 1]:.2f}" for unit, a, b in pairs)


def export(network: BrowNetwork, path: Path) -> None:
    """Write the ONNX file, with any number of pictures."""
    program = torch.onnx.export(
        Exported(network).eval(),
        (torch.zeros(2, 1, HEIGHT, WIDTH),),
        input_names=["image"],
        output_names=["intensity"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    drop_traces(program)
    program.save(path, external_data=False)


def main() -> None:
    """Render, train and export."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=ASSET)
    options = parser.parse_args()
    firsts = range(0, options.people, 25)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(render_people, firsts, [min(k + 25, options.people) for k in firsts]))
    data = tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    print(f"{len(data[0]):,} pictures of {options.people:,} people", flush=True)
    network = train(data, options.epochs, options.seed)  # type: ignore[arg-type]
    export(network, options.output)
    content = options.output.read_bytes()
    print(f"{options.output.name}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
