"""Conversion of the checkpoints released by the authors of SSM."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from affectkit.errors import ConfigError, WeightsError
from affectkit.facs import AU_SETS, ExpressionSet, association
from affectkit.methods.ssm.layout import SOURCE, ReleasedTensors
from affectkit.methods.ssm.semantic import SemanticBridge
from affectkit.models.convert import Conversion, Converter, read_checkpoint
from affectkit.models.model import AffectModel
from affectkit.models.registry import register
from affectkit.models.text import PromptLearner

__all__ = ["SSMConverter", "convert_ssm"]

_CLASSES = {7: "dfew7", 11: "mafw11"}
_UNITS = {12: "bp4d12", 8: "disfa8"}
_CORPUS = {"bp4d12": "bp4d", "disfa8": "disfa"}


def convert_ssm(
    path: str | Path,
    *,
    units: str | None = None,
    expressions: str | None = None,
    clip_weights: str | Path | None = None,
) -> Conversion:
    """Convert a released SSM checkpoint to a model with the same outputs.

    Sizes, release, corpora, texts and prior follow from the tensors. Every tensor is either copied or checked to be
    redundant; missing and unexpected tensors are errors. The model routes tokens to experts as the released code does
    (`legacy_dispatch`), so its outputs depend on the batch.

    Args:
        path: The checkpoint, of either release.
        units: Its action units, bp4d12 or disfa8; by default according to their number.
        expressions: Its classes in order; by default dfew7 or mafw11, according to their number.
        clip_weights: Weights of the original CLIP. The checkpoint lacks CLIP's token embedding, which only new texts
            (zero-shot classes) need.

    Raises:
        WeightsError: The file is unsafe or damaged, or its tensors are not those of a released model.
        ConfigError: `units` or `expressions` do not fit the heads.
        LabelSpaceError: `units` or `expressions` are unknown.
    """
    path = Path(path)
    tensors, extra = read_checkpoint(path)
    released = ReleasedTensors(path, tensors)
    ignored = released.drop_duplicates()
    classes = _choose("expression", expressions, _CLASSES, released.shape("dfer_head.weight")[0], path)
    chosen = _choose("au", units, _UNITS, released.shape("au_head.weight")[0], path)
    corpus = _CORPUS[chosen]
    count = len(ExpressionSet.parse(classes))
    prior, style = f"ssm_{corpus}{count}", "ssm_mafw" if count == 11 else f"ssm_{corpus}"
    ignored |= released.check_prior(association(ExpressionSet.parse(classes), AU_SETS[chosen], prior), prior)

    clip = released.clip()
    text = {"model_name": clip, "keep_tokens": clip_weights is not None}
    model = AffectModel(
        {"type": "clip", "model_name": clip, "size": released.size(), "moe": released.experts()},
        {
            "expression": {
                "type": "prototype_expression",
                "space": classes,
                "per_frame": False,
                "temporal": released.temporal("expression"),
            },
            "au": {
                "type": "prototype_au",
                "space": chosen,
                "per_frame": True,
                "temporal": released.temporal("au"),
                "smoothing": "pairs" if "au_smooth.weight" in tensors else "none",
            },
        },
        bridge={
            "type": "semantic",
            "text": text if clip_weights is None else {**text, "weights": str(clip_weights)},
            "prior": prior,
            "prompts": style,
            "n_ctx": released.shape("prompts_expression.ctx")[-2],
        },
        input_spec={"frames": released.frames()},
    )
    mapped = released.fill(model)
    _check_words(model, path, clip_weights)
    model.eval()
    model.metadata = {
        "name": "SSM",
        "source": f"converted from {path.name}, a checkpoint in the layout of {SOURCE}",
        "source_sha256": _sha256(path),
        "release": released.release,
        **{f"source_{key}": value for key, value in extra.items()},
        "paper": "arXiv 2604.10541",
        "trained_on": f"{corpus.upper()} and {'MAFW' if count == 11 else 'DFEW or FERV39k'}, by its authors",
        "licence": "The licence of the authors' weights and of their training corpora; ask the authors.",
        "notes": _notes(corpus, released.release),
    }
    return Conversion(model, released.release, mapped, ignored)


@register("converter", "ssm")
class SSMConverter(Converter):
    """`convert_ssm` on the command line."""

    about = "checkpoints of both releases by the authors of SSM (arXiv 2604.10541)"
    options = {  # noqa: RUF012  a ClassVar of the base class
        "--au-set": {
            "dest": "units",
            "choices": tuple(_CORPUS),
            "help": "action units of the checkpoint (default: according to their number)",
        },
        "--expressions": {
            "dest": "expressions",
            "help": "classes of the checkpoint in order, by name or comma-separated (default: dfew7 or mafw11)",
        },
        "--clip-weights": {
            "dest": "clip_weights",
            "type": Path,
            "help": "weights of OpenAI's ViT-B/16, needed only for new expression texts",
        },
    }

    @staticmethod
    def convert(path: str | Path, **options: Any) -> Conversion:
        """See `convert_ssm`."""
        return convert_ssm(path, **options)


def _choose(head: str, given: str | None, known: Mapping[int, str], size: int, path: Path) -> str:
    """Label space of a head: the given one, or the one of this size."""
    if given is None and size not in known:
        raise WeightsError(
            f"The head {head!r} has {size} labels.", path=path, remedy=f"Known: {list(known)}."
        )
    name = given or known[size]
    if head == "au" and name not in _CORPUS:
        raise ConfigError(
            f"No released model has the units {name!r}.", remedy=f"Known: {', '.join(_CORPUS)}."
        )
    length = len(AU_SETS[name]) if head == "au" else len(ExpressionSet.parse(name))
    if length != size:
        raise ConfigError(f"{name!r} has {length} labels, but the head {head!r} of {path.name} has {size}.")
    return name


def _check_words(model: AffectModel, path: Path, clip_weights: str | Path | None) -> None:
    """Check that the checkpoint's word vectors are those of our texts: one vector per word, and distinct vectors."""
    bridge = cast(SemanticBridge, model.bridge)
    numbers, vectors = [], []
    for learner in (cast(PromptLearner, one) for one in bridge.prompts.values()):
        tokens = bridge.text.tokenize(
            [" ".join(["X"] * learner.n_ctx) + f" {text}" for text in learner.texts]
        )
        numbers += [tokens[:, :1].flatten(), tokens[:, 1 + learner.n_ctx :].flatten()]
        vectors += [learner.prefix.flatten(0, 1), learner.suffix.flatten(0, 1)]
    ids, rows = torch.cat(numbers), torch.cat(vectors)
    distinct, place = torch.unique(ids, return_inverse=True)
    first = torch.full_like(distinct, len(ids)).scatter_reduce(0, place, torch.arange(len(ids)), "amin")
    table = rows[first]
    if not torch.allclose(table[place], rows, atol=1e-5) or len(torch.unique(table, dim=0)) != len(distinct):
        raise WeightsError(
            f"The prompts do not contain the published words of {bridge.style}.",
            path=path,
            remedy="Give the classes in their order with --expressions.",
        )
    known = bridge.text.token_embedding
    if known is not None and not torch.allclose(known[distinct], table, atol=1e-4):
        raise WeightsError(
            "These are not the weights of the CLIP that the checkpoint was trained from.",
            path=clip_weights,
            remedy="Give OpenAI's ViT-B/16.",
        )


def _notes(corpus: str, release: int) -> list[str]:
    notes = [
        "Tokens are routed to experts as in the released code (legacy_dispatch), so outputs depend on the batch."
    ]
    if corpus == "disfa" and release == 1:
        notes.append(
            "The first release normalised DISFA frames with ImageNet's mean and deviation, and expression clips with "
            "CLIP's; this model normalises all frames with CLIP's."
        )
    return notes


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
