"""What captions teach: `python benchmarks/studies/emocap_claims.py --data FOLDER --output FILE`.

Trains the tiny towers of the recipe `caption/emocap_rendered` on rendered faces with six freely combined units, and
tests on other people. Two pairs of units (4 and 12, 1 and 9) never occur together in training. Claims:

- composition: text retrieval (R@5) for clips that show an unseen pair;
- wordings: text retrieval (R@5) by summaries in wordings of training, and in held-out ones;
- units: AUC of a summary with a unit against one without, though no label of a unit was given;
- regions: of two clips that differ in one region, how often its captions go to the right clips, by patches (local), and
  by the whole face with its whole captions (global);
- mining: mean average precision (mAP) over clips of equal units, with and without mined positives; also with training
  draws of which 30 % show one state (planted false negatives); and the share of mined pairs with equal units.

The default is a rehearsal of a minute, whose numbers mean nothing; `--full` makes the table of the documentation, with
four runs for each seed, about two minutes of an idle core each. Intervals are over people of the test set, for the mean
of all seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor
from torch.nn import functional as F

from affectkit.cli.lightning import build_part
from affectkit.cli.quiet import quietly
from affectkit.data import HELD_OUT, ClipRecord, UniformSegments, WriteCaptions, collate
from affectkit.data.transforms import CenterCrop, Compose, HorizontalFlip, RandomCrop
from affectkit.datamodules import SingleDataModule
from affectkit.datasets.rendered import RenderedDataset
from affectkit.facs import EXPRESSION_SETS, AUSet, write_captions
from affectkit.losses import SoftContrast
from affectkit.methods.emocapclip import FacePatches, clip_vectors
from affectkit.methods.emocapclip.retrieval import text_ids
from affectkit.metrics import AUMetrics, Estimate, Tally, estimate, retrieval_ranks
from affectkit.synth import render_corpus

UNITS = (1, 4, 6, 9, 12, 25)
REGIONS = {"brows": (1, 4), "cheeks": (6,), "nose": (9,), "mouth": (12, 25)}
UNSEEN = ((4, 12), (1, 9))
RATE, PLANTED = 0.35, 0.3
RENDER = {"identities": 160, "clips": 10, "frames_per_clip": 4, "size": 80, "seed": 51, "test": 0.3}
VARIANTS = {  # mining, planted false negatives
    "mining": ("other", False),
    "no mining": ("off", False),
    "mining, planted": ("other", True),
    "no mining, planted": ("off", True),
}
State = tuple[int, ...]


class Faces(RenderedDataset):
    """Rendered faces; in training without the unseen pairs, and with one state more often if `planted`."""

    def __init__(self, root: Path, *, planted: bool = False, **options: Any) -> None:
        self.planted = planted
        super().__init__(root, **options)

    def state(self, record: ClipRecord) -> State:
        """The units that the middle frame shows, at which a clip is evaluated."""
        target = super().labels(record, [record.start + (record.num_frames or 1) // 2])["au"]
        return tuple(unit for unit in UNITS if target.value[0, self.units.labels.index(f"AU{unit}")])

    def records(self) -> list[ClipRecord]:
        """See `RenderedDataset`."""
        records = super().records()
        if self.split != "train":
            return records
        states = {record.clip: self.shown(record) for record in records}
        records = [r for r in records if not any(set(pair) <= set(states[r.clip]) for pair in UNSEEN)]
        if not self.planted:
            return records
        (often, number), *_ = Counter(states[r.clip] for r in records if states[r.clip]).most_common(1)
        copies = round(PLANTED / (1 - PLANTED) * (len(records) - number))
        same = [record for record in records if states[record.clip] == often]
        return [
            *(r for r in records if states[r.clip] != often),
            *itertools.islice(itertools.cycle(same), copies),
        ]

    def shown(self, record: ClipRecord) -> State:
        """The units that any frame shows."""
        value = super().labels(record, range(record.num_frames or 1))["au"].value.amax(0)
        return tuple(unit for unit in UNITS if value[self.units.labels.index(f"AU{unit}")])


class FacesData(SingleDataModule):
    """The faces behind Lightning's loaders, with captions."""

    def __init__(self, root: Path, *, planted: bool, **options: Any) -> None:
        super().__init__(**options)
        self.root, self.planted = root, planted

    def make_dataset(self, split: Any) -> Faces:
        """See `SingleDataModule`."""
        training = split == "train"
        crops = [CenterCrop(72), RandomCrop(64), HorizontalFlip()] if training else [CenterCrop(64)]
        return Faces(
            self.root,
            planted=self.planted and training,
            split=split,
            sampler=UniformSegments(1),
            transform=Compose([*crops, WriteCaptions()]),
            targets=["intensity"],
            cache="memory",
        )


