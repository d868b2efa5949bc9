"""Does test-time training help when the recording conditions change? AU-TTT on rendered faces in two domains.

    python benchmarks/studies/au_ttt_claim.py [--runs runs/studies/au_ttt_claim] [--seeds 5] [--quick]

Models learn units from people in the studio and are tested on other people, in the studio and, with the same movements,
before a webcam. Every seed has its own people, initial weights and draws. Arms: AU-TTT; the same model with its inner
steps off at test; a model trained without inner steps; one without the scan of regions; softmax attention with as many
parameters, as it is, adapted by TENT, and by T3A. The last two see the test pictures without labels. Thresholds are
those that maximise F1 on the validation people of the studio, for each arm. Intervals are percentile bootstraps over
seeds and, within them, over people, paired over arms and domains. A second table tells whether AU-TTT looks where a
unit is, and whether its inner models learn. A finished seed is a JSON file and is not run again.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from au_ttt_probes import inner_loss, masked_scores, peaks_near
from comparison import interval
from torch import Tensor, nn

from affectkit.data import AllFrames, collate
from affectkit.datasets import RenderedDataset
from affectkit.losses import DiceLoss, inverse_frequency_weights
from affectkit.methods.au_ttt import AUTTTBackbone, AUTTTHead, HeatMapLoss, MDWALoss, difficulty
from affectkit.models import AffectModel
from affectkit.synth import render_corpus

UNITS = "AU1,AU4,AU6,AU12,AU17,AU25"
DOMAINS = ("studio", "webcam")
ARMS = {
    "ttt": "AU-TTT",
    "off": "AU-TTT, inner steps off at test",
    "never": "trained and tested without inner steps",
    "no_roi": "without the scan of regions",
    "attention": "attention of equal size",
    "tent": "attention of equal size, TENT",
    "t3a": "attention of equal size, T3A",
}

REGIONAL = ("ttt", "no_roi")


@dataclass(frozen=True)
class Setup:
    """Corpus, model and training."""

    people: int = 150
    clips: int = 7
    frames: int = 4
    size: int = 48
    width: int = 48
    depth: int = 2
    steps: int = 250
    batch: int = 32
    lr: float = 2e-3


@dataclass(frozen=True)
class Pictures:
    """Labelled frames: pictures uint8 [N, 3, S, S], landmarks [N, 68, 2], labels [N, A], and the person of each [N]."""

    frames: Tensor
    landmarks: Tensor
    labels: Tensor
    people: Tensor

    def inputs(self, rows: Tensor) -> dict[str, Tensor]:
        """Arguments of `AffectModel.features`: every frame is a clip."""
        return {"frames": self.frames[rows, None], "landmarks": self.landmarks[rows, None]}

    def batches(self, size: int) -> tuple[Tensor, ...]:
        """All rows, in a fixed random order that mixes people."""
        return torch.randperm(len(self.frames), generator=torch.Generator().manual_seed(0)).split(size)


def read(root: Path, split: str) -> Pictures:
    """Read all frames of a split."""
    dataset = RenderedDataset(root, split=split, sampler=AllFrames())
    clips = collate([dataset[index] for index in range(len(dataset))])
    assert clips.landmarks is not None
    labels = clips.targets["au"].project(UNITS).value
    people = clips.subject[:, None].expand(labels.shape[:2])
    return Pictures(*(one.flatten(0, 1) for one in (clips.frames, clips.landmarks, labels, people)))


def make_model(setup: Setup, arm: str, hidden: int | None = None) -> AffectModel:
    """An untrained model."""
    options: dict[str, Any] = (
        {"scan": "attention", "roi": False}
        if arm == "attention"
        else {"inner": arm != "never", "roi": arm != "no_roi"}
    )
    backbone = AUTTTBackbone(
        UNITS,
        size=setup.size,
        patch=8,
        width=setup.width,
        depth=setup.depth,
        heads=2,
        hidden=hidden or 2 * setup.width,
        **options,
    )
    return AffectModel(backbone, {"au": AUTTTHead(setup.width, UNITS)})


def count(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def equal_hidden(setup: Setup) -> int:
    """Hidden width of the attention model's MLPs that gives it the parameters of AU-TTT."""
    wanted = count(make_model(setup, "ttt"))
    return min(
        range(setup.width, 16 * setup.width),
        key=lambda h: abs(count(make_model(setup, "attention", h)) - wanted),
    )


