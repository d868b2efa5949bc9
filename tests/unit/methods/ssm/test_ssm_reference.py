"""All of SSM, from frame embeddings to the balanced loss and its gradients, against the equations in plain loops.

Given are only what the two towers of a CLIP make of pictures and of token vectors. The reference is in double
precision and calls no affectkit code.
"""

from __future__ import annotations

import copy
import math
import random
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from affectkit.data import Clip, ClipMixup, Target, collate
from affectkit.losses import LossBalancer, MaskedBCE, MaskedCrossEntropy, ramp
from affectkit.models import AffectModel

SMALL = {"heads": 2, "head_width": 5, "max_frames": 4}
UNITS = ["cheek raiser", "lip corner puller", "lip corner depressor", "lip presser"]
TEXTS = [
    "happiness, cheek raiser, lip corner puller",
    "sadness, inner brow raiser, brow lowerer, lip corner depressor",
    "neutral, no active AUs",
]
PRIOR = [[1.00, 1.00, 0.02, 0.02], [0.02, 0.02, 1.00, 0.02], [0.02, 0.02, 0.02, 0.02]]
NEUTRAL, CONTEXT, EPOCH, SHARE = 2, 8, 3, 0.4


def make() -> AffectModel:
    torch.manual_seed(0)
    model = AffectModel(
        {"type": "clip", "model_name": "affectkit-tiny"},
        {
            "au": {
                "type": "prototype_au",
                "space": "AU6,AU12,AU15,AU24",
                "temporal": {"type": "framewise", **SMALL},
            },
            "expression": {
                "type": "prototype_expression",
                "space": "happiness,sadness,neutral",
                "temporal": {"type": "clip_token", **SMALL},
            },
        },
        bridge={
            "type": "semantic",
            "text": {"model_name": "affectkit-tiny"},
            "prior": "ssm_bp4d7",
            "prompts": "ssm_bp4d",
        },
    )
    with torch.no_grad():  # as if trained
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith("backbone."):
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.train()


