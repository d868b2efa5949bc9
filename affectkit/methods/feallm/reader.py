"""A language model that reads visual tokens, scores fixed slots, and completes answers within the grammar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import repeat
from torch import Tensor, nn
from torch.nn import functional as F

from affectkit.errors import ConfigError
from affectkit.facs import ActionUnit, AUSet, ExpressionSet
from affectkit.facs.prompts import au_name
from affectkit.losses import LossTerm
from affectkit.methods.feallm.answers import (
    AND,
    END,
    EXPRESSION,
    INSTRUCTION,
    MOST_CUES,
    NEXT,
    NO_CUE,
    NONE,
    REASON,
    START,
    STOP,
    Answer,
    unit_pieces,
)
from affectkit.models.language import Past, language_model

__all__ = ["AnswerReader"]

_YES, _NO = " yes", " no"
_CONTEXT = 256  # tokens of a tiny model besides names


@dataclass
class _Draft:
    """An answer that is being completed.

    Attributes:
        units: Its active units.
        tokens: Tokens so far.
        options: Possible continuations, token numbers by what they mean; empty once the answer is complete.
        place: Tokens of the continuation so far.
    """

    units: tuple[ActionUnit, ...]
    tokens: list[int]
    options: dict[Any, tuple[int, ...]]
    place: int = 0
    expression: str = ""
    cues: list[ActionUnit] = field(default_factory=list)

    @property
    def next(self) -> list[int]:
        """Possible next tokens, each once."""
        return sorted({option[self.place] for option in self.options.values()})

    def take(self, token: int) -> None:
        """Append a token, and keep the options that have it."""
        self.options = {key: way for key, way in self.options.items() if way[self.place] == token}
        self.tokens.append(token)
        self.place += 1


class AnswerReader(nn.Module):
    """A language model with a constant instruction, one slot for each unit, and answers in a fixed grammar.

    The model reads visual tokens, the instruction, and the name of every unit. The logit of a unit is that of " yes"
    minus that of " no" after its name, a fixed place: no answer is fed back, so all units are scored in one pass. The
    answer follows. Its list of units comes from outside (from labels in training, from decisions otherwise); the model
    completes expression and reason. Only tokens that the grammar allows compete, so every answer parses.

    Args:
        language: Arguments of `affectkit.models.language.LanguageSettings`.
        units: The units.
        expressions: The classes.
        features: Width P of the visual tokens.

    Attributes:
        width: Width W of the language model.
        settings: Plain settings of an equal language model.

    Raises:
        ConfigError: The words yes and no, or two names, begin with the same tokens, or as for `language_model`.

    References:
        FEALLM, arXiv 2505.13419, names the order of the input. Slots, grammar, and decoding are ours.
    """

    slots: Tensor
    ends: Tensor
    verdicts: Tensor
    words: Tensor

    def __init__(
        self, language: Mapping[str, Any], units: AUSet, expressions: ExpressionSet, features: int
    ) -> None:
        super().__init__()
        names = [f" {au_name(unit)}" for unit in units]
        classes = [f" {name}" for name in expressions.classes]
        grammar = [*names, *classes, START, NONE, NO_CUE, NEXT, STOP, EXPRESSION, REASON, AND, END]
        texts = [INSTRUCTION, *grammar, _YES, _NO]
        named = sum(len(name.split()) + 1 for name in names)  # as slots, in the list, and in the reason
        self.language = language_model(language, texts, context=_CONTEXT + 3 * named)
        self.settings = self.language.settings.to_dict()
        self.width, self.units, self.expressions = self.language.width, units, expressions
        self.pieces = {text: tuple(self.language.tokenize(text).tolist()) for text in texts}
        verdicts = [self.pieces[word][0] for word in (_YES, _NO)]
        if verdicts[0] == verdicts[1] or len({self.pieces[text] for text in grammar}) < len(grammar):
            raise ConfigError(
                "The language model cannot tell the words of the answers apart.",
                remedy="Use a model with another tokenizer.",
            )
        slots, ends = list(self.pieces[INSTRUCTION]), list[int]()
        for name in names:
            slots += self.pieces[name]
            ends.append(len(slots) - 1)
        words = sorted({token for text in grammar for token in self.pieces[text]})
        numbers = {"slots": slots, "ends": ends, "verdicts": verdicts, "words": words}
        for key, values in numbers.items():
            self.register_buffer(key, torch.tensor(values), persistent=False)
        self.place_of = {token: place for place, token in enumerate(words)}
        self.enter = nn.Linear(features, self.width)
        size = self.language.embed(self.slots).detach().square().mean().sqrt()
        self.scale = nn.Parameter(size)

    def prefix(self, visual: Tensor) -> Tensor:
        """Embeddings [B, L, W] of visual tokens [B, N, P], instruction and slots."""
        tokens = self.scale * F.layer_norm(self.enter(visual), (self.width,))
        fixed = repeat(self.language.embed(self.slots), "l w -> b l w", b=visual.shape[0])
        return torch.cat([tokens, fixed], dim=1)

    def unit_logits(self, states: Tensor, visual: int) -> Tensor:
        """Logits [B, A] of the units from states of a prefix with this number of visual tokens."""
        scores = self.language.score(states[:, visual + self.ends], self.verdicts)
        return scores[..., 0] - scores[..., 1]

    def forward(self, visual: Tensor) -> Tensor:
        """Logits [B, A] of the units for visual tokens [B, N, P]."""
        return self.unit_logits(self.language(self.prefix(visual)), visual.shape[1])

    def learn(self, visual: Tensor, answers: Sequence[Answer | None]) -> tuple[Tensor, LossTerm]:
        """Logits of the units, and the loss of answers.

        The loss is the cross-entropy of the next token, among those of the grammar, from the expression on. The list of
        units before it is given.

        Args:
            visual: [B, N, P].
            answers: Answers of B clips; None is masked.

        Returns:
            Logits [B, A], and the sum of the loss over tokens with their number, which always has a gradient.
        """
        prefix = self.prefix(visual)
        written = [([], 0) if answer is None else self._tokens(answer) for answer in answers]
        longest = max(len(tokens) for tokens, _ in written)
        tokens = torch.zeros(len(answers), longest, dtype=torch.long, device=visual.device)
        chosen = torch.zeros(len(answers), longest, dtype=torch.bool, device=visual.device)
        for row, (given, first) in enumerate(written):
            tokens[row, : len(given)] = torch.tensor(given, dtype=torch.long)
            chosen[row, first : len(given)] = True
        states = self.language(torch.cat([prefix, self.language.embed(tokens)], dim=1))
        before = prefix.shape[1]
        logits = self.unit_logits(states, visual.shape[1])
        scores = self.language.score(states[:, before - 1 : -1][chosen], self.words).float()
        truth = torch.searchsorted(self.words, tokens[chosen])
        loss = F.cross_entropy(scores, truth, reduction="sum") + 0.0 * states.sum()
        return logits, (loss, chosen.sum().to(loss.dtype))

    def _tokens(self, answer: Answer) -> tuple[list[int], int]:
        """Tokens of an answer, and the place of the first one after the list of units."""
        return self._join(*answer.pieces), len(self._join(*unit_pieces(answer.units)))

    def _join(self, *pieces: str) -> list[int]:
        return [token for piece in pieces for token in self.pieces[piece]]

    @torch.no_grad()
    def complete(self, visual: Tensor, units: Sequence[Sequence[ActionUnit]]) -> list[Answer]:
        """Complete the answers of clips with decided units, the likeliest allowed token at each place.

        Args:
            visual: [B, N, P].
            units: Active units of B clips.
        """
        _, past = self.language.read(self.prefix(visual))
        drafts = [self._start(tuple(active)) for active in units]
        while True:
            for draft in drafts:
                self._advance(draft)
            waiting = [row for row, draft in enumerate(drafts) if draft.options]
            if not waiting:
                break
            scores = self._next_scores([drafts[row] for row in waiting], past, waiting)
            for row, score in zip(waiting, scores, strict=True):
                allowed = drafts[row].next
                best = int(score[[self.place_of[token] for token in allowed]].argmax())
                drafts[row].take(allowed[best])
        return [Answer(draft.units, draft.expression, tuple(draft.cues)) for draft in drafts]

    def _next_scores(self, drafts: Sequence[_Draft], past: Past, rows: Sequence[int]) -> Tensor:
        """Logits [n, words] of the next tokens of some clips; padding comes last, so nothing sees it."""
        longest = max(len(draft.tokens) for draft in drafts)
        padded = [draft.tokens + [0] * (longest - len(draft.tokens)) for draft in drafts]
        tokens = torch.tensor(padded, device=self.words.device)
        theirs = [(keys[list(rows)], values[list(rows)]) for keys, values in past]
        states, _ = self.language.read(self.language.embed(tokens), theirs)
        last = torch.tensor([len(draft.tokens) - 1 for draft in drafts], device=tokens.device)
        return self.language.score(states[torch.arange(len(drafts)), last], self.words)

    def _start(self, active: tuple[ActionUnit, ...]) -> _Draft:
        classes = {name: tuple(self._join(f" {name}", STOP)) for name in self.expressions.classes}
        return _Draft(active, self._join(*unit_pieces(active)), classes)

    def _advance(self, draft: _Draft) -> None:
        """Append everything that needs no choice."""
        while draft.options:
            done = [key for key, way in draft.options.items() if len(way) == draft.place]
            if done:  # the only one: a delimiter ends every continuation
                self._turn(draft, done[0])
            elif len(draft.next) > 1:
                return
            else:
                draft.take(draft.next[0])

    def _turn(self, draft: _Draft, key: Any) -> None:
        """Set the options after a completed continuation."""
        draft.place = 0
        if isinstance(key, str):  # the expression
            draft.expression = key
            draft.tokens += self._join(REASON)
            draft.options = self._reasons(draft)
            return
        cue, is_last = key
        draft.cues += [] if cue is None else [cue]
        draft.options = {} if is_last else self._reasons(draft)

    def _reasons(self, draft: _Draft) -> dict[Any, tuple[int, ...]]:
        """Continuations of a reason: a unit that it does not name yet, as the last one or not."""
        left = [unit for unit in draft.units if unit not in draft.cues]
        options: dict[Any, tuple[int, ...]] = {}
        for unit in left:
            options[unit, True] = tuple(self._join(f" {au_name(unit)}", END))
            if len(left) > 1 and len(draft.cues) < MOST_CUES - 1:
                options[unit, False] = tuple(self._join(f" {au_name(unit)}", AND))
        if not draft.cues:
            options[None, True] = tuple(self._join(NO_CUE, END))
        return options
