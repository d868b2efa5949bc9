"""SSM as its authors released it, written once more from the equations: a state dict, and what it must compute.

Plain functions over a dict of tensors named as in the released checkpoints. Nothing here uses the models of affectkit.
"""

import math

import torch
from torch.nn import functional as F

WIDTH, EMBED, LAYERS, TEXT_LAYERS, HEADS = 64, 64, 4, 2, 2  # the tiny CLIP; heads of both towers
PATCH, SIZE, CONTEXT, VOCABULARY, N_CTX = 16, 64, 77, 49408, 8
MOE, EXPERTS, HIDDEN = 2, 4, 24
FRAMES, TEMPORAL_HEADS, TEMPORAL_WIDTH, TEMPORAL_HIDDEN = 16, 8, 4, 96
NEUTRAL = 2

NAMES = {
    1: "inner brow raiser", 2: "outer brow raiser", 4: "brow lowerer", 5: "upper lid raiser", 6: "cheek raiser",
    7: "lid tightener", 9: "nose wrinkler", 10: "upper lip raiser", 12: "lip corner puller", 14: "dimpler",
    15: "lip corner depressor", 17: "chin raiser", 20: "lip stretcher", 23: "lip tightener", 24: "lip presser",
    25: "lips part", 26: "jaw drop",
}  # fmt: skip
CLASSES = (
    "happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear", "contempt", "anxiety",
    "helplessness", "disappointment",
)  # fmt: skip
UNITS = {"bp4d": (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24), "disfa": (1, 2, 4, 6, 9, 12, 25, 26)}
NEUTRAL_TEXT = {
    "bp4d": "no active AUs",
    "disfa": "relaxed facial muscles, straight mouth, smooth forehead, unremarkable eyebrows",
    "mafw": "relaxed facial muscles, no significant action units",
}
# The action units named in each class's text, in the order of CLASSES; texts with other words are given as such.
TEXTS = {
    "bp4d": [[6, 12], [1, 4, 15], None, [4, 7, 23], [1, 2], [10], [1, 2, 4]],
    "disfa": [[6, 12], [1, 4], None, [4], [1, 2, 26], [9], [1, 2, 4, 26]],
    "mafw": [
        [6, 12], [1, 4, 15], None, [4, 5, 23, 25], [1, 2, 5, 26], [9, 10, 15], [1, 2, 4, 5, 26, 20],
        "unilateral lip corner tightener", [1, 4, 20, 25], [1, 4, 15, 26],
        "inner brow raiser, brow lowerer, slight lip corner depressor, lips part",
    ],
}  # fmt: skip
PRIORS = {
    ("bp4d", 7): [[6, 12], [1, 4, 15], [], [4, 7, 23], [1, 2], [10, 17], [1, 2, 4, 7]],
    ("bp4d", 11): [
        [6, 12], [1, 4, 15], [], [4, 7, 23], [1, 2], [10, 15], [1, 2, 4, 7], [12, 14], [1, 4], [1, 4, 15],
        [1, 4, 15],
    ],
    ("disfa", 7): [[6, 12], [1, 4], [], [4], [1, 2, 25, 26], [9], [1, 2, 4, 25, 26]],
    ("disfa", 11): [
        [6, 12], [1, 4], [], [4], [1, 2, 26], [9], [1, 2, 4, 26], [12], [1, 4, 25], [1, 4, 26], [1, 4, 25],
    ],
}  # fmt: skip


def texts(corpus, classes):
    """The words of every class and of every unit."""
    style = "mafw" if classes == 11 else corpus
    words = []
    for name, units in zip(CLASSES, TEXTS[style], strict=False):
        tail = NEUTRAL_TEXT[style] if units is None else units
        words.append(
            f"{name}, " + (tail if isinstance(tail, str) else ", ".join(NAMES[unit] for unit in tail))
        )
    return words, [NAMES[unit] for unit in UNITS[corpus]]


