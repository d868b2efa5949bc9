"""`affectkit model explain`: what a model learned, as pictures and tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from affectkit.cli.arguments import add_shared, open_model, print_notes
from affectkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from affectkit.models import AffectModel

__all__ = ["run"]


def run(args: Sequence[str]) -> int:
    """Draw the explanations of a saved model."""
    parser = argparse.ArgumentParser(
        prog="affectkit model explain",
        description="Draw what the parts of a model learned, as a picture (.png) and a table (.csv) each. Models of "
        "SSM offer `map`; models of Micro-AU CLIP `regions`, for a clip, and `dependencies`.",
    )
    add_shared(parser, "--model")
    add = parser.add_argument
    add("--output", required=True, type=Path, help="folder to write")
    add("--only", nargs="+", metavar="NAME", help="explanations to draw, such as map (default: all)")
    add("--head", help="only the explanations of this head")
    add("--input", type=Path, help="video or folder of frames, for explanations of a clip")
    add("--onset", type=int, metavar="FRAME", help="first frame of the movement, from 0")
    add("--apex", type=int, metavar="FRAME", help="its strongest frame; without both, they are spotted")
    add_shared(parser, "--fps", "--faces")
    options = parser.parse_args(args)
    from affectkit.models import explanations

    model = open_model(options.model)
    offered = [(part, one) for part, found in explanations(model, options.head).items() for one in found]
    names = list(dict.fromkeys(one.name for _, one in offered))
    if not offered:
        raise ConfigError(
            "This model has nothing to explain.",
            path=options.model,
            remedy="Use a model of the recipes joint/ssm_* or micro/*microauclip*.",
        )
    if unknown := sorted(set(options.only or ()) - set(names)):
        raise ConfigError(
            f"This model cannot explain {', '.join(unknown)}.", remedy=f"Choose from {', '.join(names)}."
        )
    chosen = [(part, one) for part, one in offered if one.name in (options.only or names)]
    left_out = {one.name for _, one in chosen if one.clip == "needed" and options.input is None}
    if left_out and (options.only or left_out == set(names)):
        raise ConfigError(f"{', '.join(sorted(left_out))} needs a clip.", remedy="Give one with --input.")
    needs_clip = any(one.clip != "unused" for _, one in chosen)
    clip = _clip(model, options) if options.input is not None and needs_clip else (None, None)
    for part, one in chosen:
        if one.name in left_out:
            print_notes(f"{one.name} is left out, because it needs a clip (--input)")
            continue
        several = sum(other.name == one.name for _, other in chosen) > 1
        paths, said = one.draw(options.output / part if several else options.output, *clip)
        print(*paths, *said, sep="\n")
    return 0


def _clip(model: AffectModel, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    from affectkit.data import OnsetApex
    from affectkit.data.video import open_video
    from affectkit.faces import read_clip
    from affectkit.inference.predictor import Predictor
    from affectkit.inference.spotting.movements import MovementFinder

    if (options.onset is None) != (options.apex is None):
        raise ConfigError("--onset and --apex belong together.", remedy="Give both, or neither to spot them.")
    predictor = Predictor(model, faces=options.faces)
    with open_video(options.input) as video:
        onset, apex = options.onset, options.apex
        if onset is None:
            found = list(MovementFinder(predictor).spot(video, fps=options.fps))
            if not found:
                raise ConfigError(
                    "No brief movement was found.", path=options.input, remedy="Give --onset and --apex."
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
