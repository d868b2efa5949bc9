"""A pretrained language model that the tests write."""

import pytest
from helpers.language import write_language_model


@pytest.fixture(scope="module")
def language_folder(tmp_path_factory):
    pytest.importorskip("transformers", reason="the extra `llm` is not installed")
    return write_language_model(tmp_path_factory.mktemp("language") / "llama")