def train(setup: Setup, model: AffectModel, data: Pictures, seed: int) -> None:
    """Train with the losses of AU-TTT; the rate rises and falls once."""
    rates = data.labels.mean(dim=0)
    mdwa, dice, maps = MDWALoss(), DiceLoss(), HeatMapLoss()
    mdwa.weight = dice.weight = torch.tensor(inverse_frequency_weights(rates.tolist()))
    mdwa.gamma_neg = difficulty(rates)
    optimizer = torch.optim.AdamW(model.parameters(), lr=setup.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, setup.lr, total_steps=setup.steps, pct_start=0.1
    )
    draw = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(setup.steps):
        rows = torch.randint(len(data.frames), (setup.batch,), generator=draw)
        out = model.head("au").outputs(model.features(**data.inputs(rows)))  # type: ignore[attr-defined]
        labels = data.labels[rows]
        known = torch.ones_like(labels, dtype=torch.bool)
        terms = [loss(out.logits[:, 0], labels, known) for loss in (mdwa, dice)]
        terms.append(maps(out.maps[:, 0], out.heat[:, 0], labels, known))
        optimizer.zero_grad()
        torch.stack([total / number for total, number in terms]).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


Scorer = Callable[[AffectModel, Pictures], Tensor]


@torch.inference_mode()
def plain(model: AffectModel, data: Pictures) -> Tensor:
    """Logits [N, A]."""
    scores = torch.empty_like(data.labels)
    for rows in data.batches(128):
        scores[rows] = model(**data.inputs(rows))["au"][:, 0]
    return scores


def tent(model: AffectModel, data: Pictures) -> Tensor:
    """Logits [N, A] of a copy that lowers the entropy of each test batch by its layer norms, one step each, online.

    D. Wang et al., "Tent: Fully Test-Time Adaptation by Entropy Minimization", ICLR 2021, with the entropy of each unit
    and layer norms in place of batch norms.
    """
    model = copy.deepcopy(model).requires_grad_(False)
    norms = [part for part in model.modules() if isinstance(part, nn.LayerNorm)]
    optimizer = torch.optim.Adam([p.requires_grad_() for part in norms for p in part.parameters()], lr=1e-3)
    scores = torch.empty_like(data.labels)
    for rows in data.batches(64):
        logits = model(**data.inputs(rows))["au"][:, 0]
        scores[rows] = logits.detach()
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(logits, logits.sigmoid()).backward()
        optimizer.step()
    return scores


@torch.inference_mode()
def t3a(model: AffectModel, data: Pictures, kept: int = 50) -> Tensor:
    """Scores [N, A] by the cosine to templates of active and inactive, from the weights and the surest test pictures.

    Y. Iwasawa and Y. Matsuo, "Test-Time Classifier Adjustment Module for Model-Agnostic Domain Generalization", NeurIPS
    2021, per unit and with all test pictures at once.
    """
    head = model.head("au")
    seen: list[Tensor] = []
    hook = head.body.register_forward_hook(lambda *call: seen.append(call[2][:, 0]))
    rows = torch.cat(data.batches(128))
    logits = torch.cat([model(**data.inputs(part))["au"][:, 0] for part in rows.split(128)])
    hook.remove()
    vectors = nn.functional.normalize(torch.cat(seen), dim=-1)
    scores = torch.empty_like(logits)
    for unit, weight in enumerate(nn.functional.normalize(head.out.weight, dim=-1)):
        order, own = logits[:, unit].argsort(), vectors[:, unit]
        active, absent = order[-kept:], order[:kept]
        templates = [
            torch.cat([sign * weight[None], own[chosen[logits[chosen, unit] * sign > 0]]]).mean(dim=0)
            for sign, chosen in ((1, active), (-1, absent))
        ]
        scores[:, unit] = own @ nn.functional.normalize(templates[0], dim=0)
        scores[:, unit] -= own @ nn.functional.normalize(templates[1], dim=0)
    found = torch.empty_like(scores)
    found[rows] = scores
    return found


