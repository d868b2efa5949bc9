"""What FG-SGL claims, on rendered faces: `python benchmarks/studies/fgsgl_claims.py --runs runs/fgsgl_claims`.

Fifteen classes of one-sided movements: three movements, and each of them with another side, direction, amplitude or
course, so that twelve pairs of classes differ in one part of their texts. The frames are changes since the first one.
Four further classes, drawn anew for every seed among those whose four sentences all occur in training, are never
trained. Every seed has people of its own. Claims:

- top-1 of the trained classes, and errors towards classes that differ in one part (near) or in more (far);
- the right one of two classes that differ in one part, by this part;
- classes that were never trained, by their four sentences, among each other and among all nineteen, and each part of
  them; for category prompts, by their names, which say as much;
- attention of the query of the first part to the quarter of the picture in which the face moves.

Arms: FG-SGL; category prompts alone; FG-SGL with sentences exchanged between classes, and with random vectors. All
arms of a seed have the same clips, steps and batches. Each run is saved, so an interrupted study can be resumed; the
table is printed at the end, with 95 % intervals over seeds. `--quick` is a rehearsal of a minute, whose numbers mean
nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from comparison import interval
from fgsgl_corpus import PAIRS, SEEN, SIZE, UNSEEN, Clips, Movement, make_clips
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from affectkit.data import Clip, ClipBatch, Draw, ReplaySampler, Target, collate
from affectkit.facs import PROCESS_PARTS
from affectkit.methods.fgsgl import FGSGL, ProcessBridge, ProcessHead
from affectkit.models import ClipTokenTransformer, Features, TimmBackbone

SPACE = ",".join(one.name for one in SEEN)
TEXTS = {one.name: list(one.process.sentences) for one in (*SEEN, *UNSEEN)}
NET = {
    "channels": [16, 24, 48, 64],
    "layers": [1, 1, 1, 1],
    "stem_width": 8,
    "stem_type": "deep",
    "output_stride": 16,
}
MEAN, STD = (0.5, 0.5, 0.5), (0.06, 0.3, 0.3)  # of change, column and row
ARMS: dict[str, tuple[str, str, str]] = {  # title, scores, control
    "full": ("FG-SGL", "both", "none"),
    "category": ("category prompts alone", "category", "none"),
    "shuffled": ("sentences exchanged", "both", "shuffled"),
    "random": ("random vectors", "both", "random"),
}
NUM_NEW = 4


class Memory(Dataset[Any]):
    """Clips in memory, read a batch at a time."""

    def __init__(self, clips: Clips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips.classes)

    def __getitems__(self, draws: Sequence[Draw]) -> ClipBatch:
        """Batch of some draws."""
        return collate(
            [
                Clip.make(
                    self.clips.frames[draw.index],
                    {"expression": Target.make(self.clips.classes[draw.index], space=SPACE)},
                )
                for draw in draws
            ]
        )


def new_classes(seed: int) -> tuple[Movement, ...]:
    """Classes that this seed never trains; all of their sentences occur in training."""
    return tuple(random.Random(seed).sample(UNSEEN, NUM_NEW))


def make_task(scores: str, control: str, lr: float) -> FGSGL:
    """The task of an arm: a small network and a small text tower, both from random values."""
    backbone = TimmBackbone(
        "resnet18", size=SIZE, tokens=True, token_block=2, mean=MEAN, std=STD, model_args=NET
    )
    head = partial(ProcessHead, space=SPACE, attention_heads=4, scores=scores)
    bridge = partial(
        ProcessBridge,
        text={"model_name": "affectkit-tiny", "trainable": 2},
        texts={one.name: TEXTS[one.name] for one in SEEN},
        near=1.0,
        control=control,
    )
    temporal = partial(ClipTokenTransformer, heads=2, head_width=32)
    return FGSGL(backbone, {"expression": head}, temporal, bridge, lr=lr, weight_decay=0.01)


def train(task: FGSGL, clips: Clips, seed: int, options: argparse.Namespace) -> None:
    """Train a task; the batches depend on the seed alone."""
    data = Memory(clips)
    sampler = ReplaySampler(data, batch_size=options.batch, steps_per_epoch=options.steps, seed=seed)
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = Trainer(accelerator="cpu", max_epochs=1, gradient_clip_val=1.0, limit_val_batches=0, **quiet)
    trainer.fit(
        task, DataLoader(data, batch_size=options.batch, sampler=sampler, collate_fn=lambda batch: batch)
    )
    task.eval()


def shares(right: Tensor) -> float:
    """Mean of a bool tensor."""
    return right.double().mean().item()


@torch.no_grad()
def measure(task: FGSGL, test: Clips, new: Sequence[Movement]) -> dict[str, float]:
    """All numbers of a trained task; clips of the classes `new` come after those of `SEEN`."""
    head: ProcessHead = task.heads["expression"]  # type: ignore[assignment]
    features = [task.model.features(part) for part in test.frames.split(64)]
    movements = [*SEEN, *new]
    texts = {one.name: "; ".join(TEXTS[one.name]) for one in movements}
    every = torch.stack(list(task.bridge.encode_classes("expression", texts).values()))
    seen = test.classes < len(SEEN)
    logits = torch.cat([head(part) for part in features])
    found = closeness(logits[seen], test.classes[seen])
    for part, name in enumerate(PROCESS_PARTS):
        right = []
        for first, second, differs in PAIRS:
            if differs == part:
                chosen = (test.classes == first) | (test.classes == second)
                guess = logits[chosen][:, [first, second]].argmax(dim=1)
                right.append(shares(guess == (test.classes[chosen] == second)))
        found[f"pair_{name}"] = sum(right) / len(right)
    both = [head.outputs(part, every) for part in features]
    scores = torch.cat([head.mixed(one.fine) if one.fine is not None else one.category for one in both])[
        ~seen
    ]
    truth = test.classes[~seen]
    found["new_all"] = shares(scores.argmax(dim=1) == truth)
    found["new_top1"] = shares(scores[:, len(SEEN) :].argmax(dim=1) + len(SEEN) == truth)
    if head.fine is not None:
        fine = torch.cat([one.fine for one in both if one.fine is not None])[~seen]
        for part, name in enumerate(PROCESS_PARTS):
            sentences = [TEXTS[one.name][part] for one in movements]
            guesses = fine[:, part].argmax(dim=1).tolist()
            right = [sentences[g] == sentences[t] for g, t in zip(guesses, truth.tolist(), strict=True)]
            found[f"new_{name}"] = sum(right) / len(right)
        found["attention"] = attention_hits(head, features, [movements[k] for k in test.classes.tolist()])
    return found


def closeness(logits: Tensor, truth: Tensor) -> dict[str, float]:
    """Top-1, and shares of clips taken for a class that differs in one part, or in more."""
    differing = torch.tensor(
        [[sum(a != b for a, b in zip(TEXTS[x.name], TEXTS[y.name], strict=True)) for y in SEEN] for x in SEEN]
    )
    wrong = differing[truth, logits.argmax(dim=1)]
    return {"top1": shares(wrong == 0), "near_error": shares(wrong == 1), "far_error": shares(wrong > 1)}


def attention_hits(head: ProcessHead, features: Sequence[Features], movements: Sequence[Movement]) -> float:
    """Attention of the first query within the quarter of the picture that moves, mean over clips."""
    maps = [head.outputs(part).attention for part in features]
    where = torch.cat([one[:, 0].sum(dim=1) for one in maps if one is not None])
    grid = round(where.shape[-1] ** 0.5)
    cells = where.unflatten(-1, (grid, grid))
    half = grid // 2
    hits = []
    for cell, one in zip(cells, movements, strict=True):
        rows = slice(0, half) if one.region == "brows" else slice(half, grid)
        columns = slice(half, grid) if one.side == "left" else slice(0, half)  # the person faces the camera
        hits.append(float(cell[rows, columns].sum()))
    return sum(hits) / len(hits)


def run(arm: str, seed: int, clips: Clips, test: Clips, options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure an arm; all values are plain."""
    _, scores, control = ARMS[arm]
    seed_everything(seed, verbose=False)
    task = make_task(scores, control, options.lr)
    began = time.process_time()
    train(task, clips, seed, options)
    return {"seconds": time.process_time() - began, **measure(task, test, new_classes(seed))}


