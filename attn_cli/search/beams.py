"""The sentences that are being searched, as tensors: what enters, moves on and leaves together.

Shapes: N sentences, K beams, T history, S source positions, G groups of beams.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor
from torch.nn.functional import pad

from attn_cli.config.decoding import SearchOptions
from attn_cli.errors import UsageError
from attn_cli.search.candidates import FLOOR, NEVER, Choice
from attn_cli.search.constraints import Constraints, Progress
from attn_cli.search.hypotheses import Hypothesis, Pool, Request, length_norm
from attn_cli.search.penalties import coverage_score
from attn_cli.search.sampling import uniforms
from attn_cli.search.shortlist import Shortlist
from attn_cli.search.step import Begun, DecoderState, StepModel


@dataclass
class Slot:
    """What one sentence in flight keeps outside of the tensors.

    Attributes:
        index: its number among the requests.
        pools: the best hypotheses of each group of beams.
        source_len: tokens of its source.
        constraints: phrases that must appear, if any.
        progress: how far each beam has met them.
        opening: tokens of which one must come at the length `opens_at`; None: any may. Shape: (O,).
        opens_at: the prefix's length.
        among: tokens among which the output's are; None: all. Shape: (C,).
        length: tokens in the history.
        room: how many more it may have.
        given: how many of them are the input's.
        has_ended: whether a hypothesis has ended, or was cut.
    """

    index: int
    pools: list[Pool]
    source_len: int = 0
    constraints: Constraints | None = None
    progress: list[Progress] = field(default_factory=list)
    opening: Tensor | None = None
    opens_at: int = 0
    among: Tensor | None = None
    length: int = 0
    room: int = 0
    given: int = 0
    has_ended: bool = False

    @property
    def is_steered(self) -> bool:
        """Whether some tokens must come."""
        return bool(self.constraints) or self.opening is not None


@dataclass
class Beams:
    """N sentences with K beams each (one beam before the first step).

    Attributes:
        slots: the sentences. Length: N.
        state: the model's state.
        log_prob: of each beam; -inf for a beam that does not exist. Shape: (N, K).
        tokens: history, left-aligned. Shape: (N, K, T).
        last: the token to read next. Shape: (N, K).
        length: tokens in the history. Shape: (N,).
        max_len: longest history. Shape: (N,).
        given: tokens of it that are the input's. Shape: (N,).
        given_log_prob: log P of these. Shape: (N,).
        source_len: Shape: (N,).
        prefix: forced tokens, padded with -1. Shape: (N, longest prefix).
        best_norm: the largest divisor that log P of an output can have. Shape: (N,).
        worst: the score that a new hypothesis must beat. Shape: (N, G).
        ended: hypotheses that ended so far. Shape: (N, G).
        coverage: attention so far; None without coverage penalty. Shape: (N, K, S).
        uniform: random numbers for sampling; None without. Shape: (N, K, steps).
        shortlist: the tokens that the sentences choose among; None: all.
    """

    slots: list[Slot]
    state: DecoderState
    log_prob: Tensor
    tokens: Tensor
    last: Tensor
    length: Tensor
    max_len: Tensor
    given: Tensor
    given_log_prob: Tensor
    source_len: Tensor
    prefix: Tensor
    best_norm: Tensor
    worst: Tensor
    ended: Tensor
    coverage: Tensor | None = None
    uniform: Tensor | None = None
    shortlist: Shortlist | None = None

    @classmethod
    def admit(
        cls,
        model: StepModel,
        entering: Sequence[tuple[int, Request]],
        options: SearchOptions,
        seed: int,
        device: torch.device | str,
    ) -> Beams:
        """Sentences before their first step: one beam each, or one per sample.

        Args:
            model: the step function.
            entering: requests and their numbers.
            options: how to search.
            seed: of the random numbers for sampling.
            device: where the model expects tokens.
        """
        requests = [request for _, request in entering]
        prefixes = [request.prefix for request in requests]
        sources = [request.source for request in requests]
        begun = model.begin(sources, prefixes) if any(prefixes) else Begun(model.start(sources))
        n, read = len(requests), [()] * len(requests) if begun.prefix is None else prefixes
        log_prob = torch.zeros(n, device=device)
        if begun.prefix is not None:
            log_prob = begun.prefix.float().clamp(min=FLOOR).sum(1)
        slots = [
            _slot(index, request, tokens, options, model.eos_id)
            for (index, request), tokens in zip(entering, read, strict=True)
        ]
        width = options.width if options.sample else 1
        limits = [max(request.max_len, len(request.prefix)) for request in requests]
        max_len = torch.tensor(limits, device=device)
        given = torch.tensor([request.given for request in requests], device=device)
        uniform = None
        if options.sample:
            keys = [i if request.key is None else request.key for i, request in entering]
            rows = [uniforms(seed, key, width, max(limits) + 1) for key in keys]
            uniform = torch.stack(rows).to(device)
        last = torch.tensor([(model.bos_id, *tokens)[-1] for tokens in read], device=device)
        return cls(
            slots=slots,
            state=begun.state.expand(width) if width > 1 else begun.state,
            log_prob=log_prob[:, None].repeat(1, width),
            tokens=_padded(read, 0).to(device)[:, None].repeat(1, width, 1),
            last=last[:, None].repeat(1, width),
            length=torch.tensor([len(tokens) for tokens in read], device=device),
            max_len=max_len,
            given=given,
            given_log_prob=log_prob.masked_fill(given == 0, 0.0),
            source_len=torch.tensor([len(source) for source in sources], device=device),
            prefix=_padded(prefixes, -1).to(device),
            best_norm=length_norm(max_len - given, options.length_penalty),
            worst=torch.full((n, options.n_groups), NEVER, device=device),
            ended=torch.zeros(n, options.n_groups, dtype=torch.int64, device=device),
            coverage=torch.zeros(n, width, 0, device=device) if options.coverage_penalty else None,
            uniform=uniform,
            shortlist=_shortlist(slots, device),
        )

    def column(self, token: int) -> int:
        """Where a token's numbers are among a step's."""
        return token if self.shortlist is None else int(self.shortlist.columns[token])

    def columns_of(self, tokens: Tensor) -> Tensor:
        """The same of tokens that the sentences may take."""
        return tokens if self.shortlist is None else self.shortlist.columns[tokens]

    def tokens_at(self, columns: Tensor) -> Tensor:
        """What columns of a step's numbers stand for."""
        return columns if self.shortlist is None else self.shortlist.tokens[columns]

    def offer(
        self,
        rows: Tensor,
        parents: Tensor,
        groups: Tensor,
        log_prob: Tensor,
        finished: Tensor,
        options: SearchOptions,
    ) -> None:
        """Scores hypotheses, and puts those that are good enough into their pools.

        Args:
            rows: their sentences. Shape: (M,), as those below.
            parents: the beams that they are.
            groups: the groups in which they were chosen.
            log_prob: with the end token, where it is possible.
            finished: whether they end by themselves.
            options: how they are ranked.
        """
        for n in set(rows.tolist()):
            self.slots[n].has_ended = True
        self.ended.index_put_((rows, groups), torch.ones_like(rows), accumulate=True)
        written = self.length[rows] - self.given[rows]
        score = log_prob - self.given_log_prob[rows]
        score = score / length_norm(written, options.length_penalty)
        if self.coverage is not None:
            beta = options.coverage_penalty
            score = score + coverage_score(self.coverage, self.source_len, beta)[rows, parents]
        (better,) = (score > self.worst[rows, groups]).nonzero(as_tuple=True)
        if not better.numel():
            return
        rows, parents, groups = rows[better], parents[better], groups[better]
        histories = self.tokens[rows, parents].tolist()
        lengths = self.length[rows].tolist()
        columns = (x.tolist() for x in (rows, groups, log_prob[better], score[better]))
        flags = finished[better].tolist()
        for n, group, total, rank, flag, history, length in zip(
            *columns, flags, histories, lengths, strict=True
        ):
            pool = self.slots[n].pools[group]
            pool.add(Hypothesis(tuple(history[:length]), total, rank, flag))
        pairs = zip(rows.tolist(), groups.tolist(), strict=True)
        worst = [self.slots[n].pools[group].worst for n, group in pairs]
        self.worst[rows, groups] = self.worst.new_tensor(worst)

    def leave(self, done: Tensor, options: SearchOptions) -> list[tuple[int, list[Hypothesis]]]:
        """Drops the sentences that are done; returns their numbers and hypotheses, best first.

        Shape: done (N,).
        """
        outcome = []
        for n in done.nonzero().flatten().tolist():
            slot = self.slots[n]
            found = [hypothesis for pool in slot.pools for hypothesis in pool.hypotheses]
            found.sort(key=lambda hypothesis: (-hypothesis.score, hypothesis.tokens))
            if len(slot.pools) > 1:  # groups may end alike
                best = {hypothesis.tokens: hypothesis for hypothesis in reversed(found)}
                found = list(reversed(best.values()))
            outcome.append((slot.index, found[: options.n_best]))
        (stay,) = (~done).nonzero(as_tuple=True)
        if stay.numel():
            self.keep(stay)
        else:
            self.slots = []
        return outcome

    def keep(self, sentences: Tensor) -> None:
        """Drops all other sentences. Shape: sentences (M,)."""
        self.slots = [self.slots[i] for i in sentences.tolist()]
        self.state = self.state.keep(sentences)
        self.shortlist = self.shortlist.keep(sentences) if self.shortlist else None
        for name in _TENSORS:
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value.index_select(0, sentences))
        self.tokens = self.tokens[:, :, : max(slot.length for slot in self.slots)]

    def merge(self, other: Beams) -> None:
        """Takes in the sentences of `other` (the same K) after its own."""
        self.slots = self.slots + other.slots
        self.state = self.state.merge(other.state)
        self.shortlist = _shortlist(self.slots, self.last.device)
        for name in _TENSORS:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None:
                fill = -1 if name == "prefix" else 0
                setattr(self, name, _stack(mine, theirs, fill))

    def advance(self, choice: Choice, *, moved: bool) -> None:
        """Extends the beams by what a step chose.

        Args:
            choice: parents, tokens and log-probabilities.
            moved: whether beams changed places (sampling never moves them).
        """
        n, width = choice.beams.shape
        parents = choice.beams[:, :, None]
        if self.log_prob.shape[1] < width:
            self.state = self.state.expand(width)
        elif moved and width > 1:
            in_place = torch.arange(width, device=parents.device)
            if (choice.beams != in_place).any():
                self.state = self.state.reorder(choice.beams)
        if moved and width > 1:
            self.tokens = self.tokens.gather(1, parents.expand(-1, -1, self.tokens.shape[2]))
            if self.coverage is not None:
                size = self.coverage.shape[2]
                self.coverage = self.coverage.gather(1, parents.expand(-1, -1, size))
        if max(slot.length for slot in self.slots) == self.tokens.shape[2]:
            self.tokens = pad(self.tokens, (0, 8))
        at = self.length[:, None, None].expand(n, width, 1)
        self.tokens = self.tokens.scatter(2, at, choice.tokens[:, :, None])
        self.length = self.length + 1
        self.log_prob = choice.log_prob
        self.last = choice.tokens
        # A model that reads what is given step by step has one beam until then.
        for slot in self.slots:
            slot.length, slot.room = slot.length + 1, slot.room - 1
        if any(slot.length <= slot.given for slot in self.slots):
            still = self.length <= self.given
            self.given_log_prob = torch.where(still, self.log_prob.amax(1), self.given_log_prob)


