"""One training step of Micro-AU CLIP against the bare CLIP tower, in one run; prints seconds and the ratio.

    python benchmarks/micro_au_step.py [--rounds 5] [--threads 2]

Ours is all of the step but the optimiser: normalisation, ViT-B/16 with its patches, regions from landmarks, patch token
attention, global dependency attention, the cosines to the texts (computed once, when the model is built), all three
losses, and the backward pass. The reference is open_clip's image tower on the same normalised frames, with the same
four last blocks trained, and its backward pass. Weights are random. Eight clips of onset and apex; on CUDA 160,
bfloat16, both compiled.
"""

from functools import partial

import torch
from common import steps
from lightning.pytorch import Trainer

from affectkit.data import Clip, ClipBatch, Target, collate
from affectkit.facs.mean_shape import MEAN_SHAPE_68
from affectkit.methods.micro_au_clip import MicroAU, MicroAUHead
from affectkit.models import ClipBackbone
from affectkit.models.clip import load_clip

TOWER, BLOCKS, UNITS = "ViT-B-16-quickgelu", 4, 8


def make_task(tower: str = TOWER, *, compiled: bool, blocks: int = BLOCKS) -> MicroAU:
    """Micro-AU CLIP as in the recipe of CASME II."""
    return MicroAU(
        ClipBackbone(tower, tokens=True, trainable_blocks=blocks),
        {"au": partial(MicroAUHead, space="casme2_8", text={"model_name": tower})},
        compile_model=compiled,
    )


def make_reference(name: str = TOWER, *, blocks: int = BLOCKS) -> torch.nn.Module:
    """The bare tower; what `ClipBackbone(trainable_blocks=…)` does not train is not trained here either."""
    tower: torch.nn.Module = load_clip(name, part="image").visual.requires_grad_(False)
    for part in (*tower.transformer.resblocks[-blocks:], tower.ln_post):
        part.requires_grad_(True)
    tower.proj.requires_grad_(True)
    return tower


def make_batch(clips: int, size: int) -> ClipBatch:
    """Noise with labels and the landmarks of a mean face."""
    landmarks = (torch.tensor(MEAN_SHAPE_68) * size - 0.5).expand(2, -1, -1)
    return collate(
        [
            Clip.make(
                torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8),
                {"au": Target.make((torch.rand(UNITS) < 0.3).float(), space="casme2_8")},
                landmarks=landmarks + torch.randn(68, 2),
            )
            for _ in range(clips)
        ]
    )


def make_steps(
    device: torch.device, *, tower: str = TOWER, blocks: int = BLOCKS, clips: int
) -> tuple[dict[str, steps.Step], int]:
    """Steps of the bare tower and of Micro-AU CLIP, and their number of pictures."""
    compiled = device.type == "cuda"
    task = make_task(tower, compiled=compiled, blocks=blocks).to(device).train()
    # The trainer tells that there is one process; there is no fit to log to.
    task.trainer = Trainer(accelerator=device.type, devices=1, logger=False, enable_checkpointing=False)
    task.log_dict = lambda *_, **__: None
    task.cooccurrence["au"] = torch.full((UNITS, UNITS), 0.3, device=device)
    bare = make_reference(tower, blocks=blocks).to(device).train()
    batch = make_batch(clips, task.model.input_spec.size).to(device)
    pictures = task.model.backbone.normalize(batch.frames.flatten(0, 1))
    forward = torch.compile(bare) if compiled else bare

    def reference() -> torch.Tensor:
        with steps.precision():
            loss: torch.Tensor = forward(pictures).float().square().mean()
            return loss

    def ours() -> torch.Tensor:
        with steps.precision():
            task.on_train_batch_start(batch, 0)
            return task.training_step(batch, 0)

    return {"bare tower": (reference, bare), "Micro-AU CLIP": (ours, task)}, len(pictures)


def main() -> None:
    """Measure and print."""
    options = steps.options(__doc__)
    cuda = torch.cuda.is_available()
    made, frames = make_steps(torch.device("cuda" if cuda else "cpu"), clips=160 if cuda else 8)
    steps.compare(made, rounds=options.rounds, frames=frames)


if __name__ == "__main__":
    main()
