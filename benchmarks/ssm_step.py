"""One training step of SSM against the bare CLIP tower, in one run; prints seconds and the ratio.

    python benchmarks/ssm_step.py [--rounds 5] [--threads 2]

Ours is all of the step but the optimiser: normalisation, ViT-B/16 with experts, temporal modules, both prompt sets
through the text tower, the maps, all four losses with MixUp, and the backward pass. The reference is open_clip's
image tower on the same normalised frames, in as many calls of the same size, with all blocks trained, and its
backward pass. Weights are random. On CUDA: 320 frames, bfloat16, both compiled; else 32 frames in float32.
"""

from functools import partial

import torch
from common import steps
from lightning.pytorch import Trainer

from affectkit.data import Clip, ClipBatch, Target, collate
from affectkit.facs import label_space
from affectkit.methods.ssm import SSM, PrototypeAUHead, PrototypeExpressionHead, SemanticBridge
from affectkit.models import ClipBackbone
from affectkit.models.clip import load_clip

TOWER, FRAMES = "ViT-B-16-quickgelu", 16
CLASSES = "happiness,sadness,neutral,anger,surprise,disgust,fear"


def make_task(tower: str = TOWER, *, compiled: bool, experts: int = 6) -> SSM:
    """SSM as published for BP4D and seven classes."""
    return SSM(
        ClipBackbone(tower, moe={"last": experts}),
        {
            "expression": partial(
                PrototypeExpressionHead, space=CLASSES, per_frame=False, temporal={"type": "clip_token"}
            ),
            "au": partial(PrototypeAUHead, space="bp4d12", per_frame=True, temporal={"type": "framewise"}),
        },
        partial(SemanticBridge, text={"model_name": tower}, prior="ssm_bp4d7", prompts="ssm_bp4d"),
        compile_model=compiled,
    )


def make_batches(clips: dict[str, int], size: int) -> dict[str, ClipBatch]:
    """Noise with labels: one source of expressions, one of action units."""
    batches = {}
    for name, number in clips.items():
        made = []
        for index in range(number):
            if name == "expression":
                target = Target.make(torch.tensor(index % len(label_space(CLASSES))), space=CLASSES)
            else:
                target = Target.make((torch.rand(FRAMES, 12) < 0.3).float(), space="bp4d12")
            frames = torch.randint(0, 256, (FRAMES, 3, size, size), dtype=torch.uint8)
            made.append(Clip.make(frames, {name: target}))
        batches[name] = collate(made)
    return batches


def make_steps(
    device: torch.device, *, tower: str = TOWER, experts: int = 6, clips: dict[str, int]
) -> tuple[dict[str, steps.Step], int]:
    """Steps of the bare tower and of SSM, and their number of pictures."""
    compiled = device.type == "cuda"
    task = make_task(tower, compiled=compiled, experts=experts).to(device).train()
    # The trainer tells that there is one process; there is no fit to log to.
    task.trainer = Trainer(accelerator=device.type, devices=1, logger=False, enable_checkpointing=False)
    task.log_dict = lambda *_, **__: None
    bare = load_clip(tower, part="image").visual.to(device).train()
    made = make_batches(clips, task.model.input_spec.size)
    batches = {name: batch.to(device) for name, batch in made.items()}
    pictures = [task.model.backbone.normalize(batch.frames.flatten(0, 1)) for batch in batches.values()]
    forward = torch.compile(bare) if compiled else bare

    def reference() -> torch.Tensor:
        with steps.precision():
            return torch.stack([forward(frames).float().square().mean() for frames in pictures]).sum()

    def ours() -> torch.Tensor:
        with steps.precision():
            task.on_train_batch_start(batches, 0)
            return task.training_step(batches, 0)

    return {"bare tower": (reference, bare), "SSM": (ours, task)}, sum(map(len, pictures))


def main() -> None:
    """Measure and print."""
    options = steps.options(__doc__)
    cuda = torch.cuda.is_available()
    clips = {"expression": 12, "au": 8} if cuda else {"expression": 1, "au": 1}
    made, frames = make_steps(torch.device("cuda" if cuda else "cpu"), clips=clips)
    steps.compare(made, rounds=options.rounds, frames=frames)


if __name__ == "__main__":
    main()
