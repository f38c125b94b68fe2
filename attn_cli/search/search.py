"""One search over a step function for everything: greedy, beam, diverse, constrained, sampling.

It sees of a model what `attn_cli.search.step` says, and nothing else. Finished sentences leave the
batch, waiting ones enter. What comes out for a sentence does not depend on its neighbours.

Shapes: N sentences, K beams, P parents (K, or 1 at a sentence's first step), V vocabulary (or a
shortlist's columns), G groups.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Collection, Iterable, Sequence

import torch
from torch import Tensor

from attn_cli.config.decoding import SearchOptions
from attn_cli.errors import UsageError
from attn_cli.search import candidates, forcing, penalties, sampling
from attn_cli.search.beams import Beams, Slot
from attn_cli.search.candidates import NEVER, Choice
from attn_cli.search.hypotheses import Hypothesis, Links, Request, Times
from attn_cli.search.step import StepModel, StepOutput

__all__ = ["Hypothesis", "Links", "Request", "Times", "Watch", "search"]

# Is told of a request, by its number, what its first beam holds after a step, the prefix included.
Watch = Callable[[int, Sequence[int]], None]

_REFILL = 0.5  # sentences enter once no more than this share of the room is taken
_LEAVE_SHARE = 8  # finished sentences leave once they are at least one in eight


def search(
    model: StepModel,
    requests: Iterable[Request],
    options: SearchOptions,
    *,
    max_rows: int,
    max_tokens: int | None = None,
    seed: int = 1,
    forbidden_ids: Collection[int] = (),
    device: torch.device | str = "cpu",
    watch: Watch | None = None,
) -> list[list[Hypothesis]]:
    """Decodes requests, many at a time.

    Args:
        model: the step function.
        requests: best sorted by length; taken one by one, as room is made.
        options: how to search.
        max_rows: the most beams (sentences times `options.width`) in flight; one sentence
            always is.
        max_tokens: the most source tokens in flight, padding included, counted once for each beam;
            None: any number of them.
        seed: of the random numbers for sampling.
        forbidden_ids: tokens that are never produced unless forced (unk, control tokens); the
            model's pad and bos always are among them.
        device: where the model expects tokens.
        watch: is told of the tokens of each request as they come.

    Returns:
        For each request, in order: its hypotheses, best first; `options.n_best` of them, fewer only
        where no more exist. Equal scores are ordered by their tokens.

    Raises:
        UsageError: constraints together with sampling or diversity, which could not keep them; a
            coverage penalty for a model without attention.
    """
    run = _Search(model, options, forbidden_ids, device)
    waiting = _Waiting(
        requests, max_rows // options.width, (max_tokens or sys.maxsize) // options.width
    )
    beams: Beams | None = None
    outcome: dict[int, list[Hypothesis]] = {}
    while True:
        entering = waiting.enter(beams.slots if beams else [])
        if entering:
            fresh = Beams.admit(model, entering, options, seed, device)
            outcome.update(run.step(fresh))
            if beams and fresh.slots:
                beams.merge(fresh)
            elif fresh.slots:
                beams = fresh
        elif beams is None:
            return [outcome[index] for index in range(len(outcome))]
        if beams:
            outcome.update(run.step(beams))
            beams = beams if beams.slots else None
        if beams and watch:
            _tell(beams, watch)


def _tell(beams: Beams, watch: Watch) -> None:
    """Tells of the first beam of each request, while it lives."""
    lives = (beams.log_prob[:, 0] > NEVER).tolist()
    rows = zip(beams.slots, lives, beams.tokens[:, 0].tolist(), beams.length.tolist(), strict=True)
    for slot, is_alive, tokens, length in rows:
        if is_alive:
            watch(slot.index, tokens[:length])


class _Waiting:
    """Requests that have not entered yet.

    Args:
        requests: in the order in which they enter.
        most: sentences in flight.
        most_tokens: of their sources, padding included.
    """

    def __init__(self, requests: Iterable[Request], most: int, most_tokens: int) -> None:
        self._requests = enumerate(requests)
        self._next = next(self._requests, None)
        self._most = most
        self._most_tokens = most_tokens

    def enter(self, slots: Sequence[Slot]) -> list[tuple[int, Request]]:
        """The next ones, beside those in flight: as many as there is room for, or none.

        Taking sentences in copies the state of all others: rather many at once.
        """
        entering: list[tuple[int, Request]] = []
        longest = max((slot.source_len for slot in slots), default=0)
        if slots and len(slots) > _REFILL * self._room(longest):
            return entering
        while self._next is not None:
            longest = max(longest, len(self._next[1].source))
            if len(slots) + len(entering) >= self._room(longest) and (slots or entering):
                break
            entering.append(self._next)
            self._next = next(self._requests, None)
        return entering

    def _room(self, longest: int) -> int:
        """How many sentences there is room for, if none is longer."""
        return min(self._most, self._most_tokens // max(1, longest))


class _Search:
    """One step of sentences, by the options."""

    def __init__(
        self,
        model: StepModel,
        options: SearchOptions,
        forbidden_ids: Collection[int],
        device: torch.device | str,
    ) -> None:
        self._model = model
        self._options = options
        forbidden = {model.pad_id, model.bos_id, *forbidden_ids} - {model.eos_id}
        self._forbidden = torch.tensor(sorted(forbidden), dtype=torch.int64, device=device)
        self._each = options.width // options.n_groups

    def step(self, beams: Beams) -> list[tuple[int, list[Hypothesis]]]:
        """One step of all sentences; those that are done leave, and are returned."""
        options, eos_id = self._options, self._model.eos_id
        need_attention = options.coverage_penalty > 0
        output = self._predict(beams, need_attention=need_attention)
        beams.state = output.state
        if beams.coverage is not None:
            if output.attention is None:
                raise UsageError("this model gives no attention: leave out --coverage-penalty")
            beams.coverage = penalties.add_attention(beams.coverage, output.attention)
        # What may not come next gets -inf, in place, but for what must come.
        log_probs = output.log_probs.to(torch.float32)  # (N, P, V), or the columns of a shortlist
        steered = beams.prefix.shape[1] > 0 or any(slot.is_steered for slot in beams.slots)
        must = forcing.forced(beams, log_probs) if steered else None
        forbidden, end = self._forbidden, beams.column(eos_id)
        if beams.shortlist:
            forbidden = beams.shortlist.of_tokens(forbidden)
        log_probs.index_fill_(2, forbidden, NEVER)
        if options.min_len:
            early = beams.length < torch.minimum(beams.max_len, beams.given + options.min_len)
            log_probs[:, :, end].masked_fill_(early[:, None], NEVER)
        if options.no_repeat_ngram:
            n = options.no_repeat_ngram
            history = beams.columns_of(beams.tokens)
            penalties.forbid_repeats(log_probs, history, beams.length, n)
        if must:
            must.restore(log_probs, beams, eos_id)
        choice = self._choose(beams, log_probs)
        finished: list[tuple[int, list[Hypothesis]]] = []
        if not self._all_go_on(beams, choice):
            choice, finished = self._end(beams, log_probs, choice)
        if beams.slots:
            beams.advance(choice, moved=not options.sample)
        return finished

    def _all_go_on(self, beams: Beams, choice: Choice) -> bool:
        """Whether no sentence has ended anything, is at its limit or without a live beam."""
        if self._options.sample or any(slot.has_ended or slot.room <= 0 for slot in beams.slots):
            return False
        if float(choice.end_log_prob.max()) > NEVER:
            return False
        return not _is_one_without_beams(choice)

    def _end(
        self, beams: Beams, log_probs: Tensor, choice: Choice
    ) -> tuple[Choice, list[tuple[int, list[Hypothesis]]]]:
        """Collects what ends; what goes on, and the sentences that are done, which leave."""
        options = self._options
        self._collect(beams, log_probs, choice)
        # Groups of beams that are done stop.
        live = choice.log_prob.unflatten(1, (options.n_groups, self._each))  # (N, G, K / G)
        stop = (beams.length >= beams.max_len)[:, None]
        if options.sample:
            pass  # each sample goes on until it ends
        elif self._each == 1 or options.stopping == "count":
            stop = stop | (beams.ended >= self._each)
        else:
            # log P only falls, so a beam's best future score is its log P over the largest L.
            best = live.amax(2) - beams.given_log_prob[:, None]
            stop = stop | (best / beams.best_norm[:, None] <= beams.worst)
        log_prob = live.masked_fill(stop[:, :, None], NEVER).flatten(1)
        choice = dataclasses.replace(choice, log_prob=log_prob)
        # Leaving copies the state of those that stay; a few idle rows cost less than that.
        done = (log_prob == NEVER).all(1)
        if _LEAVE_SHARE * int(done.sum()) < len(beams.slots):
            return choice, []
        finished = beams.leave(done, options)
        if beams.slots:
            choice = choice.keep((~done).nonzero(as_tuple=True)[0])
        return choice, finished

    def _predict(self, beams: Beams, *, need_attention: bool) -> StepOutput:
        model, shortlist = self._model, beams.shortlist
        if shortlist is None:
            return model.step(beams.state, beams.last, need_attention=need_attention)
        return model.step_among(beams.state, beams.last, shortlist, need_attention=need_attention)

    def _choose(self, beams: Beams, log_probs: Tensor) -> Choice:
        choice = self._choose_columns(beams, log_probs)
        if beams.shortlist:
            choice = dataclasses.replace(choice, tokens=beams.tokens_at(choice.tokens))
        if any(slot.constraints for slot in beams.slots):
            forcing.allocate(beams, log_probs, choice, self._model.eos_id)
        return choice

    def _choose_columns(self, beams: Beams, log_probs: Tensor) -> Choice:
        options, end = self._options, beams.column(self._model.eos_id)
        if options.sample:
            return self._draw(beams, log_probs, end)
        if options.n_groups > 1:
            groups, diversity = options.n_groups, options.diversity
            return candidates.diverse_tokens(
                log_probs, beams.log_prob, options.width, end, groups, diversity
            )
        return candidates.plain_tokens(log_probs, beams.log_prob, options.width, end)

    def _draw(self, beams: Beams, log_probs: Tensor, end: int) -> Choice:
        """Each beam goes on alone, with a random token."""
        assert beams.uniform is not None
        n, width = beams.last.shape
        at = beams.length.clamp(max=beams.uniform.shape[2] - 1)[:, None, None]
        uniform = beams.uniform.gather(2, at.expand(n, width, 1)).flatten()
        tokens = sampling.draw(log_probs.flatten(0, 1), uniform, self._options).view(n, width)
        log_prob = beams.log_prob + log_probs.gather(2, tokens[:, :, None]).squeeze(2)
        is_end = tokens == end
        parents = torch.arange(width, device=tokens.device).expand(n, width)
        return Choice(
            beams=parents,
            tokens=tokens,
            log_prob=log_prob.masked_fill(is_end, NEVER),
            end_beams=parents,
            end_log_prob=log_prob.masked_fill(~is_end, NEVER),
        )

    def _collect(self, beams: Beams, log_probs: Tensor, choice: Choice) -> None:
        """Puts what ends, and what is cut because it can't go on, into the pools."""
        ends = (choice.end_log_prob > NEVER) & (beams.length < beams.max_len)[:, None]
        if ends.any():
            rows, columns = ends.nonzero(as_tuple=True)
            by_choice = torch.ones_like(rows, dtype=torch.bool)
            parents, log_prob = choice.end_beams[ends], choice.end_log_prob[ends]
            groups = columns // self._each
            beams.offer(rows, parents, groups, log_prob, by_choice, self._options)
        at_limit = any(slot.room <= 0 for slot in beams.slots)
        if self._options.sample or at_limit or _is_one_without_beams(choice):
            self._cut(beams, log_probs, choice)

    def _cut(self, beams: Beams, log_probs: Tensor, choice: Choice) -> None:
        """Puts what can't go on into the pools.

        Nothing may follow: a sample is on its own; a beam search gives up only when no beam is left
        and nothing ended.
        """
        stuck = (choice.log_prob == NEVER) & (choice.end_log_prob == NEVER)  # (N, K)
        if not self._options.sample:
            stuck = stuck.all(1, keepdim=True) & (beams.ended == 0).all(1, keepdim=True)
        at_limit = (beams.length == beams.max_len)[:, None]
        cut = (at_limit | stuck) & (beams.log_prob > NEVER)
        if cut.any():
            rows, parents = cut.nonzero(as_tuple=True)
            ended = beams.log_prob[cut] + log_probs[:, :, beams.column(self._model.eos_id)][cut]
            log_prob = torch.where(ended > NEVER, ended, beams.log_prob[cut])
            chosen = (choice.end_log_prob > NEVER).to(torch.int64)
            counts = torch.zeros_like(cut, dtype=torch.int64)
            counts = counts.scatter_add(1, choice.end_beams, chosen)
            groups = parents // self._each
            beams.offer(rows, parents, groups, log_prob, counts[cut] > 0, self._options)


def _is_one_without_beams(choice: Choice) -> bool:
    """Whether some sentence has no beam that lives on."""
    return float(choice.log_prob.amax(1).min()) == NEVER
