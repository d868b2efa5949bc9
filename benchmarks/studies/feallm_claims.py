"""What the sentences of FEALLM are worth: `python benchmarks/studies/feallm_claims.py --runs runs/feallm_claims`.

Every seed has rendered people of its own, one still each: an expression is drawn, its units from the published table
P(unit | expression) (`affectkit.facs.rules.prior`), and the face is rendered at its strongest frame. The tower is that
of the model `demo`, frozen, whose training saw other rendered people with labels of the same units. One model per
variant and seed, with a tiny language model from scratch, answers all questions:

- sentences: share that parse, F1 of the listed units, recall of the named expressions, and whether the expression is
  the likeliest one for the listed units; a linear probe of the tower for comparison.
- counterfactuals: test faces are rendered again without one unit, and the same person, scene and seeds. Where the
  sentence listed the unit: how often it is dropped, how often other units change, and how often the reason still names
  it.
- hidden places: one of the sixteen crops is filled with the mean colour of the picture. Mean change of the
  probabilities of units with a centre in that crop, and of the others.

Each run is saved, so an interrupted study can be resumed; the table is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison import interval
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    multiclass_recall,
    multilabel_auroc,
    multilabel_f1_score,
)

from affectkit.data import Clip, ClipBatch, Target, collate
from affectkit.facs import AUSet, label_space
from affectkit.facs.rules import prior
from affectkit.methods.feallm import FEALLM, PLACES, Answer, FEALLMBackbone, FEALLMHead, SentenceMetrics
from affectkit.models import load
from affectkit.models.regions import PatchRegions
from affectkit.synth.render import FaceRenderer
from affectkit.synth.sampling import CONTRADICTIONS, draw_units, sample_clip, sample_person, sample_scene
from affectkit.tasks.base import model_inputs, reduce_losses
from affectkit.tasks.optim import build_optimizer, build_schedule

UNITS = AUSet.of(1, 2, 4, 6, 7, 10, 12, 15, 17, 25)
IDS = [unit.id for unit in UNITS]
CLASSES = label_space("basic7")
RENDERED, SIZE, CROP = 80, 64, 16
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "whole": ("FEALLM, tiny language model", {}),
    "no_local": ("without local crops", {"local": False}),
    "no_multiblock": ("last block alone", {"blocks": [5]}),
}


@dataclass(frozen=True)
class Faces:
    """Stills.

    Args:
        frames: uint8 [N, 3, 64, 64].
        landmarks: float [N, 68, 2].
        units: float [N, A].
        expression: int64 [N].
    """

    frames: Tensor
    landmarks: Tensor
    units: Tensor
    expression: Tensor

    def batch(self, chosen: Sequence[int]) -> ClipBatch:
        """Clips of one frame with their labels."""
        return collate([self._clip(k) for k in chosen])

    def _clip(self, k: int) -> Clip:
        targets = {
            "au": Target.make(self.units[k], space=UNITS.name),
            "expression": Target.make(self.expression[k], space="basic7"),
        }
        meta = {"clip": str(k), "dataset": "study"}
        return Clip.make(
            self.frames[k, None], targets, landmarks=self.landmarks[k, None], meta=meta, subject=k
        )


def draw(rng: np.random.Generator) -> tuple[int, tuple[int, ...]]:
    """An expression and its active units, none of which contradict each other."""
    table = prior(CLASSES, UNITS)  # type: ignore[arg-type]
    expression = int(rng.integers(len(table)))
    active = draw_units(rng, table[expression], IDS)
    for a, b in CONTRADICTIONS:
        if a in active and b in active:
            active = tuple(unit for unit in active if unit != (a, b)[rng.integers(2)])
    return expression, active


def render(renderer: FaceRenderer, active: tuple[int, ...], seed: list[int]) -> tuple[Tensor, Tensor]:
    """Strongest frame of a clip, cropped to 64 pixels; equal seeds give equal people, scenes and intensities."""
    rng = np.random.default_rng(seed)
    renderer.set(sample_person(rng), sample_scene(rng))  # also starts the noise again
    plan = sample_clip(rng, active, IDS, frames=12)
    found = renderer.render(plan.faces[6])  # between apex and fading, in every clip
    start = (RENDERED - SIZE) // 2
    picture = found.image[start : start + SIZE, start : start + SIZE].transpose(2, 0, 1)
    return torch.from_numpy(picture.copy()), torch.from_numpy(found.landmarks - start)


def make_faces(renderer: FaceRenderer, seed: int, part: int, number: int) -> Faces:
    """Stills of different people."""
    drawn = [draw(np.random.default_rng([seed, part, k])) for k in range(number)]
    shown = [render(renderer, active, [seed, part, k, 1]) for k, (_, active) in enumerate(drawn)]
    units = torch.tensor([[float(unit in active) for unit in IDS] for _, active in drawn])
    frames, landmarks = (torch.stack(column) for column in zip(*shown, strict=True))
    return Faces(frames, landmarks, units, torch.tensor([expression for expression, _ in drawn]))


def make_pairs(renderer: FaceRenderer, seed: int, number: int) -> tuple[Tensor, Faces, Faces]:
    """Places of the removed units [M], and faces with and without them; all else is equal."""
    removed: list[int] = []
    sides: tuple[list[Any], list[Any]] = [], []
    for k in range(number):
        expression, active = draw(np.random.default_rng([seed, 3, k]))
        for unit in active:
            removed.append(IDS.index(unit))
            for side, shown in zip(sides, (active, tuple(u for u in active if u != unit)), strict=True):
                picture, landmarks = render(renderer, shown, [seed, 3, k, 1])
                side.append((picture, landmarks, [float(u in shown) for u in IDS], expression))
    both = []
    for side in sides:
        frames, landmarks, units, classes = zip(*side, strict=True)
        stacked = (torch.stack(frames), torch.stack(landmarks), torch.tensor(units), torch.tensor(classes))
        both.append(Faces(*stacked))
    return torch.tensor(removed), both[0], both[1]


def make_task(options: dict[str, Any]) -> FEALLM:
    """The untrained model of a variant."""
    chosen = {"tower_of": "demo", "blocks": [3, 4, 5], "crop": CROP, "width": 128, "local_width": 64}
    head = partial(FEALLMHead, space=UNITS.name, language={"name": "tiny"})
    return FEALLM(FEALLMBackbone(**{**chosen, **options}), {"au": head})


def train(task: FEALLM, faces: Faces, seed: int, options: argparse.Namespace) -> None:
    """Minimise the losses of the task; equal seeds draw the same faces in the same order."""
    optimizer = build_optimizer(task.model, lr=options.lr, weight_decay=0.01)
    schedule = build_schedule(optimizer, "cosine", total_steps=options.steps, warmup=0.05)
    order = torch.Generator().manual_seed(seed)
    task.train()
    for step in range(options.steps):
        torch.manual_seed(10_000 * seed + step)
        batch = faces.batch(torch.randint(len(faces.frames), (options.batch,), generator=order).tolist())
        terms = task.terms("au", task.model.features(**model_inputs(batch)), None, batch)
        loss = task.combine(reduce_losses({name: [term] for name, term in terms.items()}))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    task.eval()


@torch.no_grad()
def probabilities_of(task: FEALLM, faces: Faces) -> Tensor:
    """Probabilities [N, A] of the units."""
    chosen = torch.arange(len(faces.frames)).split(64)
    batches = (faces.batch(part.tolist()) for part in chosen)
    return torch.cat([task.heads["au"].predict(task(**model_inputs(batch))["au"]) for batch in batches])


@torch.no_grad()
def answers_of(task: FEALLM, faces: Faces) -> tuple[Tensor, list[Answer], list[str]]:
    """Probabilities [N, A], answers and their texts."""
    head: FEALLMHead = task.heads["au"]  # type: ignore[assignment]
    found: list[Tensor] = []
    answers: list[Answer] = []
    for chosen in torch.arange(len(faces.frames)).split(64):
        features = task.model.features(**model_inputs(faces.batch(chosen.tolist())))
        logits = head(features)
        found.append(head.predict(logits))
        answers += head.answer(features, logits)
    return torch.cat(found), answers, [answer.text for answer in answers]


def measure_sentences(task: FEALLM, faces: Faces) -> dict[str, float]:
    """Sentences of test faces against their labels."""
    p, _, texts = answers_of(task, faces)
    metrics = SentenceMetrics(task.heads["au"])  # type: ignore[arg-type]
    mask = torch.ones_like(faces.units, dtype=torch.bool)
    labels = (faces.expression, torch.ones_like(faces.expression, dtype=torch.bool))
    metrics.update(texts, p >= 0.5, (faces.units, mask), labels, torch.arange(len(texts)))
    rows = {row.name.partition("/")[2]: row for row in metrics.results("rendered", by_subject=True)}
    found = {name: row.estimate.value for name, row in rows.items()}
    found["f1_trivial"] = rows["f1_pos"].baseline
    found["auc"] = multilabel_auroc(p, faces.units.long(), len(IDS)).item()
    return found


def measure_counterfactuals(task: FEALLM, removed: Tensor, whole: Faces, less: Faces) -> dict[str, float]:
    """Sentences with and without one unit, where the first one lists it."""
    p, before, _ = answers_of(task, whole)
    q, after, _ = answers_of(task, less)
    dropped, changed, reasoned, still, moved = [], [], 0, 0, []
    for k, place in enumerate(removed.tolist()):
        unit = [*UNITS][place]
        moved.append(float(p[k, place] - q[k, place]))
        if unit not in before[k].units:
            continue
        dropped.append(unit not in after[k].units)
        others = [one for one in UNITS if one != unit]
        changed.append(np.mean([(one in before[k].units) != (one in after[k].units) for one in others]))
        if unit in before[k].cues:
            reasoned += 1
            still += unit in after[k].cues
    found = {"effect": float(np.mean(moved)), "pairs": float(len(dropped))}
    if dropped:
        found |= {"dropped": float(np.mean(dropped)), "others_changed": float(np.mean(changed))}
    return found | ({"still_in_reason": still / reasoned} if reasoned else {})


def measure_hidden(task: FEALLM, faces: Faces) -> dict[str, float]:
    """Change of probabilities if one place is hidden, for units with a centre there and for the others."""
    crops = FEALLMBackbone(tower_of="demo", blocks=[5], crop=CROP, width=8, local_width=8).crops
    assert crops is not None
    N = len(faces.frames)
    centres = crops.centres(faces.landmarks, None, pictures=N, side=SIZE)
    regions = PatchRegions([*UNITS])
    units = regions.centres(faces.landmarks, None, clips=N, picture=SIZE)  # [N, A, 2, 2]
    usual = probabilities_of(task, faces)
    pixels = torch.arange(SIZE)
    inside, outside = [], []
    for place in range(len(PLACES)):
        x, y = centres[:, place].unbind(-1)
        covered = ((pixels - y[:, None]).abs() <= CROP / 2)[:, :, None] & (
            (pixels - x[:, None]).abs() <= CROP / 2
        )[:, None]
        mean = faces.frames.float().mean(dim=(2, 3), keepdim=True).to(torch.uint8)
        frames = torch.where(covered[:, None], mean, faces.frames)
        changed = Faces(frames, faces.landmarks, faces.units, faces.expression)
        change = (probabilities_of(task, changed) - usual).abs()
        near = ((units - centres[:, place, None, None]).abs().amax(dim=-1) <= CROP / 2) & regions.present
        own = near.any(dim=-1)
        inside.append(change[own])
        outside.append(change[~own])
    found = {"inside": torch.cat(inside).mean().item(), "outside": torch.cat(outside).mean().item()}
    return found | {"inside_ratio": found["inside"] / found["outside"]}


def probe(faces: Faces, test: Faces, seed: int) -> dict[str, float]:
    """Linear heads on the frozen tower, trained on all faces at once."""
    torch.manual_seed(seed)
    tower = load("demo").backbone
    with torch.no_grad():
        given, held = (
            torch.cat([tower(part[:, None]).pooled for part in one.frames.split(64)]) for one in (faces, test)
        )
        mean, spread = given.mean(dim=0), given.std(dim=0) + 1e-6
        given, held = (given - mean) / spread, (held - mean) / spread
    linear = torch.nn.Linear(given.shape[1], len(IDS) + len(CLASSES))
    optimizer = torch.optim.AdamW(linear.parameters(), lr=1e-3, weight_decay=0.1)
    for _ in range(200):
        out = linear(given)
        loss = F.binary_cross_entropy_with_logits(out[:, : len(IDS)], faces.units)
        loss = loss + F.cross_entropy(out[:, len(IDS) :], faces.expression)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        out = linear(held)
    p, classes = out[:, : len(IDS)].sigmoid(), out[:, len(IDS) :].argmax(dim=1)
    return {
        "f1_pos": multilabel_f1_score(p, test.units.long(), len(IDS)).item(),
        "auc": multilabel_auroc(p, test.units.long(), len(IDS)).item(),
        "uar": multiclass_recall(classes, test.expression, len(CLASSES)).item(),
    }


COLUMNS = {
    "f1_pos": "F1 of listed units", "f1_trivial": "F1, every unit listed", "auc": "AUC of units",
    "uar": "UAR of named expressions (chance .143)", "parsed": "sentences that parse",
    "agreement": "units that agree with probabilities", "typical_cues": "every cue typical of the expression",
    "follows": "expression is the likeliest for the listed units", "both_right": "units and expression exactly right",
    "effect": "removed unit: fall of its probability", "dropped": "removed unit: dropped where listed",
    "others_changed": "removed unit: share of other units that change",
    "still_in_reason": "removed unit: still in the reason", "inside": "hidden place: change of units there",
    "outside": "hidden place: change of other units", "inside_ratio": "hidden place: ratio of both",
    "seconds": "CPU seconds of training",
}  # fmt: skip


def print_table(runs: dict[str, dict[int, dict[str, float]]]) -> None:
    """One line for each number, one column for each variant: mean and 95 % interval over seeds."""
    titles = [*(title for title, _ in VARIANTS.values()), "linear probe of the tower"]
    print(f"| result | {' | '.join(titles)} |\n| --- |{' --- |' * len(titles)}")
    for column, title in COLUMNS.items():
        cells = []
        for name in (*VARIANTS, "probe"):
            values = [found[column] for found in runs.get(name, {}).values() if column in found]
            mean, low, high = interval(values)
            has_interval = low == low and high - low > 0
            cells.append(
                f"{mean:.3f}" + (f" [{low:.3f}, {high:.3f}]" if has_interval else "") if values else ""
            )
        print(f"| {title} | {' | '.join(cells)} |")
    print(f"\n{max(map(len, runs.values()))} seeds")


def run_seed(seed: int, waiting: dict[str, Path], options: argparse.Namespace) -> None:
    """Render the faces of a seed, and train and measure what is not saved yet."""
    renderer = FaceRenderer(RENDERED)
    faces = make_faces(renderer, seed, 1, options.train)
    test = make_faces(renderer, seed, 2, options.test)
    pairs = make_pairs(renderer, seed, options.pairs)
    some = slice(0, options.hidden)
    hidden = Faces(test.frames[some], test.landmarks[some], test.units[some], test.expression[some])
    for name, path in waiting.items():
        began = time.process_time()
        if name == "probe":
            found = probe(faces, test, seed)
        else:
            torch.manual_seed(seed)
            task = make_task(VARIANTS[name][1])
            train(task, faces, seed, options)
            found = {"seconds": time.process_time() - began} | measure_sentences(task, test)
            found |= measure_counterfactuals(task, *pairs) | measure_hidden(task, hidden)
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(f"{name} seed {seed}: {time.process_time() - began:.0f} CPU seconds", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the variants over the seeds, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--train", type=int, default=500, help="training faces")
    parser.add_argument("--test", type=int, default=150, help="test faces")
    parser.add_argument("--pairs", type=int, default=20, help="test faces that lose each of their units")
    parser.add_argument("--hidden", type=int, default=16, help="test faces with hidden places")
    options = parser.parse_args(arguments)
    numbers = ("train", "test", "pairs", "hidden", "steps", "batch", "lr")
    folder = options.runs / "-".join(f"{name}{getattr(options, name)}" for name in numbers)
    folder.mkdir(parents=True, exist_ok=True)
    runs: dict[str, dict[int, dict[str, float]]] = {name: {} for name in (*VARIANTS, "probe")}
    for seed in options.seeds:
        paths = {name: folder / f"{name}-{seed}.json" for name in runs}
        waiting = {name: path for name, path in paths.items() if not path.is_file()}
        if waiting:
            run_seed(seed, waiting, options)
        for name, path in paths.items():
            runs[name][seed] = json.loads(path.read_text(encoding="utf-8"))
    print_table(runs)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
