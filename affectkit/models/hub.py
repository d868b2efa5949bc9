"""Folders of saved models and heads, local or on the Hugging Face Hub.

    config.json                 parts, label names, input format, metadata
    model.safetensors           all tensors of the model (absent if the folder holds heads only)
    heads/<name>.safetensors    the tensors of each head again, to load it without the model
    README.md                   the model card, see `affectkit.models.card`

Only safetensors are read. Pickled weights are refused, because unpickling can run code.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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

FORMAT_VERSION = 1
SHIPPED = {name: Path(__file__).with_name("assets") / name for name in ("demo", "mesh")}
"""Models included in affectkit, by name, learned from rendered faces: a picture model and a face-mesh model."""

_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HEAD_NAME = re.compile(r"[a-z0-9_]+")
_SOURCES = ("pretrained", "weights")  # arguments of parts that name initial weights
_COMPARE = "Compare it with the config.json of a model that affectkit saved."
_weights_wanted: ContextVar[bool] = ContextVar("weights_wanted", default=True)


@contextmanager
def no_weights() -> Iterator[None]:
    """Build models with random weights: backbones and text towers ignore `pretrained` and `weights`."""
    token = _weights_wanted.set(False)
    try:
        yield
    finally:
        _weights_wanted.reset(token)


def weights_wanted() -> bool:
    """Whether parts load initial weights; False inside `no_weights`."""
    return _weights_wanted.get()


@functools.cache
def is_hub_reachable() -> bool:
    """Ask the Hub once; if it does not answer, its client reads only its cache from now on.

    Otherwise the client would repeat every request for about 25 seconds.
    """
    from huggingface_hub import constants, get_session

    if not constants.HF_HUB_OFFLINE:
        try:
            get_session().head(constants.ENDPOINT, timeout=5)
        except Exception:  # noqa: BLE001  transports raise many kinds
            constants.HF_HUB_OFFLINE = True
    return not constants.HF_HUB_OFFLINE


def why_unavailable(error: Exception) -> str:
    """One sentence about a failed download: the missing connection, or the error."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, LocalEntryNotFoundError):
        cause = cause.__cause__ or cause.__context__
    if cause is None or is_hub_reachable():
        return one_line(error)
    return "not in the local cache, and the Hub is unreachable."


def check_head_name(name: str) -> str:
    """Return `name`, which becomes a file name and a part of tensor names.

    Raises:
        ConfigError: The name contains other characters than lower-case letters, digits and underscores.
    """
    if not _HEAD_NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a valid name of a head.",
            remedy="Use lower-case letters, digits and underscores.",
        )
    return name


