"""`affectkit doctor`: versions, devices, video readers, cached weights, and what is missing for which command."""

from __future__ import annotations

import os
import platform
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from affectkit import __version__
from affectkit.cli.parser import make_parser
from affectkit.cli.recipe import compose, find_recipe, recipe_names

__all__ = ["EXTRAS", "REQUIRED", "run"]

REQUIRED = (
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "timm",
    "open_clip_torch",
    "einops",
    "omegaconf",
    "jsonargparse",
    "pyyaml",
    "safetensors",
    "huggingface_hub",
    "av",
    "numpy",
    "pandas",
    "pyarrow",
    "openpyxl",
    "opencv-python-headless",
    "onnxruntime",
    "pillow",
    "scipy",
    "rich",
    "matplotlib",
    "jinja2",
)
"""Packages without which affectkit does not work."""

EXTRAS = {
    "synth": (("numba",), "demo, data render, data rehearse, and recipes with rendered faces"),
    "onnx": (("onnx", "onnxscript"), "model export --to onnx"),
    "llm": (("transformers", "gguf", "accelerate"), "recipes with a pretrained language model"),
    "ray": (("ray",), "--engine ray"),
    "tensorboard": (("tensorboard",), "--logger tensorboard"),
    "wandb": (("wandb",), "--logger wandb"),
}
"""Packages of each extra, and what needs them."""

_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)  # names of weights on the Hub
_SHOWN = 6  # cached repositories
_WIDTH = 110


def run(args: Sequence[str]) -> int:
    """Print everything on one screen; 1 if a required package is missing."""
    parser = make_parser(
        "doctor",
        "Versions, devices, video readers, cached weights, and what is missing for which command. Needs no network.",
    )
    parser.parse_args(args)
    versions = {name: _version(name) for name in (*REQUIRED, "decord")}
    missing = [name for name in REQUIRED if versions[name] is None]
    _row("affectkit", f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}")
    _row("packages", ", ".join(f"{name} {versions[name]}" for name in REQUIRED if versions[name]))
    if missing:
        _row("", f"MISSING: {', '.join(missing)}. Run: pip install affectkit")
        return 1
    for title, lines in (
        ("devices", _devices()),
        ("video", [_video(versions["decord"])]),
        ("folders", [_folders()]),
        ("extras", _extras()),
        ("weights", [*_recipe_weights(), _cached()]),
    ):
        for place, line in enumerate(lines):
            _row(title if place == 0 else "", line)
    return 0


def _row(title: str, text: str) -> None:
    start = f"{title:<11}"
    print(textwrap.fill(text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start)))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[str]:
    import torch

    yield f"cpu: {os.cpu_count()} cores, of which torch uses {torch.get_num_threads()}"
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}: {facts.name}, {facts.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        yield "mps"
    if not torch.cuda.is_available():
        build = "torch has no CUDA" if torch.version.cuda is None else f"built for CUDA {torch.version.cuda}"
        yield f"no CUDA device ({build})"


def _video(decord: str | None) -> str:
    import av

    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    other = f"decord {decord}" if decord else "decord is not installed (only for --backend decord)"
    return f"pyav {av.__version__} (libavcodec {ffmpeg}); {other}"


def _folders() -> str:
    data = os.environ.get("AFFECTKIT_DATA")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return f"AFFECTKIT_DATA: {data or 'not set, recipes use ./runs'}; {free:.0f} GiB free here"


def _extras() -> Iterator[str]:
    """What cannot be used, with the remedy; all others in one line."""
    lacking = {
        extra: [name for name in packages if _version(name) is None]
        for extra, (packages, _) in EXTRAS.items()
    }
    if installed := [extra for extra, names in lacking.items() if not names]:
        yield f"installed: {', '.join(installed)}"
    for extra, names in lacking.items():
        if names:
            yield f"missing for {EXTRAS[extra][1]}: pip install 'affectkit[{extra}]'"


def _recipe_weights() -> Iterator[str]:
    """Pretrained weights that recipes download, and whether they are in the cache."""
    from huggingface_hub import try_to_load_from_cache

    needed: dict[tuple[str, str | bool], list[str]] = {}
    for name in recipe_names():
        for wanted in dict.fromkeys(_pretrained(compose(find_recipe(name)))):
            needed.setdefault(wanted, []).append(name)
    for (model, tag), recipes in needed.items():
        repository = _repository(model, tag)
        found = any(isinstance(try_to_load_from_cache(repository, file), str) for file in _FILES)
        some = f"{recipes[0]} and {len(recipes) - 1} other recipes" if len(recipes) > 1 else recipes[0]
        state = "cached" if found else "NOT cached, downloaded on first use"
        yield f"{repository}: {state}; for {some}"


def _pretrained(node: yaml.Node | None) -> Iterator[tuple[str, str | bool]]:
    """Architectures with pretrained weights, and their tag, anywhere in a recipe."""
    if isinstance(node, yaml.MappingNode):
        values = {key.value: child for key, child in node.value}
        names = [values.get(name) for name in ("model_name", "pretrained")]
        model, tag = (one.value if isinstance(one, yaml.ScalarNode) else None for one in names)
        if model and tag not in (None, "null", "false", ""):
            yield model, tag == "true" or tag
        for child in values.values():
            yield from _pretrained(child)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _pretrained(child)


def _repository(model: str, tag: str | bool) -> str:
    """Repository on the Hub that holds weights of timm, or of open_clip if there is a tag."""
    if isinstance(tag, str):
        import open_clip

        return str(open_clip.get_pretrained_cfg(model, tag)["hf_hub"]).rstrip("/")
    import timm

    return str(getattr(timm.get_pretrained_cfg(model), "hf_hub_id", model))


def _cached() -> str:
    """Models in the Hub's cache and those included in affectkit."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    from affectkit.models.hub import SHIPPED

    try:
        repositories = sorted(scan_cache_dir(constants.HF_HUB_CACHE).repos, key=lambda one: -one.size_on_disk)
    except CacheNotFound:
        repositories = []
    named = [f"{one.repo_id} ({one.size_on_disk / 2**20:.0f} MiB)" for one in repositories[:_SHOWN]]
    more = [f"{len(repositories) - _SHOWN} more"] if len(repositories) > _SHOWN else []
    held = ", ".join([*named, *more]) or "nothing"
    return f"included: {', '.join(SHIPPED)}; cache {constants.HF_HUB_CACHE}: {held}"