def tokens(words):
    """Token numbers [n, 77] of prompts with eight placeholders, and where each ends."""
    from open_clip.tokenizer import SimpleTokenizer

    numbers = SimpleTokenizer()(["X X X X X X X X " + text for text in words], context_length=CONTEXT)
    return numbers, numbers.argmax(-1)


def make_state(corpus="bp4d", classes=7, *, version=1, smooth=False, seed=0):
    """A random state dict in the released layout, and the token embedding that its prompts were cut from."""
    rng = torch.Generator().manual_seed(seed)
    state = {}

    def add(name, *shape, std=0.1, mean=0.0):
        state[name] = mean + std * torch.randn(*shape, generator=rng)

    def linear(name, given, wanted, bias=True):
        add(f"{name}.weight", wanted, given, std=1 / math.sqrt(given))
        if bias:
            add(f"{name}.bias", wanted)

    def norm(name, width):
        add(f"{name}.weight", width, mean=1.0)
        add(f"{name}.bias", width)

    def block(name, width, experts=0):
        add(f"{name}.attn.in_proj_weight", 3 * width, width, std=1 / math.sqrt(width))
        add(f"{name}.attn.in_proj_bias", 3 * width)
        linear(f"{name}.attn.out_proj", width, width)
        norm(f"{name}.ln_1", width)
        norm(f"{name}.ln_2", width)
        outer, inner = ("shared_expert.0", "shared_expert.2") if experts else ("c_fc", "c_proj")
        linear(f"{name}.mlp.{outer}", width, 4 * width)
        linear(f"{name}.mlp.{inner}", 4 * width, width)
        if not experts:
            return
        for kind in ("weight", "bias"):
            state[f"{name}.mlp.shared_fc1.{kind}"] = state[f"{name}.mlp.shared_expert.0.{kind}"]
            state[f"{name}.mlp.shared_fc2.{kind}"] = state[f"{name}.mlp.shared_expert.2.{kind}"]
        for k in range(experts):
            linear(f"{name}.mlp.private_experts.{k}.fc1", width, HIDDEN)
            linear(f"{name}.mlp.private_experts.{k}.fc2", HIDDEN, width)
        linear(f"{name}.mlp.gate", width, experts)
        state[f"{name}.mlp.alpha"] = torch.tensor(0.7)

    add("encoder.class_embedding", WIDTH)
    add("encoder.positional_embedding", (SIZE // PATCH) ** 2 + 1, WIDTH)
    add("encoder.proj", WIDTH, EMBED)
    add("encoder.conv1.weight", WIDTH, 3, PATCH, PATCH, std=0.03)
    norm("encoder.ln_pre", WIDTH)
    norm("encoder.ln_post", WIDTH)
    for i in range(LAYERS):
        block(f"encoder.transformer.resblocks.{i}", WIDTH, EXPERTS if i >= LAYERS - MOE else 0)

    for i in range(TEXT_LAYERS):
        block(f"text_encoder.transformer.resblocks.{i}", WIDTH)
    add("text_encoder.positional_embedding", CONTEXT, WIDTH)
    norm("text_encoder.ln_final", WIDTH)
    add("text_encoder.text_projection", WIDTH, EMBED, std=1 / math.sqrt(WIDTH))
    embedding = 0.3 * torch.randn(VOCABULARY, WIDTH, generator=rng)
    class_words, unit_words = texts(corpus, classes)
    for i, words in ((1, class_words), (2, unit_words)):
        vectors = embedding[tokens(words)[0]]
        add(f"prompt_learner{i}.ctx", len(words), N_CTX, WIDTH, std=0.3)
        state[f"prompt_learner{i}.token_prefix"] = vectors[:, :1]
        state[f"prompt_learner{i}.token_suffix"] = vectors[:, 1 + N_CTX :]

    expression, unit = (
        ("dfer_temporal_net", "au_temporal_net") if corpus == "bp4d" else ("temporal_net", "temporal_net_au")
    )
    for name, length in ((expression, FRAMES + 1), (unit, FRAMES)):
        if name == unit and version == 2:
            layer = f"{name}.layers.0"
            norm(f"{layer}.norm", EMBED)
            linear(f"{layer}.to_q", EMBED, EMBED, bias=False)
            linear(f"{layer}.to_k", EMBED, EMBED, bias=False)
            add(f"{layer}.relative_position_bias", TEMPORAL_HEADS, 3, std=1.0)
            add(f"{layer}.channel_gate", EMBED, std=1.0)
            continue
        if name == expression:
            add(f"{name}.cls_token", 1, 1, EMBED, std=1.0)
        add(f"{name}.pos_embedding", 1, length, EMBED, std=1.0)
        layer, inner = f"{name}.temporal_transformer.layers.0", TEMPORAL_HEADS * TEMPORAL_WIDTH
        norm(f"{layer}.0.fn.norm", EMBED)
        linear(f"{layer}.0.fn.fn.to_qkv", EMBED, 3 * inner, bias=False)
        linear(f"{layer}.0.fn.fn.to_out.0", inner, EMBED)
        norm(f"{layer}.1.fn.norm", EMBED)
        linear(f"{layer}.1.fn.fn.net.0", EMBED, TEMPORAL_HIDDEN)
        linear(f"{layer}.1.fn.fn.net.3", TEMPORAL_HIDDEN, EMBED)
        norm(f"{name}.ln", EMBED)
        add(f"{name}.gate", 1, mean=1.0, std=0.5)

    linear("dfer_head", EMBED, classes)
    linear("au_head", EMBED, len(UNITS[corpus]))
    if smooth:
        add("au_smooth.weight", len(UNITS[corpus]), 1, 5, mean=0.2)
    prior = torch.full((classes, len(UNITS[corpus])), 0.02)
    for row, units in enumerate(PRIORS[corpus, classes]):
        prior[row, [UNITS[corpus].index(one) for one in units]] = 1.0
    state["init_map"] = prior
    state["row_targets_au2emo"], state["row_targets_emo2au"] = prior.sum(1), prior.sum(0)
    add("delta_map1", *prior.shape, std=1.0)
    add("delta_map2", *prior.T.shape, std=1.0)
    state["alpha"], state["beta"] = torch.tensor(0.3), torch.tensor(-0.4)
    return state, embedding


def clip_file(state, embedding):
    """The tensors of the whole CLIP that the checkpoint's text tower came from."""
    clip = {"token_embedding.weight": embedding, "logit_scale": torch.tensor(4.6)}
    for name, tensor in state.items():
        if name.startswith("text_encoder."):
            clip[name.removeprefix("text_encoder.")] = tensor
    for name in ("class_embedding", "positional_embedding", "proj", "conv1.weight"):
        clip[f"visual.{name}"] = state[f"encoder.{name}"]
    for name, tensor in state.items():
        if name.startswith(("encoder.ln_", "encoder.transformer.")) and "mlp" not in name:
            clip[name.replace("encoder.", "visual.")] = tensor
    for i in range(LAYERS):
        for name, given, wanted in (("c_fc", WIDTH, 4 * WIDTH), ("c_proj", 4 * WIDTH, WIDTH)):
            clip[f"visual.transformer.resblocks.{i}.mlp.{name}.weight"] = torch.zeros(wanted, given)
            clip[f"visual.transformer.resblocks.{i}.mlp.{name}.bias"] = torch.zeros(wanted)
    return {name: tensor.clone() for name, tensor in clip.items()}


class Reference:
    """The released forward pass, on frames that are normalised already."""

    def __init__(self, state, corpus, classes):
        self.state, self.corpus, self.classes = state, corpus, classes

    def __call__(self, expression_clips, unit_clips):
        """Every output of the joint model, for clips [B, 16, 3, S, S] of each task."""
        s = self.state
        class_words, unit_words = texts(self.corpus, self.classes)
        t_e, t_a = self.encode_text(1, class_words), self.encode_text(2, unit_words)
        m_ae, m_ea = self.maps()
        fused_e = unit(t_e + s["alpha"].sigmoid() * m_ae @ t_a)
        fused_a = unit(t_a + s["beta"].sigmoid() * m_ea @ t_e)

        expression, units = (
            ("dfer_temporal_net", "au_temporal_net")
            if self.corpus == "bp4d"
            else ("temporal_net", "temporal_net_au")
        )
        h = self.transformer(expression, self.encode_frames(expression_clips))[:, 0]
        f = self.encode_frames(unit_clips)
        local = f"{units}.layers.0.to_q.weight" in s
        f = (self.local(units, f) if local else self.transformer(units, f)).flatten(0, 1)
        expression_prototype = 10 * unit(h) @ fused_e.T
        unit_prototype = 10 * unit(f) @ fused_a.T
        unit_logits = self.linear("au_head", f) + unit_prototype
        if "au_smooth.weight" in s:
            unit_logits = self.smooth(unit_logits)
        return {
            "expression": self.linear("dfer_head", h) + expression_prototype,
            "expression_prototype": expression_prototype,
            "au": unit_logits.unflatten(0, unit_clips.shape[:2]),
            "au_prototype": unit_prototype.unflatten(0, unit_clips.shape[:2]),
            "au_to_expression": m_ae,
            "expression_to_au": m_ea,
        }

    def linear(self, name, x):
        return x @ self.state[f"{name}.weight"].T + self.state.get(f"{name}.bias", 0.0)

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def maps(self):
        s, prior = self.state, self.state["init_map"]
        rows = (torch.log(prior + 1e-8) + s["delta_map1"]).softmax(1) * prior.sum(1, keepdim=True)
        rows[NEUTRAL] = prior[NEUTRAL]
        columns = prior.T.clone()
        others = [i for i in range(len(prior)) if i != NEUTRAL]
        for j in range(prior.shape[1]):
            scores = torch.stack([torch.log(prior[i, j] + 1e-8) + s["delta_map2"][j, i] for i in others])
            columns[j, others] = scores.softmax(0) * (prior[:, j].sum() - prior[NEUTRAL, j])
        return rows, columns

    def encode_text(self, i, words):
        s = self.state
        _, ends = tokens(words)
        learner = f"prompt_learner{i}"
        x = torch.cat([s[f"{learner}.token_prefix"], s[f"{learner}.ctx"], s[f"{learner}.token_suffix"]], 1)
        x = x + s["text_encoder.positional_embedding"]
        future = torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1)
        for k in range(TEXT_LAYERS):
            x = self.block(f"text_encoder.transformer.resblocks.{k}", x, future)
        x = self.norm("text_encoder.ln_final", x)[torch.arange(len(words)), ends]
        return unit(x @ s["text_encoder.text_projection"])

    def encode_frames(self, clips):
        s = self.state
        x = F.conv2d(clips.flatten(0, 1), s["encoder.conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
        x = torch.cat([s["encoder.class_embedding"].expand(len(x), 1, -1), x], 1)
        x = self.norm("encoder.ln_pre", x + s["encoder.positional_embedding"])
        for k in range(LAYERS):
            x = self.block(f"encoder.transformer.resblocks.{k}", x)
        return (self.norm("encoder.ln_post", x[:, 0]) @ s["encoder.proj"]).unflatten(0, clips.shape[:2])

    def block(self, name, x, bias=0.0):
        s = self.state
        q, k, v = (
            (
                self.norm(f"{name}.ln_1", x) @ s[f"{name}.attn.in_proj_weight"].T
                + s[f"{name}.attn.in_proj_bias"]
            )
            .unflatten(-1, (3, HEADS, -1))
            .permute(2, 0, 3, 1, 4)
        )
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias).softmax(-1)
        x = x + self.linear(f"{name}.attn.out_proj", (weights @ v).transpose(1, 2).flatten(2))
        y = self.norm(f"{name}.ln_2", x)
        if f"{name}.mlp.gate.weight" in s:
            return x + self.experts(f"{name}.mlp", y)
        y = self.linear(f"{name}.mlp.c_fc", y)
        return x + self.linear(f"{name}.mlp.c_proj", y * (1.702 * y).sigmoid())

    def experts(self, name, x):
        """The mixture as released: tokens by position, and each slot served by the expert of another token."""
        flat = x.transpose(0, 1).reshape(-1, x.shape[-1])
        shared = self.linear(f"{name}.shared_expert.2", F.gelu(self.linear(f"{name}.shared_expert.0", flat)))
        weights, chosen = self.linear(f"{name}.gate", flat).softmax(-1).topk(2)
        every = torch.stack(
            [
                self.linear(
                    f"{name}.private_experts.{k}.fc2",
                    F.gelu(self.linear(f"{name}.private_experts.{k}.fc1", flat)),
                )
                for k in range(EXPERTS)
            ]
        )
        count = len(flat)
        routed = torch.zeros_like(flat)
        for slot in range(2):
            for token in range(count):
                place = slot * count + token
                routed[token] += weights[token, slot] * every[chosen[place // 2, place % 2], token]
        out = shared + self.state[f"{name}.alpha"] * routed
        return out.reshape(x.shape[1], x.shape[0], -1).transpose(0, 1)

    def transformer(self, name, frames):
        s = self.state
        if f"{name}.cls_token" in s:
            frames = torch.cat([s[f"{name}.cls_token"].expand(len(frames), 1, -1), frames], 1)
        start = frames + s[f"{name}.pos_embedding"][:, : frames.shape[1]]
        layer = f"{name}.temporal_transformer.layers.0"
        q, k, v = (
            self.linear(f"{layer}.0.fn.fn.to_qkv", self.norm(f"{layer}.0.fn.norm", start))
            .unflatten(-1, (3, TEMPORAL_HEADS, -1))
            .permute(2, 0, 3, 1, 4)
        )
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        x = start + self.linear(f"{layer}.0.fn.fn.to_out.0", (weights @ v).transpose(1, 2).flatten(2))
        y = self.linear(f"{layer}.1.fn.fn.net.0", self.norm(f"{layer}.1.fn.norm", x))
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        x = x + self.linear(f"{layer}.1.fn.fn.net.3", y)
        return self.norm(f"{name}.ln", x + s[f"{name}.gate"] * start)

    def local(self, name, frames):
        s, layer = self.state, f"{name}.layers.0"
        normed = self.norm(f"{layer}.norm", frames)
        q, k = (
            self.linear(f"{layer}.{part}", normed).unflatten(-1, (TEMPORAL_HEADS, -1))
            for part in ("to_q", "to_k")
        )
        values = frames.unflatten(-1, (TEMPORAL_HEADS, -1))
        context = torch.zeros_like(values)
        length = frames.shape[1]
        for t in range(length):
            near = [r for r in (t - 1, t, t + 1) if 0 <= r < length]
            bias = s[f"{layer}.relative_position_bias"][:, [r - t + 1 for r in near]]
            scores = (
                torch.stack([(q[:, t] * k[:, r]).sum(-1) for r in near], -1) / math.sqrt(q.shape[-1]) + bias
            )
            weights = scores.softmax(-1)
            context[:, t] = sum(weights[..., i, None] * values[:, r] for i, r in enumerate(near))
        mixing = 0.25 * torch.tanh(s[f"{layer}.channel_gate"])
        return frames + mixing * (context.flatten(-2) - frames)

    def smooth(self, logits):
        """Pairs of consecutive frames, with two zeros on either side."""
        kernel = self.state["au_smooth.weight"][:, 0]
        pairs = logits.unflatten(0, (-1, 2))
        padded = F.pad(pairs, (0, 0, 2, 2))
        return torch.stack([(padded[:, i : i + 5] * kernel.T).sum(1) for i in range(2)], 1).flatten(0, 1)


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)