def locate(folder: str | Path, revision: str | None = None, *, heads_only: bool = False) -> Path:
    """Return the local folder of a saved model; models on the Hub are downloaded to its cache.

    Args:
        folder: Local folder, "owner/name" on the Hub, or a name in `SHIPPED`.
        revision: Branch, tag or commit on the Hub.
        heads_only: Download only the files that `Head.from_pretrained` reads.

    Raises:
        WeightsError: There is no such folder or repository, or it contains only pickled weights.
    """
    path, name = Path(folder), str(folder)
    if name in SHIPPED and not (path / "config.json").is_file():  # a local model of this name comes first
        return SHIPPED[name]
    pickled = [path.name] if path.suffix.lower() in _PICKLES else []
    if path.is_dir():
        pickled = sorted(file.name for file in path.iterdir() if file.suffix.lower() in _PICKLES)
        if not pickled or any(path.glob("*.safetensors")) or any(path.glob("heads/*.safetensors")):
            return path
    if pickled:
        raise WeightsError(
            f"Pickled weights are not loaded, because they can run code: {', '.join(pickled)}.",
            path=path,
            remedy="Ask for safetensors, or export your own checkpoint with `affectkit model export`.",
        )
    if path.exists() or not _HUB_NAME.fullmatch(name):
        raise WeightsError(
            "There is no model folder here.",
            path=path,
            remedy="Give a folder with config.json and model.safetensors, or 'owner/name' on the Hub.",
        )
    from huggingface_hub import snapshot_download  # only for models that are not local

    is_hub_reachable()
    wanted = ["config.json", *([] if heads_only else ["model.safetensors"]), "heads/*.safetensors"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the Hub's client and its transport raise many kinds
        raise WeightsError(
            f"There is no local folder of this name, and the Hub repository is not available: {why_unavailable(error)}",
            path=name,
            remedy="Check the name and the connection.",
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the `config.json` of a local folder.

    Entries are dicts or absent; `heads` maps valid head names to dicts. Sources of initial weights are removed: a saved
    model contains its own weights, and its configuration must not make loading read other files.

    Raises:
        WeightsError: The file is missing or damaged, or has another library or an unknown format.
        ConfigError: A head's name is not valid.
    """
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fault = _fault_of(config)
    except (OSError, ValueError, RecursionError) as error:
        fault = f"Cannot read the configuration: {error}."
    if fault:
        raise WeightsError(fault, path=path, remedy="Give a folder that this version of affectkit saved.")
    with explained_by(path):
        config["heads"] = {
            check_head_name(name): _without_sources(entry) for name, entry in config["heads"].items()
        }
    return config | {part: _without_sources(config.get(part)) for part in ("backbone", "temporal", "bridge")}


def _fault_of(config: Any) -> str | None:
    """First fault in the structure of a configuration."""
    if not isinstance(config, dict) or config.get("library") != "affectkit":
        return "This configuration was not written by affectkit."
    if (version := config.get("format_version")) != FORMAT_VERSION:
        return (
            f"The folder has format {version!r}, written by affectkit {config.get('library_version')}; "
            f"affectkit {__version__} reads format {FORMAT_VERSION}."
        )
    for key in ("backbone", "temporal", "bridge", "input", "metadata"):
        if not isinstance(config.get(key) or {}, dict):
            return f"The entry {key!r} must be a dict."
    heads = config.get("heads")
    if not isinstance(heads, dict) or not all(isinstance(entry, dict) for entry in heads.values()):
        return "The entry 'heads' must map names to dicts."
    return None


def _without_sources(value: Any) -> Any:
    """Remove sources of initial weights from a configuration."""
    if not isinstance(value, dict):
        return value
    return {key: _without_sources(entry) for key, entry in value.items() if key not in _SOURCES}


@contextmanager
def explained_by(path: Path) -> Iterator[None]:
    """Name the file in every error of building a model from it; unexpected ones become ConfigError."""
    try:
        yield
    except AffectKitError as error:
        error.path, error.remedy = error.path or path, error.remedy or _COMPARE
        raise
    except Exception as error:  # values of a wrong type or size make parts raise many kinds
        fault = f"Cannot build a model from this file: {type(error).__name__}: {one_line(error)}"
        raise ConfigError(fault, path=path, remedy=_COMPARE) from error


def write_config(folder: Path, entries: Mapping[str, Any]) -> None:
    """Write `config.json` with plain entries, and the card. Call it last: a folder with a configuration is complete.

    Raises:
        ConfigError: A value is not plain, or the folder cannot be created.
    """
    header = {"format_version": FORMAT_VERSION, "library": "affectkit", "library_version": __version__}
    config = {**header, **plain(entries)}
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    _replace(folder / "config.json", lambda file: file.write_text(text, encoding="utf-8"))
    write_card(folder, config)


def write_tensors(path: Path, module: nn.Module, *, half: bool = False) -> None:
    """Write a module's parameters and persistent buffers as safetensors; its folder is created if absent.

    With `half`, floating-point tensors are stored in half precision, except those with larger numbers; loading converts
    them to the module's type.

    Raises:
        ConfigError: The folder cannot be created.
    """
    tensors = {}
    for name, tensor in module.state_dict().items():
        smaller = tensor.half() if half and tensor.is_floating_point() else tensor
        tensors[name] = (smaller if smaller.isfinite().all() else tensor).detach().cpu().contiguous()
    _replace(path, lambda file: save_file(tensors, file))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a file beside `path` and rename it, so that an interruption leaves no incomplete file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"Cannot create this folder: {error.strerror}.", path=path.parent, remedy="Name another folder."
        ) from error
    partial = path.with_name(f".{path.name}.partial")
    partial.touch()
    mode = partial.stat().st_mode  # by the user's umask; safetensors would restrict it to the owner
    write(partial)
    partial.chmod(mode)
    partial.replace(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; raises WeightsError if it is missing or damaged."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"Cannot read the tensors: {error}.",
            path=path,
            remedy="Give safetensors; copy or export the model again.",
        ) from error


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, skip: Sequence[str] = ()
) -> None:
    """Copy the tensors of the file `path` into a module with exactly these names and shapes.

    Names that begin with a prefix in `skip` are ignored in both.

    Raises:
        WeightsError: Names or shapes differ, or numbers are not finite. The module is not changed.
    """
    given, wanted = (
        {name: tensor for name, tensor in state.items() if not name.startswith(tuple(skip))}
        for state in (tensors, module.state_dict())
    )
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
        listed = "; ".join(
            f"{fault}: {', '.join(names[:20])}" + (f" and {len(names) - 20} more" if len(names) > 20 else "")
            for fault, names in faults.items()
            if names
        )
        raise WeightsError(
            f"The tensors do not fit the model; {listed}.",
            path=path,
            remedy="Give tensors and configuration of the same model.",
        )
    module.load_state_dict(given, strict=not skip)


def one_line(error: Exception) -> str:
    """The beginning of an error's message, as one sentence on one line."""
    return " ".join(str(error).split())[:300].rstrip(".") + "."


def upload(folder: Path, repo: str, *, private: bool = False) -> str:
    """Upload a model folder to the Hub with the token of `hf auth login`, and return the URL of the commit.

    Args:
        folder: A local model folder.
        repo: "owner/name"; created if absent.
        private: Whether a new repository is private.

    Raises:
        ConfigError: `repo` has another form.
        WeightsError: The Hub refuses or is not available.
    """
    if not _HUB_NAME.fullmatch(repo):
        raise ConfigError(f"{repo!r} is not a valid name of a repository.", remedy="Give 'owner/name'.")
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder))
    except Exception as error:  # as above
        raise WeightsError(
            f"Cannot upload the model to the Hub: {one_line(error)}",
            path=repo,
            remedy="Check the name, the connection, and `hf auth login`.",
        ) from error