_TENSORS = tuple(
    name.name
    for name in dataclasses.fields(Beams)
    if name.name not in ("slots", "state", "shortlist")
)


def _shortlist(slots: Sequence[Slot], device: torch.device | str) -> Shortlist | None:
    candidates = [slot.among.to(device) for slot in slots if slot.among is not None]
    if not candidates:
        return None
    assert len(candidates) == len(slots), "all requests of a search have candidates, or none"
    return Shortlist.of(candidates)


def _stack(mine: Tensor, theirs: Tensor, fill: int) -> Tensor:
    """Concatenates along sentences; the narrower last dimension is padded with `fill`."""
    if mine.dim() > 1 and mine.shape[-1] != theirs.shape[-1]:
        width = max(mine.shape[-1], theirs.shape[-1])
        mine = pad(mine, (0, width - mine.shape[-1]), value=fill)
        theirs = pad(theirs, (0, width - theirs.shape[-1]), value=fill)
    return torch.cat([mine, theirs])


def _slot(
    index: int, request: Request, tokens: Sequence[int], options: SearchOptions, eos_id: int
) -> Slot:
    """A sentence that enters; `tokens` of its prefix were read already."""
    size = min(options.n_best, options.width // options.n_groups)
    pools = [Pool(size) for _ in range(options.n_groups)]
    slot = Slot(index, pools, len(request.source), among=request.among, length=len(tokens))
    slot.room = max(request.max_len, len(request.prefix)) - len(tokens)
    slot.given = request.given
    slot.opening, slot.opens_at = request.opening, len(request.prefix)
    if any(request.constraints):
        if options.sample or options.n_groups > 1:
            raise UsageError("constraints need a plain beam: leave out --sample and --diversity")
        slot.constraints = Constraints(request.constraints)
        if any(eos_id in phrase for phrase in slot.constraints.phrases):
            raise ValueError(f"request {index}: a constraint contains the end token")
        slot.progress = [reduce(slot.constraints.advance, tokens, slot.constraints.start())]
    return slot


def _padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of different lengths as one integer tensor. Shape: (rows, longest)."""
    width = max(map(len, rows), default=0)
    padded = [[*row, *[fill] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int64).view(len(rows), width)