@dataclass
class Reference:
    """The parameters of a model under its names, in double precision, and the equations on them."""

    weights: dict[str, Tensor]
    tower: torch.nn.Module

    def __getitem__(self, name: str) -> Tensor:
        return self.weights[name]

    def texts(self, head: str, words: list[str]) -> list[Tensor]:
        """Unit vectors: every prompt by itself and at full length."""
        vectors = []
        for index, text in enumerate(words):
            (tokens,) = self.tower.tokenize([" ".join(["X"] * CONTEXT) + " " + text])
            rows = self.tower.token_embedding[tokens]
            learned = self[f"bridge.prompts.{head}.ctx"][index]
            prompt = torch.cat([rows[:1], learned, rows[1 + CONTEXT :]])
            end = tokens.tolist().index(49407)
            vector = self.tower(prompt[None], torch.tensor([end]))[0]
            vectors.append(vector / vector.square().sum().sqrt())
        return vectors

    def maps(self) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        classes, units = len(TEXTS), len(UNITS)
        first, second = self["bridge.map.delta_ae"], self["bridge.map.delta_ea"]
        to_expression = []
        for i in range(classes):
            if i == NEUTRAL:
                to_expression.append([torch.tensor(p).double() for p in PRIOR[i]])
                continue
            weights = [torch.exp(math.log(PRIOR[i][j] + 1e-8) + first[i, j]) for j in range(units)]
            to_expression.append([w / sum(weights) * sum(PRIOR[i]) for w in weights])
        to_unit = []
        for j in range(units):
            others = [i for i in range(classes) if i != NEUTRAL]
            weights = {i: torch.exp(math.log(PRIOR[i][j] + 1e-8) + second[j, i]) for i in others}
            mass = sum(PRIOR[i][j] for i in range(classes)) - PRIOR[NEUTRAL][j]
            row = [
                torch.tensor(PRIOR[i][j]).double()
                if i == NEUTRAL
                else weights[i] / sum(weights.values()) * mass
                for i in range(classes)
            ]
            to_unit.append(row)
        return to_expression, to_unit

    def prototypes(self) -> dict[str, list[Tensor]]:
        expression, unit = self.texts("expression", TEXTS), self.texts("au", UNITS)
        to_expression, to_unit = self.maps()
        a, b = (1 / (1 + torch.exp(-self[f"bridge.{name}"])) for name in ("alpha", "beta"))

        def fused(
            own: list[Tensor], gate: Tensor, rows: list[list[Tensor]], other: list[Tensor]
        ) -> list[Tensor]:
            out = []
            for vector, row in zip(own, rows, strict=True):
                mixed = vector + gate * sum(m * o for m, o in zip(row, other, strict=True))
                out.append(mixed / mixed.square().sum().sqrt())
            return out

        return {
            "expression": fused(expression, a, to_expression, unit),
            "au": fused(unit, b, to_unit, expression),
        }

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean()
        scaled = centred / (centred.square().mean() + 1e-5).sqrt()
        return scaled * self[f"{name}.weight"] + self[f"{name}.bias"]

    def layer(self, tokens: list[Tensor], at: str) -> list[Tensor]:
        heads, width = SMALL["heads"], SMALL["head_width"]
        inner = heads * width
        projected = [self[f"{at}.qkv.weight"] @ self.norm(x, f"{at}.norm1") for x in tokens]
        out = []
        for x, row in zip(tokens, projected, strict=True):
            parts = []
            for h in range(heads):
                low = h * width
                query = row[low : low + width]
                keys = [other[inner + low : inner + low + width] for other in projected]
                values = [other[2 * inner + low : 2 * inner + low + width] for other in projected]
                weights = [torch.exp(query @ key / math.sqrt(width)) for key in keys]
                parts.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
            y = x + self[f"{at}.project.weight"] @ torch.cat(parts) + self[f"{at}.project.bias"]
            z = self[f"{at}.mlp.0.weight"] @ self.norm(y, f"{at}.norm2") + self[f"{at}.mlp.0.bias"]
            z = 0.5 * z * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
            out.append(y + self[f"{at}.mlp.3.weight"] @ z + self[f"{at}.mlp.3.bias"])
        return out

    def residual(self, tokens: list[Tensor], at: str) -> list[Tensor]:
        start = [x + self[f"{at}.position"][t] for t, x in enumerate(tokens)]
        end = self.layer(start, f"{at}.layers.0")
        gamma = self[f"{at}.gamma"]
        return [self.norm(z + gamma * z0, f"{at}.norm") for z, z0 in zip(end, start, strict=True)]

    def embed(self, head: str, clip: Tensor) -> list[Tensor]:
        """The embedding of an expression clip, or those of the frames of an AU clip."""
        at = f"heads.{head}.temporal"
        if head == "au":
            return self.residual(list(clip), at)
        return self.residual([self[f"{at}.token"], *clip], at)[:1]

    def logits(self, head: str, h: Tensor, prototypes: list[Tensor]) -> tuple[Tensor, Tensor]:
        unit = h / h.square().sum().sqrt()
        alone = torch.stack([0.1 * (unit @ p) / 0.01 for p in prototypes])
        return self[f"heads.{head}.out.weight"] @ h + self[f"heads.{head}.out.bias"] + alone, alone


def bce(z: Tensor, y: float) -> Tensor:
    return -(y * torch.log(1 / (1 + torch.exp(-z))) + (1 - y) * torch.log(1 / (1 + torch.exp(z))))


def cross_entropy(z: Tensor, c: int) -> Tensor:
    return -torch.log(torch.exp(z[c]) / sum(torch.exp(other) for other in z))


def pictures(generator: torch.Generator, batch: int) -> Tensor:
    return torch.randint(0, 256, (batch, 3, 3, 64, 64), dtype=torch.uint8, generator=generator)


