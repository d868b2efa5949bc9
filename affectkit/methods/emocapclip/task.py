"""Training of EmoCapCLIP."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from affectkit.data import HELD_OUT, ClipBatch, derive_seed
from affectkit.errors import ConfigError
from affectkit.losses import LossTerm, SoftContrast
from affectkit.methods.emocapclip.bridge import CaptionBridge
from affectkit.methods.emocapclip.head import ZeroShotHead
from affectkit.methods.emocapclip.local import FacePatches, clip_vectors
from affectkit.methods.emocapclip.retrieval import CaptionRetrieval, text_ids
from affectkit.models import Features
from affectkit.tasks.base import group_by_shape, model_inputs
from affectkit.tasks.evaluation import Evaluation
from affectkit.tasks.multitask import MultiTask

__all__ = ["EmoCapCLIP"]

_WHOLE = ("global", "summary")


class EmoCapCLIP(MultiTask):
    r"""Train an image tower and a text tower on captions of faces, and classify expressions without their labels.

    With the vector v of a clip and those of its captions, the loss is :math:`w_g L(v, t^{global}) + w_s L(v,
    t^{summary}) + w_l L_{local}`, where L is `affectkit.losses.SoftContrast`. For :math:`L_{local}`, a caption of one
    region attends to the patches of every clip (see `FacePatches`). In half of the steps, all clips have the same
    region, so that captions differ in the state of a region and not in its name; in the others each clip has one of
    its own. Contrast is over the clips of all processes. Absent captions are masked.

    Similarities for mining are those of the current step, without gradients. Labels are never used in training. Test
    and validation measure the expression heads, and retrieval in both directions, see `CaptionRetrieval`.

    Args:
        \*args: As for `MultiTask`: backbone, heads, temporal, bridge. Heads are `ZeroShotHead`; the bridge is a
            `CaptionBridge`.
        global_weight: :math:`w_g`.
        summary_weight: :math:`w_s`.
        local_weight: :math:`w_l`; if positive, the backbone needs `tokens: true`.
        guide: See `SoftContrast`, as `beta`, `most`, `least` and `sharpness`.
        beta: Share of similar clips in the targets.
        most: Number of similar clips.
        least: Lowest similarity.
        sharpness: Temperature of the shares.
        mining_from: First epoch with mining, from 0.
        focus: Temperature of the attention to patches.
        shuffle: Give every clip the captions of a random clip of its batch, as a control: nothing can be learned.
        **options: As for `MultiTask`.

    Raises:
        ConfigError: A head is no `ZeroShotHead`, the bridge is no `CaptionBridge`, the widths of the towers differ, or
            local captions have no patches.

    References:
        EmoCapCLIP, arXiv 2507.21015. Its equations were not available: the attention to patches, the targets of
        mining, its start and the choice of regions are ours. There is no moving average of the towers for mining.
    """

    def __init__(
        self,
        *args: Any,
        global_weight: float = 1.0,
        summary_weight: float = 1.0,
        local_weight: float = 1.0,
        guide: Literal["other", "text", "both", "off"] = "other",
        beta: float = 0.3,
        most: int = 5,
        least: float = 0.8,
        sharpness: float = 0.1,
        mining_from: int = 1,
        focus: float = 0.07,
        shuffle: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        if not isinstance(self.model.bridge, CaptionBridge) or not all(
            isinstance(head, ZeroShotHead) for head in self.heads.values()
        ):
            raise ConfigError(
                "EmoCapCLIP trains a bridge and heads that read captions only.",
                remedy="Use CaptionBridge and ZeroShotHead.",
            )
        if local_weight and not getattr(self.model.backbone, "tokens", False):
            raise ConfigError(
                "Local captions need patches, which this backbone does not give.",
                remedy="Set `tokens: true` in the backbone, or `local_weight: 0`.",
            )
        self.contrast = SoftContrast(guide=guide, beta=beta, most=most, least=least, sharpness=sharpness)
        self.mining_from, self.focus, self.shuffle = mining_from, focus, shuffle
        weights = {"global": global_weight, "summary": summary_weight, "local": local_weight}
        self.loss_weights = {name: weight for name, weight in weights.items() if weight}
        self.retrieval: list[CaptionRetrieval] = []
        self.has_captions = False

    @property
    def bridge(self) -> CaptionBridge:
        """The model's bridge."""
        return cast("CaptionBridge", self.model.bridge)

    def training_step(self, batch: ClipBatch | dict[str, ClipBatch], batch_idx: int) -> Tensor:
        """Compute the loss of one step, from a batch of one source or of every source of a mixture."""
        sources = [batch] if isinstance(batch, ClipBatch) else list(batch.values())
        found: dict[str, list[LossTerm]] = {}
        for group in group_by_shape(sources):
            self.has_captions |= any(any(texts) for texts in group.captions.values())
            clips = self._shuffled(group, batch_idx) if self.shuffle else group
            features = self.model.features(**model_inputs(clips))
            for term, part in self.caption_terms(features, clips, batch_idx).items():
                found.setdefault(term, []).append(part)
        return self.finish_step(found, size=sum(len(source) for source in sources))

    def caption_terms(self, features: Features, batch: ClipBatch, batch_idx: int) -> dict[str, LossTerm]:
        """Loss terms `global`, `summary` and `local` of a group of clips, as far as their weights are not 0."""
        terms: dict[str, LossTerm] = {}
        with torch.autocast(self.device.type, enabled=False):
            vectors = clip_vectors(features)
            for part in _WHOLE:
                if part in self.loss_weights:
                    texts = batch.captions.get(part, [""] * len(batch))
                    terms[part] = self._whole_term(vectors, texts)
            if "local" in self.loss_weights:
                texts = self._local_captions(batch, batch_idx)
                terms["local"] = self._local_term(FacePatches.of(features), texts)
        return terms

    def _whole_term(self, vectors: Tensor, texts: Sequence[str]) -> LossTerm:
        """Contrast of whole clips [B, D] with texts, empty where masked."""
        captions, ids, mask = self._encode(texts)
        v, t, ids, mask = self.gather_clips(vectors, captions, ids, mask)
        term: LossTerm = self.contrast(
            v @ t.T,
            ids,
            self.bridge.temperature,
            mask=mask,
            local=self.own_clips(len(vectors)),
            **self._similarities(v, t),
        )
        return term

    def _local_term(self, patches: FacePatches, texts: Sequence[str]) -> LossTerm:
        """Contrast of patches with texts of regions, empty where masked."""
        captions, ids, mask = self._encode(texts)
        count = len(captions)
        z, z_mask, t, ids, mask = self.gather_clips(patches.vectors, patches.mask, captions, ids, mask)
        every = FacePatches(z, z_mask)
        with torch.no_grad():
            own = every.pooled(t, self.focus)
        term: LossTerm = self.contrast(
            every.scores(t, self.focus),
            ids,
            self.bridge.temperature,
            mask=mask,
            local=self.own_clips(count),
            **self._similarities(own, t),
        )
        return term

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors [B, D], numbers of equal texts [B], and mask of texts [B]."""
        mask = torch.tensor([bool(text) for text in texts], device=self.device)
        return self.bridge.encode_captions(texts).float(), text_ids(texts).to(self.device), mask

    def _similarities(self, pictures: Tensor, texts: Tensor) -> dict[str, Tensor]:
        """Similarities for mining, once it has started."""
        if self.current_epoch < self.mining_from:
            return {}
        pictures, texts = pictures.detach(), texts.detach()
        return {"similar_pictures": pictures @ pictures.T, "similar_texts": texts @ texts.T}

    def _local_captions(self, batch: ClipBatch, batch_idx: int) -> list[str]:
        """One caption of a region for every clip, the same in any number of processes."""
        regions = sorted(
            part for part in batch.captions if part not in _WHOLE and not part.startswith(HELD_OUT)
        )
        if not regions:
            return [""] * len(batch)
        seed = self.step_seed("regions", batch_idx, shared=True)
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return batch.captions[rng.choice(regions)]
        texts = []
        for i, clip in enumerate(batch.meta["clip"]):
            own = [text for region in regions if (text := batch.captions[region][i])]
            texts.append(random.Random(derive_seed(seed, clip)).choice(own or [""]))
        return texts

    def _shuffled(self, batch: ClipBatch, batch_idx: int) -> ClipBatch:
        order = list(range(len(batch)))
        random.Random(self.step_seed("shuffle", batch_idx)).shuffle(order)
        captions = {part: [texts[i] for i in order] for part, texts in batch.captions.items()}
        return replace(batch, captions=captions)

    def on_train_epoch_end(self) -> None:
        """Stop if training has diverged, or if no clip had a caption.

        Raises:
            ConfigError: No clip of this epoch had a caption.
        """
        super().on_train_epoch_end()
        if not self.has_captions:
            raise ConfigError(
                "No training clip has a caption.",
                remedy="Add captions to the table, or the transform WriteCaptions for exact labels.",
            )

    def _new_evaluation(self, loaders: Any) -> Evaluation:
        loaders = loaders if isinstance(loaders, list) else [loaders]
        datasets = [loader.dataset for loader in loaders]
        self.retrieval = [CaptionRetrieval(self.bridge, focus=self.focus) for _ in datasets]
        targets = {target for data in datasets for target in data.targets}
        labelled = {name: head for name, head in self.heads.items() if head.target in targets}
        return Evaluation(labelled, datasets, self.device)

    def validation_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """See `AffectTask`; also collects the vectors of clips and captions."""
        self._evaluate("val", batch, dataloader_idx)

    def test_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """See `AffectTask`; also collects the vectors of clips and captions."""
        return self._predictions(self._evaluate("test", batch, dataloader_idx), batch)

    def _evaluate(self, stage: Literal["val", "test"], batch: ClipBatch, loader: int) -> dict[str, Tensor]:
        features = self.model.features(**model_inputs(batch))
        logits = {name: head(features) for name, head in self.heads.items()}
        self.evaluation[stage].update(loader, logits, batch)
        self.retrieval[loader].update(features, batch)
        return logits

    def on_validation_epoch_end(self) -> None:
        """See `AffectTask`; also logs `val/dataset/part/text_r1` and so on."""
        super().on_validation_epoch_end()
        self._log_retrieval("val")

    def on_test_epoch_end(self) -> None:
        """See `AffectTask`; results of retrieval are under `dataset/captions`."""
        super().on_test_epoch_end()
        self._log_retrieval("test")

    def _log_retrieval(self, stage: Literal["val", "test"]) -> None:
        for data, retrieval in zip(self.evaluation[stage].datasets, self.retrieval, strict=True):
            retrieval.gather()
            protocol = (
                f"{self._protocol(data.name)}; equal captions are equally right; chance is a random order"
            )
            rows = retrieval.results(protocol, by_subject=data.groups_are == "subjects")
            logged = {f"{stage}/{data.name}/{row.name}": row.estimate.value for row in rows}
            self.log_dict(logged, sync_dist=True, batch_size=1, add_dataloader_idx=False)
            if stage == "test" and rows:
                self.results[f"{data.name}/captions"] = rows
