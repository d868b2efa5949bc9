"""`affectkit explain`: what a model learned, as pictures and tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from affectkit.models import AffectModel

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Explain a saved model."""
    parser = argparse.ArgumentParser(prog="affectkit explain", description="What a model learned.")
    actions = parser.add_subparsers(dest="action", required=True)
    maps = actions.add_parser(
        "map",
        help="the two learned maps between action units and expressions, beside their prior",
        description="Write map.csv and map.png: how strongly action units and expressions speak for each other.",
    )
    regions = actions.add_parser(
        "regions",
        help="where a model of micro-expressions looks in a clip, unit by unit",
        description="Write regions.csv and regions.png: the region of each action unit over the face, and the "
        "attention in it.",
    )
    dependencies = actions.add_parser(
        "dependencies",
        help="which action units a model of micro-expressions lets depend on which, beside the labels",
        description="Write dependencies.csv and dependencies.png: how units attend to each other, beside how often "
        "they occur together in the training labels.",
    )
    for action in (maps, regions, dependencies):
        action.add_argument("--model", required=True, help="folder or Hub name of a saved model")
        action.add_argument("--out", required=True, type=Path, help="folder to write")
    for action in (regions, dependencies):
        _add_clip(action, required=action is regions)
    options = parser.parse_args(args)
    return {"map": _map, "regions": _regions, "dependencies": _dependencies}[options.action](options)


def _add_clip(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--input",
        required=required,
        type=Path,
        help="video or folder of frames" + ("" if required else "; without, a face that does not move"),
    )
    parser.add_argument("--onset", type=int, metavar="FRAME", help="first frame of the movement, from 0")
    parser.add_argument(
        "--apex", type=int, metavar="FRAME", help="its strongest frame; without both, they are spotted"
    )
    parser.add_argument("--fps", type=float, metavar="N", help="frames a second, where the clip does not say")
    parser.add_argument(
        "--faces",
        default="detect",
        help="detect (default), center, or x,y,w,h in pixels; see `affectkit predict`",
    )
    parser.add_argument("--head", help="of several heads for micro-expressions, which")


def _map(options: argparse.Namespace) -> int:
    from affectkit.methods.ssm import associations, write_associations
    from affectkit.models import AffectModel

    found = associations(AffectModel.from_pretrained(options.model))
    for path in write_associations(found, options.out):
        print(path)
    for direction, learned in found.learned.items():
        moved = (learned - found.prior).abs()
        i, j = divmod(int(moved.argmax()), len(found.units))
        print(
            f"{direction}: moved most from the prior is {found.expressions[i]} with {found.units[j]}, "
            f"{found.prior[i, j]:.2f} -> {learned[i, j]:.2f}"
        )
    return 0


def _regions(options: argparse.Namespace) -> int:
    from affectkit.methods.micro_au_clip import region_attention, write_regions

    model, (clip, landmarks) = _load(options)
    found = region_attention(model, clip, landmarks, head=options.head)
    for path in write_regions(found, options.out):
        print(path)
    acting = [
        f"{unit} {p:.2f}"
        for unit, p, threshold in zip(found.units, found.probabilities, found.thresholds, strict=True)
        if p >= threshold
    ]
    print(f"units above their thresholds: {', '.join(acting) or 'none'}")
    return 0


def _dependencies(options: argparse.Namespace) -> int:
    from affectkit.methods.micro_au_clip import dependencies, write_dependencies

    model, clip = _load(options)
    found = dependencies(model, *clip, head=options.head)
    for path in write_dependencies(found, options.out):
        print(path)
    moved = found.learned - found.drawn
    i, j = divmod(int(moved.argmax()), moved.shape[1])
    other = (*found.units, "the whole face")[j]
    print(
        f"beyond co-occurrence most: {found.units[i]} looks at {other}, {found.drawn[i, j]:.2f} -> "
        f"{found.learned[i, j]:.2f}; gate {found.gate:.2f}"
    )
    return 0


def _load(options: argparse.Namespace) -> tuple[AffectModel, Any]:
    """The model, and the clip from onset to apex as it sees faces, with landmarks; nothing without an input."""
    from affectkit.methods.micro_au_clip import micro_head
    from affectkit.models import AffectModel

    model = AffectModel.from_pretrained(options.model)
    micro_head(model, options.head)
    return model, () if options.input is None else _clip(model, options)


def _clip(model: AffectModel, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    from affectkit.data import OnsetApex
    from affectkit.data.video import open_video
    from affectkit.inference.faces.one_crop import read_clip
    from affectkit.inference.predictor import Predictor
    from affectkit.inference.spotting.movements import MovementFinder

    if (options.onset is None) != (options.apex is None):
        raise ConfigError("Onset and apex belong together.", remedy="Give both, or neither to spot them.")
    predictor = Predictor(model, faces=options.faces)
    with open_video(options.input) as video:
        onset, apex = options.onset, options.apex
        if onset is None:
            found = list(MovementFinder(predictor).spot(video, fps=options.fps))
            if not found:
                raise ConfigError(
                    "Nothing moves briefly in it.", path=options.input, remedy="Give --onset and --apex."
                )
            strongest = max(found, key=lambda interval: interval.strength)
            onset, apex = strongest.onset, strongest.apex
            print(f"spotted: onset {onset}, apex {apex}, the strongest of {len(found)}")
        elif not 0 <= onset <= apex < video.num_frames:
            raise ConfigError(
                f"Onset {onset} and apex {apex} are not in order among {video.num_frames} frames from 0.",
                path=options.input,
            )
        numbers = OnsetApex(max(2, model.input_spec.frames))(apex + 1, onset=onset, apex=apex)
        clip, landmarks = read_clip(video, numbers, predictor.faces, model.input_spec)
        return clip, landmarks.expand(len(clip), -1, -1)
