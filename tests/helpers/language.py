"""A llama of two layers with random weights and a tokenizer of words, as a folder for transformers."""

import re

import torch


def write_language_model(path, texts=()):
    """Write config.json, model.safetensors and the tokenizer to the folder `path`, and return it.

    It knows the words of the texts, and a few others.
    """
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    known = ["?", "which", "units", "act", "<unk>"]
    known += sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)} - set(known))
    words = {word: number for number, word in enumerate(known)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32 if not texts else 256,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    return path
