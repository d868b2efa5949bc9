"""Entry points of `torch.hub`: `torch.hub.load("this clone", "affect_model", "demo", source="local")`.

Names and contents of models are affectkit's own (see `affectkit.load`), so nothing here can differ from it.
"""

from affectkit.models import AffectModel, Head, load

dependencies = ["torch", "torchvision", "timm", "safetensors", "huggingface_hub"]


def affect_model(model: str = "demo", revision: str | None = None) -> AffectModel:
    """A saved model: a folder, "owner/name" on the Hugging Face Hub, or "demo" (rendered faces only)."""
    return load(model, revision=revision)


def au_head(model: str = "demo", name: str = "au", revision: str | None = None) -> Head:
    """One head of a saved model, without the model, for features of any network."""
    return Head.from_pretrained(model, name=name, revision=revision)