def train(root: Path, folder: Path, *, guide: str, planted: bool, seed: int, steps: int) -> Any:
    """Train the task of the recipe on these faces."""
    seed_everything(seed, verbose=False)
    options = [f"--model.guide={guide}", "--model.mining_from=2"]
    task = build_part(["--config", "caption/emocap_rendered", *options], "model")
    data = FacesData(root, planted=planted, batch_size=64, steps_per_epoch=steps // 10, seed=seed)
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=10,
        limit_val_batches=0,
        gradient_clip_val=1.0,
        default_root_dir=folder,
        **quiet,
    )
    trainer.fit(task, datamodule=data)
    return task.eval()


@torch.no_grad()
def measure(task: Any, dataset: Faces) -> dict[str, Tensor]:
    """Sums per person, [people, 2]: right answers and questions, by claim; for units, scores and labels."""
    clips = [dataset[i] for i in range(len(dataset))]
    batches = [collate(clips[i : i + 64]) for i in range(0, len(clips), 64)]
    found = [task.model.features(batch.frames) for batch in batches]
    v = torch.cat([clip_vectors(features) for features in found])
    pieces = [FacePatches.of(features) for features in found]
    patches = FacePatches(torch.cat([p.vectors for p in pieces]), torch.cat([p.mask for p in pieces]))
    encode = task.model.bridge.encode_captions
    texts = {part: encode([clip.captions[part] for clip in clips]) for part in clips[0].captions}
    states = [dataset.state(record) for record in dataset.clips]
    person = torch.tensor([clip.subject for clip in clips])
    people = int(person.max()) + 1

    def sums(values: Tensor, rows: Sequence[int] | Tensor) -> Tensor:
        columns = torch.stack([values.double(), torch.ones(len(values), dtype=torch.float64)], dim=1)
        return torch.zeros(people, 2, dtype=torch.float64).index_add_(0, person[rows], columns)

    result: dict[str, Tensor] = {}
    own = torch.arange(len(clips))
    unseen = torch.tensor([any(set(pair) <= set(state) for pair in UNSEEN) for state in states])
    for name, part in (("usual", "summary"), ("new", f"{HELD_OUT}summary")):
        ranks, _ = retrieval_ranks(v @ texts[part].T, own)
        result[f"wording, {name}"] = sums(ranks <= 5, own)
        if name == "usual":
            result["composition, unseen pairs"] = sums(ranks[unseen] <= 5, own[unseen])
            result["composition, other clips"] = sums(ranks[~unseen] <= 5, own[~unseen])

    answers: dict[str, list[tuple[int, float]]] = {"local": [], "global": []}
    for region, units in REGIONS.items():
        scores = patches.scores(texts[region], task.focus)
        whole = v @ texts["summary"].T + v @ texts["global"].T
        for a, b in itertools.combinations(range(len(clips)), 2):
            differ = set(states[a]) ^ set(states[b])
            if differ and differ <= set(units):
                for name, s in (("local", scores), ("global", whole)):
                    answers[name].append((a, float(s[a, a] + s[b, b] > s[a, b] + s[b, a])))
    for name, pairs in answers.items():
        rows, right = zip(*pairs, strict=True)
        result[f"regions, {name}"] = sums(torch.tensor(right), torch.tensor(rows))

    equal = torch.tensor([[a == b for b in states] for a in states])
    queries = equal.sum(1) > 1
    result["mAP"] = sums(average_precision(v @ texts["summary"].T, equal)[queries], own[queries])
    loss = SoftContrast(guide="other")
    ids = text_ids([clip.captions["summary"] for clip in clips])
    targets = loss.targets(texts["summary"] @ texts["summary"].T, ids[:, None] != ids)
    query, mined = ((targets > 0) & ~torch.eye(len(clips), dtype=torch.bool)).nonzero(as_tuple=True)
    result["mined pairs of equal units"] = sums(equal[query, mined], query)

    result["units"] = torch.stack([unit_scores(encode, v, unit) for unit in UNITS], dim=1)
    result["shown"] = torch.tensor([[float(unit in state) for unit in UNITS] for state in states])
    result["person"] = person
    return result


def average_precision(scores: Tensor, relevant: Tensor) -> Tensor:
    """Average precision of every query but itself, [N]."""
    keep = ~torch.eye(len(scores), dtype=torch.bool)
    order = scores.masked_fill(~keep, -torch.inf).argsort(dim=1, descending=True)[:, :-1]
    right = relevant.gather(1, order).double()
    precision = right.cumsum(1) / torch.arange(1, right.shape[1] + 1)
    return (precision * right).sum(1) / right.sum(1).clamp(min=1)


def unit_scores(encode: Callable[[list[str]], Tensor], v: Tensor, unit: int) -> Tensor:
    """How much closer clips are to summaries with a unit than to those without, [N]."""
    known = {f"AU{one}": 0.0 for one in UNITS}
    texts = [
        [write_captions({**known, f"AU{unit}": value}, Random(k))["summary"] for k in range(8)]
        for value in (4.0, 0.0)
    ]
    with_it, without = (F.normalize(encode(one).mean(0), dim=0) for one in texts)
    return v @ (with_it - without)


