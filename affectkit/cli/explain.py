"""`affectkit model explain`: what a model learned, as pictures and tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affectkit.cli.arguments import MODEL, open_model
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from affectkit.models import AffectModel

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Draw what a saved model offers to show."""
    parser = argparse.ArgumentParser(
        prog="affectkit model explain",
        description="Draw what the parts of a model can show of what they learned: a picture (.png) and a table (.csv) "
        "each. Models of SSM offer `map`; models of Micro-AU CLIP `regions`, of a clip, and `dependencies`.",
    )
    parser.add_argument("--model", required=True, help=MODEL)
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="draw these alone, such as map")
    parser.add_argument("--head", help="what this head offers alone")
    parser.add_argument("--input", type=Path, help="video or folder of frames, for what is about a clip")
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
    options = parser.parse_args(args)
    from affectkit.models import explanations

    model = open_model(options.model)
    parts = explanations(model, options.head)
    offered = [(part, one) for part, found in parts.items() for one in found]
    names = list(dict.fromkeys(one.name for _, one in offered))
    if not offered:
        raise ConfigError(
            "This model has nothing to explain.",
            path=options.model,
            remedy="Take one of the recipes joint/ssm_* or micro/*microauclip*.",
        )
    if unknown := sorted(set(options.only or ()) - set(names)):
        raise ConfigError(
            f"This model cannot show {', '.join(unknown)}.", remedy=f"It shows {', '.join(names)}."
        )
    chosen = [(part, one) for part, one in offered if one.name in (options.only or names)]
    left_out = {one.name for _, one in chosen if one.clip == "needed" and options.input is None}
    if left_out and (options.only or left_out == set(names)):
        raise ConfigError(f"{', '.join(sorted(left_out))} is about a clip.", remedy="Give one with --input.")
    about_clips = any(one.clip != "unused" for _, one in chosen)
    clip = _clip(model, options) if options.input is not None and about_clips else (None, None)
    for part, one in chosen:
        if one.name in left_out:
            print(f"note: {one.name} is left out; it takes a clip, --input", file=sys.stderr)
            continue
        twice = sum(other.name == one.name for _, other in chosen) > 1
        paths, said = one.draw(options.output / part if twice else options.output, *clip)
        print(*paths, *said, sep="\n")
    return 0


def _clip(model: AffectModel, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    from affectkit.data import OnsetApex
    from affectkit.data.video import open_video
    from affectkit.faces import read_clip
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