COLUMNS = {
    "top1": "top-1", "near_error": "near errors", "far_error": "far errors",
    **{f"pair_{part}": f"pairs by {part}" for part in PROCESS_PARTS},
    "new_top1": "new classes, among four", "new_all": "new classes, among nineteen",
    **{f"new_{part}": f"new classes, {part}" for part in PROCESS_PARTS},
    "attention": "attention in the quarter", "seconds": "CPU seconds",
}  # fmt: skip
CHANCE = {
    "top1": 1 / len(SEEN), "new_top1": 1 / NUM_NEW, "new_all": 1 / (len(SEEN) + NUM_NEW), "attention": 0.25,
    **{f"pair_{part}": 0.5 for part in PROCESS_PARTS},
    **{f"new_{part}": 1 / len({texts[k] for texts in TEXTS.values()}) for k, part in enumerate(PROCESS_PARTS)},
}  # fmt: skip


def table(runs: dict[str, dict[int, dict[str, float]]]) -> str:
    """Markdown: one row for each number and arm, with its interval over seeds and the gain of the first arm."""
    lines = ["| number | arm | mean | FG-SGL minus it | chance | seeds |", "|---|---|---|---|---|---|"]
    first = next(iter(ARMS))
    for column, title in COLUMNS.items():
        for arm, by_seed in runs.items():
            values = {seed: found[column] for seed, found in by_seed.items() if column in found}
            if values:
                shared = [seed for seed in values if column in runs.get(first, {}).get(seed, {})]
                gain = [runs[first][seed][column] - values[seed] for seed in shared]
                shown = "" if arm == first or not gain else _show(interval(gain), "+")
                mean = _show(interval(list(values.values())))
                chance = f"{CHANCE[column]:.3f}" if column in CHANCE else ""
                lines.append(f"| {title} | {ARMS[arm][0]} | {mean} | {shown} | {chance} | {len(values)} |")
    return "\n".join(lines)


