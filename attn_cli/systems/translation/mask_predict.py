"""Translation without order: every word at once, then the doubtful ones again (mask-predict).

Shapes: N sentences, R candidates (a sentence with a length each), T target length, L lengths told
apart, V vocabulary, M masked tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attn_cli.config import changed
from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.data.padding import pad
from attn_cli.errors import UsageError
from attn_cli.models.mask_predict import MaskPredict
from attn_cli.models.seq2seq_base import AttentionMaps, Seq2SeqModel
from attn_cli.nn.cache import KeyValue
from attn_cli.search.hypotheses import length_norm
from attn_cli.search.search import Hypothesis, Request
from attn_cli.systems.generation.generator import LOGITS_AT_ONCE, Ids, Source
from attn_cli.systems.translation.source_base import SourceSide
from attn_cli.systems.translation.translator import Translator, batches_of
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.wording import plural

# Given what is written and which of it is masked, of the first R candidates, (R, T) each: the best
# token for each masked place and its log-probability, (M,) each.
Predict = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_READ = ("--iterations", "--beam", "--greedy", "--n-best", "--length-penalty")
_READ_TOO = ("--max-len", "--min-len")
_STEERS = ("--prefix", "--constraints")


class MaskPredictor(Translator[MaskPredict]):
    """Translates with one conditional masked language model, or with several as an ensemble.

    The model says how long the output may be; each of the likeliest lengths is a candidate, made in
    K passes (see `fill`), and the one of the best mean log-probability is the output (Ghazvininejad
    et al. 2019, section 3). A token's log-probability is the one it had when it was last written,
    given what was then visible: they sum up to no likelihood. Unlike the paper, that of the length
    is counted as one more token's, as the end's is from left to right: short outputs of a length
    that is out of the question would win without.
    """

    kind: ClassVar[type[Seq2SeqModel]] = MaskPredict
    has_likelihood: ClassVar[bool] = False

    def __init__(self, models: Sequence[MaskPredict], src: SourceSide, tgt: Tokenizer) -> None:
        super().__init__(models, src, tgt)
        self._forbidden = torch.tensor([*self.never_ids, tgt.eos_id], device=self.device)
        if len({model.config.n_lengths for model in models}) > 1:
            raise UsageError("models of an ensemble must tell the same lengths apart (--max-len)")

    def check(self, search: SearchOptions, decoding: DecodeOptions) -> None:
        """Raises UsageError for options of a search from left to right."""
        refused = [flag for flag in changed(search) if flag not in (*_READ, *_READ_TOO)]
        refused += changed(decoding, among=_STEERS)
        if refused:
            raise UsageError(
                f"{', '.join(refused)}: a mask-predict model writes all words at once, by "
                "--iterations and --beam alone; leave out what steers a search word by word"
            )
        self.check_files(decoding.image_root)
        self.check_texts(decoding)

    def search(
        self, requests: Sequence[Request], options: SearchOptions, max_tokens: int, seed: int
    ) -> list[list[Hypothesis]]:
        """See `Generator.search`; some sentences at a time."""
        groups = batches_of(requests, max_tokens, options.width)
        return [found for group in groups for found in self._candidates(group, options)]

    def cut(self, source: Source, output: Hypothesis, search: SearchOptions) -> str | None:
        """See `Generator.cut`: longer ones were not learnt."""
        size = plural(len(output.tokens), "token")
        return f"its output stops at {size}, the most that the model learnt (train-mt --max-len)"

    def attentions(self, src: Sequence[Sized], tgt: Sequence[Ids]) -> AttentionMaps:
        """See `Translator.attentions`; in a pass that sees the whole target."""
        tgt_ids, valid = (tensor.to(self.device) for tensor in pad(tgt, self.tgt.pad_id))
        return self.models[0].attentions(*self.source_tensors(src), tgt_ids, valid)[1]

    def target_axes(self, tgt: Ids) -> tuple[Ids, Ids]:
        """See `Translator.target_axes`: every token sees all of them, and there is no end."""
        return tgt, tgt

    def _candidates(
        self, requests: Sequence[Request], options: SearchOptions
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each request, best first."""
        sources = self.source_tensors([request.source for request in requests])
        memories = [model.encode(*sources) for model in self.models]
        sentences, lengths, totals = self._lengths(requests, options, memories, sources[1])
        drafts = [
            _Draft.of(model, memory, sources[1], sentences)
            for model, memory in zip(self.models, memories, strict=True)
        ]

        def predict(tokens: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
            valid = _valid(lengths[: len(tokens)], tokens.shape[1])
            vectors = [draft.vectors(tokens, masked, valid) for draft in drafts]
            return self._best_tokens(vectors)

        tokens, log_probs = fill(predict, lengths, options.passes)
        found: list[list[Hypothesis]] = [[] for _ in requests]
        totals += log_probs.double().sum(1)
        scores = totals / length_norm(lengths, options.length_penalty)
        columns = (x.tolist() for x in (sentences, lengths, tokens, totals, scores))
        longest = self.models[0].config.n_lengths - 1  # stands for all that are longer
        for sentence, length, ids, total, score in zip(*columns, strict=True):
            whole = length < longest or requests[sentence].max_len <= longest
            found[sentence].append(Hypothesis(tuple(ids[:length]), total, score, whole))
        return [
            sorted(own, key=lambda one: (-one.score, one.tokens))[: options.n_best] for own in found
        ]

    def _lengths(
        self,
        requests: Sequence[Request],
        options: SearchOptions,
        memories: Sequence[Tensor],
        src_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The likeliest lengths that are allowed: sentence, length, log p(length) of candidates.

        The longest come first, so that those that still change are the first ones.

        Shape: three of (R,).
        """
        each = [
            model.length_logits(memory, src_mask).float().log_softmax(-1)
            for model, memory in zip(self.models, memories, strict=True)
        ]
        log_probs = _mean(each)  # (N, L)
        longest = log_probs.shape[1] - 1
        limits = [min(request.max_len, longest) for request in requests]
        high = torch.tensor(limits, device=self.device)[:, None]
        low = high.clamp(max=max(1, options.min_len))
        values = torch.arange(longest + 1, device=self.device)
        allowed = (values >= low) & (values <= high)
        log_probs = log_probs.masked_fill(~allowed, -torch.inf)
        best, lengths = log_probs.topk(min(options.width, longest + 1), dim=1)
        sentences, places = (best > -torch.inf).nonzero(as_tuple=True)
        lengths, best = lengths[sentences, places], best[sentences, places]
        order = lengths.argsort(descending=True, stable=True)
        return sentences[order], lengths[order], best[order].double()

    def _best_tokens(self, vectors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The members' best token of each vector (M, D), and its log-probability. Shape: (M,)."""
        size = max(1, LOGITS_AT_ONCE // self.models[0].config.tgt_vocab)
        slices = zip(*(own.split(size) for own in vectors), strict=True)
        best = [self._best_of(some) for some in slices]
        tokens, log_probs = (torch.cat(parts) for parts in zip(*best, strict=True))
        return tokens, log_probs

    def _best_of(self, vectors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        each = [
            model.logits(some).float().log_softmax(-1)
            for some, model in zip(vectors, self.models, strict=True)
        ]
        found = _mean(each).index_fill_(1, self._forbidden, -torch.inf).max(1)
        return found.indices, found.values


@dataclass(frozen=True)
class _Draft:
    """A model and the sources of R candidates, ready for any number of passes."""

    model: MaskPredict
    memory: tuple[KeyValue, ...]
    src_mask: Tensor

    @classmethod
    def of(cls, model: MaskPredict, memory: Tensor, src_mask: Tensor, sentences: Tensor) -> _Draft:
        """Projects each source once and gives it to its candidates. Shape: sentences (R,)."""
        projected = tuple(
            KeyValue(key[sentences], value[sentences])
            for key, value in model.decoder.project(memory)
        )
        return cls(model, projected, src_mask[sentences])

    def vectors(self, tokens: Tensor, masked: Tensor, valid: Tensor) -> Tensor:
        """What the masked tokens are predicted from. Shape: (R, T) each -> (M, D)."""
        count = len(tokens)
        memory = tuple(KeyValue(key[:count], value[:count]) for key, value in self.memory)
        found, _ = self.model.decode(memory, self.src_mask[:count], tokens, masked, valid)
        return found[masked]


def fill(predict: Predict, lengths: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Mask-predict (Ghazvininejad et al. 2019, section 3): from nothing visible to all written.

    The first of K passes writes every token. Before pass t the n = ⌊N (K - t) / K⌋ tokens of the
    lowest log-probability are masked, and written again in view of the others; tokens that stay
    keep their log-probability. A candidate of which nothing would be masked is done.

    Args:
        predict: the model.
        lengths: N of each candidate, longest first. Shape: (R,).
        iterations: K.

    Returns:
        Tokens and their log-probabilities; padding beyond N. Shape: (R, T).
    """
    width = int(lengths.max()) if len(lengths) else 0
    valid = _valid(lengths, width)
    tokens = torch.zeros(valid.shape, dtype=torch.int64, device=lengths.device)
    log_probs = torch.zeros(valid.shape, device=lengths.device)
    for number in range(iterations):
        counts = lengths * (iterations - number) // iterations
        going = int((counts > 0).sum())
        if not going:
            break
        masked = worst(log_probs[:going], valid[:going], counts[:going])
        found = predict(tokens[:going], masked)
        tokens[:going][masked], log_probs[:going][masked] = found
    return tokens, log_probs


def worst(log_probs: Tensor, valid: Tensor, counts: Tensor) -> Tensor:
    """The n valid tokens of the lowest log-probability; of equals the first.

    Shape: (R, T), (R, T), n (R,) -> (R, T), boolean.
    """
    order = log_probs.masked_fill(~valid, torch.inf).argsort(dim=1, stable=True)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return ranks < counts[:, None]


def _mean(log_probs: Sequence[Tensor]) -> Tensor:
    """The logarithm of the members' mean probabilities. Shape: (..., V) each -> (..., V)."""
    return torch.stack(list(log_probs)).logsumexp(0) - math.log(len(log_probs))


def _valid(lengths: Tensor, width: int) -> Tensor:
    """Which places a candidate has. Shape: (R,) -> (R, T)."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]