def best_thresholds(scores: Tensor, labels: Tensor) -> Tensor:
    """Score [A] from which a unit counts as active, with the highest F1."""
    order = scores.sort(dim=0, descending=True)
    hits = labels.gather(0, order.indices).cumsum(dim=0)
    chosen = torch.arange(1, len(scores) + 1)[:, None]
    best = (2 * hits / (chosen + labels.sum(dim=0))).argmax(dim=0)
    return order.values.gather(0, best[None])[0]


def outcomes(scores: Tensor, data: Pictures, thresholds: Tensor) -> list[Any]:
    """True positives, false positives and misses [people, A, 3]."""
    active, labels = scores >= thresholds, data.labels.bool()
    each = torch.stack([active & labels, active & ~labels, ~active & labels], dim=-1).long()
    people = int(data.people.max()) + 1
    return torch.zeros(people, *each.shape[1:], dtype=torch.long).index_add(0, data.people, each).tolist()


def run_seed(setup: Setup, folder: Path, seed: int) -> dict[str, Any]:
    """Render, train all models and test all arms."""
    roots = {domain: folder / f"{domain}-{seed}-{setup.people}" for domain in DOMAINS}
    for domain, root in roots.items():
        render_corpus(
            root,
            identities=setup.people,
            clips=setup.clips,
            frames_per_clip=setup.frames,
            size=setup.size,
            seed=700_000 + seed,
            test=0.3,
            domain=domain,
            num_workers=1,
            progress=False,
        )
    training, chosen = read(roots["studio"], "train"), read(roots["studio"], "val")
    tested = {domain: read(root, "test") for domain, root in roots.items()}
    models: dict[str, AffectModel] = {}
    hidden = equal_hidden(setup)
    for name in ("ttt", "never", "no_roi", "attention"):
        torch.manual_seed(seed)
        models[name] = make_model(setup, name, hidden if name == "attention" else None)
        train(setup, models[name], training, seed)
    off = copy.deepcopy(models["ttt"])
    off.backbone.take_inner_steps(False)
    arms: dict[str, tuple[AffectModel, Scorer]] = {
        **{name: (model, plain) for name, model in {**models, "off": off}.items()},
        "tent": (models["attention"], tent),
        "t3a": (models["attention"], t3a),
    }
    found: dict[str, Any] = {"parameters": {name: count(model) for name, model in models.items()}}
    for name, (model, score) in arms.items():
        thresholds = best_thresholds(score(model, chosen), chosen.labels)
        start = time.process_time()
        scores = {domain: score(model, data) for domain, data in tested.items()}
        seconds = (time.process_time() - start) / sum(len(data.frames) for data in tested.values())
        found[name] = {"milliseconds": 1000 * seconds} | {
            domain: outcomes(scores[domain], data, thresholds) for domain, data in tested.items()
        }
        if name in REGIONAL:
            studio = tested["studio"]
            found[name]["masked"] = outcomes(masked_scores(model, studio, score), studio, thresholds)
            found[name]["peaks"] = peaks_near(model, studio)
            found[name]["inner"] = inner_loss(model, studio)
    everything = {
        domain: outcomes(torch.ones_like(data.labels), data, torch.zeros(()))
        for domain, data in tested.items()
    }
    return {**found, "trivial": everything}


def mean_f1(counts: np.ndarray[Any, Any]) -> float:
    """Mean F1 over units of counts [people, A, 3]."""
    hits, false, missed = np.moveaxis(counts.sum(axis=0), -1, 0)
    return float((2 * hits / np.maximum(2 * hits + false + missed, 1)).mean())