def test_forward_loss_and_gradients_over_two_steps():
    model = make()
    trained = {
        name: p.detach().double().requires_grad_()
        for name, p in model.named_parameters()
        if p.requires_grad and not name.startswith("backbone.")
    }
    reference = Reference(trained, copy.deepcopy(model.bridge.text).double())
    names = ["expression", "au", "expression/prototype", "au/prototype"]
    balancer = LossBalancer(names, {"au": 2.0})
    generator = torch.Generator().manual_seed(1)
    means: list[float] = []
    for step in range(2):
        classes = [0, 2, 1]
        faces = pictures(generator, 3)
        labels = torch.randint(0, 2, (3, 3, 4), generator=generator).float()
        batch = collate(
            [
                Clip.make(clip, {"au": Target.make(y, space=model.head("au").space.name)})
                for clip, y in zip(pictures(generator, 3), labels, strict=True)
            ]
        )

        # Ours, as the task goes about it.
        mixed, target = ClipMixup(SHARE)(batch, "au", torch.Generator().manual_seed(step))
        prototypes = model.prototypes()
        with torch.no_grad():
            seen, blended = model.backbone(faces), model.backbone(mixed)
        seen_logits, seen_alone = model.head("expression").both(seen, prototypes["expression"])
        unit_logits, unit_alone = model.head("au").both(blended, prototypes["au"])
        everything = torch.ones(3, dtype=torch.bool)
        terms = {
            "expression": MaskedCrossEntropy()(seen_logits, torch.tensor(classes), everything),
            "au": MaskedBCE()(unit_logits, target.value, target.mask),
            "expression/prototype": MaskedCrossEntropy()(seen_alone, torch.tensor(classes), everything),
            "au/prototype": MaskedBCE()(unit_alone, target.value, target.mask),
        }
        losses = {name: total / count for name, (total, count) in terms.items()}
        balancer.update(losses)
        loss = balancer(losses, dict.fromkeys(names[2:], ramp(EPOCH)))
        model.zero_grad()
        loss.backward()

        # The reference.
        draws = torch.Generator().manual_seed(step)
        share = random.Random(int(torch.randint(2**62, (), generator=draws))).betavariate(SHARE, SHARE)
        partner = torch.randperm(3, generator=draws).tolist()
        by_hand = torch.stack(
            [share * batch.frames[b] / 255 + (1 - share) * batch.frames[partner[b]] / 255 for b in range(3)]
        )
        assert torch.allclose(mixed, by_hand, atol=1e-6)
        expected = reference.prototypes()
        for name, vectors in expected.items():
            assert torch.allclose(prototypes[name].double(), torch.stack(vectors), atol=1e-5)
        own: list[list[Tensor]] = [[], [], [], []]
        for b, c in enumerate(classes):
            (h,) = reference.embed("expression", seen.frames[b].double())
            z, alone = reference.logits("expression", h, expected["expression"])
            assert torch.allclose(seen_logits[b].double(), z, atol=1e-5)
            assert torch.allclose(seen_alone[b].double(), alone, atol=1e-5)
            assert alone.abs().max() <= 10
            own[0].append(cross_entropy(z, c))
            own[2].append(cross_entropy(alone, c))
        for b in range(3):
            for t, f in enumerate(reference.embed("au", blended.frames[b].double())):
                z, alone = reference.logits("au", f, expected["au"])
                assert torch.allclose(unit_logits[b, t].double(), z, atol=1e-5)
                assert torch.allclose(unit_alone[b, t].double(), alone, atol=1e-5)
                for unit in range(4):
                    one, other = labels[b, t, unit].item(), labels[partner[b], t, unit].item()
                    for index, answer in ((1, z[unit]), (3, alone[unit])):
                        own[index].append(share * bce(answer, one) + (1 - share) * bce(answer, other))
        plain = [sum(found) / len(found) for found in own]
        for name, value in zip(names, plain, strict=True):
            assert losses[name].item() == pytest.approx(value.item(), abs=1e-5)
        values = [value.item() for value in plain]
        means = [0.95 * m + 0.05 * v for m, v in zip(means, values, strict=True)] if means else values
        a = 2 / (1 + math.exp(-10 * EPOCH / 30)) - 1
        total = (
            sum(w * value / (m + 1e-8) for w, value, m in zip([1, 2, a, a], plain, means, strict=True)) / 3
        )
        assert loss.item() == pytest.approx(total.item(), abs=1e-5)
        gradients = torch.autograd.grad(total, [*trained.values()])
        for name, gradient in zip(trained, gradients, strict=True):
            given = model.get_parameter(name).grad.double()
            assert torch.allclose(given, gradient, atol=1e-5, rtol=1e-3), name
