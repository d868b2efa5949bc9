"""The folder a model or a head is saved in, locally or on the Hugging Face Hub.

    config.json                 what to build, label names spelled out, input format, metadata
    model.safetensors           every tensor of the model (absent where only heads are given)
    heads/<name>.safetensors    each head's tensors once more, so that it can be loaded without the rest
    README.md                   the model card, see `affectkit.models.card`

Only safetensors are read. Pickled weights are refused, because unpickling runs whatever code the file asks
for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from affectkit import __version__
from affectkit.errors import AffectKitError, ConfigError, WeightsError
from affectkit.models.card import write_card
from affectkit.registry import plain

__all__ = [
    "FORMAT_VERSION",
    "SHIPPED",
    "check_head_name",
    "explained_by",
    "load_strictly",
    "locate",
    "no_weights",
    "read_config",
    "read_tensors",
    "upload",
    "weights_wanted",
    "write_config",
    "write_tensors",
]

FORMAT_VERSION = 1
SHIPPED = {"demo": Path(__file__).with_name("assets") / "demo"}
"""Models that come with affectkit, by name; made by `tools/demo_model.py`, from rendered faces."""

_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HEAD_NAME = re.compile(r"[a-z0-9_]+")
_SOURCES = ("pretrained", "weights")  # what a part's configuration calls the files that it starts from
_MODEL_FILES = ["config.json", "model.safetensors", "heads/*.safetensors"]
_COMPARE = "Compare it with the config.json of a model that affectkit saved."
_weights_wanted: ContextVar[bool] = ContextVar("weights_wanted", default=True)


@contextmanager
def no_weights() -> Iterator[None]:
    """Build models without their initial weights: nothing is read or downloaded, and values are random.

    For whoever wants a model's shape only. Backbones and text towers ignore `pretrained` and `weights` inside.

    Example:
        >>> with no_weights():
        ...     weights_wanted()
        False
    """
    token = _weights_wanted.set(False)
    try:
        yield
    finally:
        _weights_wanted.reset(token)


def weights_wanted() -> bool:
    """Whether initial weights are to be loaded, which `no_weights` turns off."""
    return _weights_wanted.get()


def check_head_name(name: str) -> str:
    """Return `name`, which becomes a file name and a part of tensor names.

    Raises:
        ConfigError: It is not lower-case letters, digits and underscores.

    Example:
        >>> check_head_name("micro_au")
        'micro_au'
    """
    if not _HEAD_NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a head.",
            remedy="Use lower-case letters, digits and underscores.",
        )
    return name


def locate(folder: str | Path, revision: str | None = None, *, heads_only: bool = False) -> Path:
    """The local folder of a saved model, downloaded to the Hub's cache where it is a Hub name.

    Args:
        folder: Local folder, "owner/name" on the Hub, or a name of `SHIPPED`.
        revision: Branch, tag or commit on the Hub.
        heads_only: Download what `Head.from_pretrained` reads, and not the rest of the model.

    Raises:
        WeightsError: There is no such folder or repository, or it holds nothing but pickled weights.
    """
    path = Path(folder)
    if (
        str(folder) in SHIPPED and not (path / "config.json").is_file()
    ):  # a folder of this name may be something else
        return SHIPPED[str(folder)]
    if path.is_dir():
        safe = [*path.glob("*.safetensors"), *path.glob("heads/*.safetensors")]
        pickled = sorted(file.name for file in path.iterdir() if file.suffix.lower() in _PICKLES)
        if pickled and not safe:
            raise _pickled(path, ", ".join(pickled))
        return path
    if path.suffix.lower() in _PICKLES:
        raise _pickled(path, path.name)
    if path.exists() or not _HUB_NAME.fullmatch(str(folder)):
        raise WeightsError(
            "There is no model folder here.",
            path=path,
            remedy="Give a folder with config.json and model.safetensors, or 'owner/name' on the Hub.",
        )
    from huggingface_hub import snapshot_download  # only for models that are not local

    try:
        wanted = [file for file in _MODEL_FILES if not heads_only or file != "model.safetensors"]
        return Path(snapshot_download(str(folder), revision=revision, allow_patterns=wanted))
    except Exception as error:  # the Hub's client and what it sends by raise many kinds
        raise WeightsError(
            f"There is neither such a folder nor could it be had from the Hub: {_one_line(error)}",
            path=str(folder),
            remedy="Check the name and the connection.",
        ) from error


def _pickled(path: Path, names: str) -> WeightsError:
    return WeightsError(
        f"Pickled weights are not loaded, because they can run code: {names}.",
        path=path,
        remedy="Ask for safetensors, or export a checkpoint of your own with `affectkit model export`.",
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check `config.json`.

    Args:
        folder: A local model folder.

    Returns:
        Its content; entries are dicts or absent, and `heads` maps valid head names to dicts. Nothing in them says any
        more where weights come from: a saved model brings its own, and nobody's file chooses what else is read.

    Raises:
        WeightsError: It is missing, damaged, of another library, or of a format this version does not know.
        ConfigError: A head's name is not allowed.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"The configuration cannot be read: {error}.",
            path=path,
            remedy="Give a folder that affectkit saved.",
        ) from error
    if not isinstance(config, dict) or config.get("library") != "affectkit":
        raise WeightsError(
            "This configuration is not affectkit's.", path=path, remedy="Give a folder that affectkit saved."
        )
    if config.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"The folder is of format {config.get('format_version')!r}, written by affectkit "
            f"{config.get('library_version')}, and affectkit {__version__} reads format {FORMAT_VERSION}.",
            path=path,
            remedy="Upgrade affectkit.",
        )
    for key in ("backbone", "temporal", "bridge", "input", "metadata"):
        if not isinstance(config.get(key) or {}, dict):
            raise WeightsError(f"The entry {key!r} must be a dict.", path=path, remedy=_COMPARE)
    heads = config.get("heads")
    if not isinstance(heads, dict) or not all(isinstance(entry, dict) for entry in heads.values()):
        raise WeightsError("The entry 'heads' must map names to dicts.", path=path, remedy=_COMPARE)
    with explained_by(path):
        for name in heads:
            check_head_name(name)
    config["heads"] = {name: _without_sources(entry) for name, entry in heads.items()}
    for part in ("backbone", "temporal", "bridge"):
        config[part] = _without_sources(config.get(part))
    return config


def _without_sources(value: Any) -> Any:
    """A configuration that says nothing of where weights come from."""
    if not isinstance(value, dict):
        return value
    return {key: _without_sources(entry) for key, entry in value.items() if key not in _SOURCES}


@contextmanager
def explained_by(path: Path) -> Iterator[None]:
    """Name the file in whatever is raised by building from what it says.

    Args:
        path: The file.

    Raises:
        ConfigError: What it says cannot be built.
    """
    try:
        yield
    except AffectKitError as error:
        error.path, error.remedy = error.path or path, error.remedy or _COMPARE
        raise
    except Exception as error:  # a value of a wrong type or size makes parts raise many kinds
        fault = f"No model can be built from it, {type(error).__name__}: {_one_line(error)}"
        raise ConfigError(fault, path=path, remedy=_COMPARE) from error


def write_config(folder: Path, entries: Mapping[str, Any]) -> None:
    """Write `config.json`, last of what a model needs, so that a folder with one is complete; then its card.

    Args:
        folder: Created when absent.
        entries: Plain values; the format and library versions are put before them.

    Raises:
        ConfigError: A value is not plain.
    """
    header = {"format_version": FORMAT_VERSION, "library": "affectkit", "library_version": __version__}
    config = {**header, **plain(entries)}
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    _make_folder(folder)
    _replace(folder / "config.json", lambda file: file.write_text(text, encoding="utf-8"))
    write_card(folder, config)


def write_tensors(path: Path, module: nn.Module, *, half: bool = False) -> None:
    """Write a module's tensors as safetensors.

    Args:
        path: The file; its folder is created when absent.
        module: Parameters and persistent buffers are written under their names.
        half: Write floating-point tensors in half precision, except those with larger numbers than it has; loading
            turns them into what the module has.
    """
    tensors = {
        name: (_halved(tensor) if half else tensor).detach().cpu().contiguous()
        for name, tensor in module.state_dict().items()
    }
    _make_folder(path.parent)
    _replace(path, lambda file: save_file(tensors, file))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"No folder can be made here: {error.strerror}.", path=folder, remedy="Name another one."
        ) from error


def _halved(tensor: Tensor) -> Tensor:
    smaller = tensor.half() if tensor.is_floating_point() else tensor
    return smaller if smaller.isfinite().all() else tensor


def _replace(path: Path, write: Any) -> None:
    """Write beside `path` and rename, so that an interruption leaves no half-written file."""
    partial = path.with_name(f".{path.name}.partial")
    partial.touch()
    mode = partial.stat().st_mode  # what the user's umask gives; safetensors would let nobody else read
    write(partial)
    partial.chmod(mode)
    partial.replace(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        WeightsError: It is missing, damaged, or not safetensors.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"The tensors cannot be read: {error}.",
            path=path,
            remedy="Only safetensors are read, whatever a file is called. Copy or export the model again.",
        ) from error


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, skip: Sequence[str] = ()
) -> None:
    """Copy tensors into a module that has exactly these names and shapes. All numbers must be finite.

    Args:
        module: What to fill.
        tensors: By name.
        path: Where they came from, for messages.
        skip: Prefixes of names to leave alone, on both sides.

    Raises:
        WeightsError: Names or shapes differ, or numbers are not finite; each is listed, and the module is left as it
            was.
    """
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith(tuple(skip))}
    wanted = {
        name: tensor for name, tensor in module.state_dict().items() if not name.startswith(tuple(skip))
    }
    faults = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "of another shape": [
            f"{name} {list(given[name].shape)} instead of {list(wanted[name].shape)}"
            for name in sorted(given.keys() & wanted.keys())
            if given[name].shape != wanted[name].shape
        ],
        "with NaN or infinity": sorted(name for name, tensor in given.items() if not tensor.isfinite().all()),
    }
    if any(faults.values()):
        listed = "; ".join(f"{fault}: {_shortened(names)}" for fault, names in faults.items() if names)
        raise WeightsError(
            f"The tensors do not fit the model; {listed}.",
            path=path,
            remedy="Give the tensors and the configuration of one and the same model.",
        )
    module.load_state_dict(given, strict=not skip)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") + "."


def _shortened(names: Sequence[str], most: int = 20) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def upload(folder: Path, repo: str, *, private: bool = False) -> str:
    """Upload a saved model to the Hub, with the token that `hf auth login` stored.

    Args:
        folder: A local model folder.
        repo: "owner/name"; created when absent.
        private: Whether a new repository is private.

    Returns:
        The web address of the commit.

    Raises:
        ConfigError: `repo` is no such name.
        WeightsError: The Hub refuses, or cannot be reached.
    """
    if not _HUB_NAME.fullmatch(repo):
        raise ConfigError(f"{repo!r} cannot name a repository.", remedy="Give 'owner/name'.")
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder))
    except Exception as error:  # as above
        raise WeightsError(
            f"The Hub did not take the model: {_one_line(error)}",
            path=repo,
            remedy="Check the name, the connection, and `hf auth login`.",
        ) from error