def shares(tables: Sequence[Tensor], baseline: Sequence[Tensor] | None = None) -> Estimate:
    """Share of right answers over all seeds, or its difference to another share of the same people."""
    both = torch.cat([sum(tables), sum(baseline if baseline is not None else tables)], dim=1)  # type: ignore[arg-type]

    def result(total: Tensor, _: Tensor | None) -> dict[str, Tensor]:
        value = total[:, 0] / total[:, 1]
        return {"value": value if baseline is None else value - total[:, 2] / total[:, 3]}

    tally = Tally(("value",), both, result, ranges={"value": (0.0 if baseline is None else -1.0, 1.0)})
    return estimate(tally.observed())["value"]


def auc(runs: Sequence[dict[str, Tensor]]) -> Estimate:
    """Mean AUC of the units; scores of all seeds are averaged after standardisation."""
    scores = sum((run["units"] - run["units"].mean(0)) / run["units"].std(0) for run in runs)
    shown, person = runs[0]["shown"], runs[0]["person"]
    metric = AUMetrics(AUSet.of(*UNITS).labels, int(person.max()) + 1)
    metric.update(scores, shown, torch.ones_like(shown, dtype=torch.bool), person)  # type: ignore[arg-type]
    return estimate(metric.tally())["auc"]


def rows_of(runs: dict[str, list[dict[str, Tensor]]]) -> list[tuple[str, Estimate, str]]:
    """Rows of the table: claim, value with interval, and what it is compared with."""
    usual = runs["mining"]
    n = len(usual[0]["person"])

    def of(name: str, variant: str = "mining") -> list[Tensor]:
        return [run[name] for run in runs[variant]]

    chance = f"chance {5 / n:.3f}"
    rows = [
        ("composition: R@5 of clips with an unseen pair", shares(of("composition, unseen pairs")), chance),
        ("composition: R@5 of all other clips", shares(of("composition, other clips")), chance),
        ("wordings: R@5 in those of training", shares(of("wording, usual")), chance),
        ("wordings: R@5 in held-out ones", shares(of("wording, new")), chance),
        ("units: mean AUC without labels", auc(usual), "chance 0.5"),
        ("regions: right by local captions", shares(of("regions, local")), "chance 0.5"),
        ("regions: right by whole captions", shares(of("regions, global")), "chance 0.5"),
        ("regions: local minus whole", shares(of("regions, local"), of("regions, global")), "0"),
        (
            "mining: equal units among mined pairs",
            shares(of("mined pairs of equal units")),
            "claim: over 0.8",
        ),
    ]
    for name, with_it, without in (
        ("mining: gain of mAP", "mining", "no mining"),
        ("mining: gain of mAP, planted", "mining, planted", "no mining, planted"),
    ):
        rows.append((name, shares(of("mAP", with_it), of("mAP", without)), "0"))
        rows.append((f"mAP: {without}", shares(of("mAP", without)), ""))
    return rows


def main() -> None:
    """Train, test, and print the table as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("runs/emocap-claims"), help="folder of the faces")
    parser.add_argument("--output", type=Path, help="table as JSON")
    parser.add_argument("--full", action="store_true", help="the table of the documentation")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: 5, in a rehearsal 1)")
    options = parser.parse_args()
    seeds = options.seeds or (5 if options.full else 1)
    steps, size = (250, {}) if options.full else (10, {"identities": 24, "clips": 6})
    rate = {f"AU{unit}": RATE for unit in UNITS}
    table = dict.fromkeys(EXPRESSION_SETS["basic7"].labels, rate)
    render_corpus(options.data, association=table, independent=0.0, **{**RENDER, **size})
    sampler, crop = UniformSegments(1), Compose([CenterCrop(64), WriteCaptions()])
    test = Faces(options.data, split="test", sampler=sampler, transform=crop, targets=["intensity"])
    runs: dict[str, list[dict[str, Tensor]]] = {}
    build = partial(train, options.data, options.data, steps=steps)
    for seed, variant in itertools.product(range(seeds), VARIANTS):
        guide, planted = VARIANTS[variant]
        with quietly():
            task = build(guide=guide, planted=planted, seed=seed)
        runs.setdefault(variant, []).append(measure(task, test))
        print(f"seed {seed}, {variant}: finished", flush=True)
    rows = rows_of(runs)
    print(f"\n{len(test)} test clips of {len(test.subjects)} people, {seeds} seeds, {steps} steps\n")
    print("| claim | value [95 % interval over people] | compared with |\n|---|---|---|")
    for name, value, other in rows:
        print(f"| {name} | {value.value:.3f} [{value.low:.3f}, {value.high:.3f}] | {other} |")
    if options.output:
        content = [
            {"claim": n, "value": v.value, "ci": [v.low, v.high], "compared_with": o} for n, v, o in rows
        ]
        options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
