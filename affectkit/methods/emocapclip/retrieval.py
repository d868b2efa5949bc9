"""Retrieval of captions by clips and of clips by captions, over a whole corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from affectkit.data import ClipBatch
from affectkit.data.captions import HELD_OUT
from affectkit.methods.emocapclip.bridge import CaptionBridge
from affectkit.methods.emocapclip.local import FacePatches, clip_vectors
from affectkit.metrics import Result, retrieval_results
from affectkit.models.features import Features

__all__ = ["CaptionRetrieval", "text_ids"]

_WHOLE = ("global", "summary")


def text_ids(texts: Sequence[str]) -> Tensor:
    """Numbers int64 [n] that are equal for equal texts, in every process."""
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests])


class CaptionRetrieval:
    """Vectors of the clips and captions of one corpus, and the results of retrieval.

    Captions of the whole face are compared with clips, those of regions with patches; the score of a clip with the
    regional captions of another one is the mean over the regions that both have. Captions in held-out wordings are
    reported apart.

    Args:
        bridge: Encodes the captions.
        focus: Temperature of the attention to patches.
    """

    def __init__(self, bridge: CaptionBridge, *, focus: float) -> None:
        self.bridge = bridge
        self.focus = focus
        self.clips: list[tuple[Tensor, Tensor]] = []  # vector, subject
        self.patches: list[tuple[Tensor, Tensor]] = []
        self.captions: list[dict[str, tuple[Tensor, Tensor]]] = []  # vector and number of the text, by part

    @torch.no_grad()
    def update(self, features: Features, batch: ClipBatch) -> None:
        """Add a batch."""
        vectors = clip_vectors(features).cpu()
        patches = None if features.tokens is None else FacePatches.of(features)
        encoded = {part: self.bridge.encode_captions(texts).cpu() for part, texts in batch.captions.items()}
        ids = {part: text_ids(texts) for part, texts in batch.captions.items()}
        for i, valid in enumerate(batch.valid.tolist()):
            if not valid:
                continue
            self.clips.append((vectors[i], batch.subject[i].cpu()))
            if patches is not None:
                self.patches.append((patches.vectors[i].cpu(), patches.mask[i].cpu()))
            self.captions.append(
                {part: (encoded[part][i], ids[part][i]) for part, texts in batch.captions.items() if texts[i]}
            )

    def gather(self) -> None:
        """Collect the clips of all processes in each of them; all must call it."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            rows = [None] * dist.get_world_size()
            dist.all_gather_object(rows, (self.clips, self.patches, self.captions))
            self.clips, self.patches, self.captions = (
                [one for part in column for one in part] for column in zip(*rows, strict=True)
            )

    def results(self, protocol: str, *, by_subject: bool) -> list[Result]:
        """Results by part: `global`, `summary` and `regions`, and in held-out wordings `global_new` and so on.

        Args:
            protocol: The data.
            by_subject: Whether the clips' subjects are known.

        Returns:
            See `affectkit.metrics.retrieval_results`; empty without captions.
        """
        found: list[Result] = []
        for prefix, suffix in (("", ""), (HELD_OUT, "_new")):
            parts = {
                part for own in self.captions for part in own if part.startswith(HELD_OUT) == bool(prefix)
            }
            names = {part.removeprefix(prefix) for part in parts}
            for name in _WHOLE:
                if name in names:
                    rows = [i for i, own in enumerate(self.captions) if prefix + name in own]
                    texts, ids = self._texts(prefix + name, rows)
                    scores = torch.stack([self.clips[i][0] for i in rows]) @ texts.float().T
                    found += self._rows(scores, ids, rows, name + suffix, protocol, by_subject)
            regions = sorted(names - set(_WHOLE))
            rows = [
                i for i, own in enumerate(self.captions) if any(prefix + region in own for region in regions)
            ]
            if self.patches and rows:
                scores, ids = self._by_regions([prefix + region for region in regions], rows)
                found += self._rows(scores, ids, rows, f"regions{suffix}", protocol, by_subject)
        return found

    def _by_regions(self, parts: Sequence[str], rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Scores [n, n] of clips and regional captions, and numbers of all these captions together."""
        patches = FacePatches(
            *(torch.stack(column) for column in zip(*(self.patches[i] for i in rows), strict=True))
        )
        total, count = torch.zeros(len(rows), len(rows)), torch.zeros(len(rows))
        for part in parts:
            having = [place for place, i in enumerate(rows) if part in self.captions[i]]
            texts, _ = self._texts(part, [rows[place] for place in having])
            for start in range(0, len(rows), 64):
                piece = FacePatches(patches.vectors[start : start + 64], patches.mask[start : start + 64])
                total[start : start + 64, having] += piece.scores(texts, self.focus)
            count[having] += 1
        whole = [" ".join(str(int(self.captions[i][part][1])) if part in self.captions[i] else "-" for part in parts)
                 for i in rows]  # fmt: skip
        return total / count, text_ids(whole)

    def _texts(self, part: str, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        vectors, ids = zip(*(self.captions[i][part] for i in rows), strict=True)
        return torch.stack(vectors), torch.stack(ids)

    def _rows(
        self, scores: Tensor, ids: Tensor, rows: Sequence[int], name: str, protocol: str, by_subject: bool
    ) -> list[Result]:
        subjects = torch.stack([self.clips[i][1] for i in rows])
        return retrieval_results(scores, ids, subjects, name, protocol=protocol, by_subject=by_subject)