def _show(found: tuple[float, float, float], sign: str = "") -> str:
    mean, low, high = found
    return f"{mean:{sign}.3f}" if low != low else f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the arms over the seeds, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/fgsgl_claims"), help="folder of the results")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--steps", type=int, default=350)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--people", type=int, default=50, help="people of the training clips")
    parser.add_argument("--test-people", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a rehearsal; its numbers mean nothing")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.steps, options.people, options.test_people = options.seeds[:1], 4, 2, 2
    names = ("steps", "batch", "lr", "people", "test_people")
    folder = options.runs / "-".join(f"{name}{getattr(options, name)}" for name in names)
    folder.mkdir(parents=True, exist_ok=True)
    runs: dict[str, dict[int, dict[str, float]]] = {arm: {} for arm in options.arms}
    for seed in options.seeds:
        paths = {arm: folder / f"{arm}-{seed}.json" for arm in options.arms}
        waiting = [arm for arm, path in paths.items() if not path.is_file()]
        if waiting:
            clips = make_clips(seed, SEEN, range(options.people))
            others = range(options.people, options.people + options.test_people)
            test = make_clips(seed, (*SEEN, *new_classes(seed)), others)
        for arm in waiting:
            found = run(arm, seed, clips, test, options)
            unfinished = paths[arm].with_suffix(".partial")
            unfinished.write_text(json.dumps(found, indent=1), encoding="utf-8")
            unfinished.replace(paths[arm])
            print(f"{arm}, seed {seed}: {found['seconds']:.0f} CPU seconds", flush=True)
        for arm, path in paths.items():
            runs[arm][seed] = json.loads(path.read_text(encoding="utf-8"))
    print(table(runs))


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*but have no `val_dataloader`.*")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed", "affectkit"):
        logging.getLogger(name).setLevel(logging.ERROR)
    main()