def quantities(runs: list[dict[str, Any]], people: list[np.ndarray[Any, Any]]) -> dict[str, float]:
    """All numbers of the tables, averaged over seeds, for a choice of people of each."""
    rows = []
    for run, chosen in zip(runs, people, strict=True):
        row: dict[str, float] = {}
        for arm in ARMS:
            for domain in DOMAINS:
                row[f"{arm}/{domain}"] = mean_f1(run[arm][domain][chosen])
            row[f"{arm}/drop"] = row[f"{arm}/studio"] - row[f"{arm}/webcam"]
        for arm in ARMS:
            row[f"{arm}/more"] = row[f"{arm}/drop"] - row["ttt/drop"]
            row[f"{arm}/webcam_less"] = row["ttt/webcam"] - row[f"{arm}/webcam"]
        rows.append(row)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def summarise(runs: list[dict[str, Any]], draws: int = 1000) -> dict[str, tuple[float, float, float]]:
    """Each number with its 95 % interval over seeds and people."""
    rng = np.random.default_rng(0)
    runs = [{arm: {domain: np.array(run[arm][domain]) for domain in DOMAINS} for arm in ARMS} for run in runs]
    sizes = [len(run["ttt"]["studio"]) for run in runs]
    centre = quantities(runs, [np.arange(size) for size in sizes])
    drawn = []
    for _ in range(draws):
        seeds = rng.integers(len(runs), size=len(runs))
        people = [rng.integers(sizes[seed], size=sizes[seed]) for seed in seeds]
        drawn.append(quantities([runs[seed] for seed in seeds], people))
    return {
        key: (value, *np.percentile([row[key] for row in drawn], [2.5, 97.5]).tolist())
        for key, value in centre.items()
    }


def as_markdown(runs: list[dict[str, Any]]) -> str:
    """The table."""
    numbers = summarise(runs)
    cost = {arm: float(np.median([run[arm]["milliseconds"] for run in runs])) for arm in ARMS}

    def cell(key: str, sign: str = "") -> str:
        value, low, high = numbers[key]
        return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"

    text = (
        "| arm | F1, studio | F1, webcam | drop | its drop minus that of AU-TTT | AU-TTT minus it, webcam "
        "| cost of a picture |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
    )
    for arm, title in ARMS.items():
        against = ["", ""] if arm == "ttt" else [cell(f"{arm}/more", "+"), cell(f"{arm}/webcam_less", "+")]
        cells = [cell(f"{arm}/{column}") for column in (*DOMAINS, "drop")]
        ratio = f"{cost[arm] / cost['attention']:.1f}"
        text += f"| {' | '.join([title, *cells, *against, ratio])} |\n"
    trivial = [
        f"{np.mean([mean_f1(np.array(run['trivial'][domain])) for run in runs]):.3f}" for domain in DOMAINS
    ]
    sizes = {name: f"{number:,}" for name, number in runs[0]["parameters"].items()}
    return (
        f"{text}| all units active | {' | '.join(trivial)} |  |  |  |  |\n\n{len(runs)} seeds; parameters: AU-TTT "
        f"{sizes['ttt']}, attention {sizes['attention']}.\n"
    )


def probes_as_markdown(runs: list[dict[str, Any]]) -> str:
    """The table of where the models look; intervals are over seeds."""
    text = (
        "| model | F1, studio | only the unit's region | drop | peak of the heat map near the unit | by chance "
        "| inner loss before | after |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    for arm in REGIONAL:
        columns = []
        for run in runs:
            whole, part = (mean_f1(np.array(run[arm][key])) for key in ("studio", "masked"))
            columns.append([whole, part, whole - part, *run[arm]["peaks"], *run[arm]["inner"]])
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*interval(column)) for column in zip(*columns, strict=True)]
        text += f"| {ARMS[arm]} | {' | '.join(cells)} |\n"
    return text


def main() -> None:
    """Run what is missing, and write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/studies/au_ttt_claim"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="a rehearsal in a minute; its numbers mean nothing"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    setup = Setup(people=8, clips=2, steps=3, batch=4) if options.quick else Setup()
    options.runs.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in range(options.seeds):
        path = options.runs / f"{'quick-' if options.quick else ''}{seed}.json"
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if content is None or content["setup"] != asdict(setup):
            content = {"setup": asdict(setup), **run_seed(setup, options.runs, seed)}
            path.write_text(json.dumps(content) + "\n", encoding="utf-8")
        runs.append(content)
        print(f"seed {seed}: done", flush=True)
    text = f"{as_markdown(runs)}\n{probes_as_markdown(runs)}"
    (options.runs / "au_ttt_claim.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
