"""One search over a step function for everything: greedy, beam, diverse, constrained, sampling.

It sees of a model what `attn_cli.search.step` says, and nothing else. Finished sentences leave the
batch, waiting ones enter. What comes out for a sentence does not depend on its neighbours.

Shapes: N sentences, K beams, P parents (K, or 1 at a sentence's first step), V vocabulary,
G groups.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor

from attn_cli.config.decoding import SearchOptions
from attn_cli.errors import UsageError
from attn_cli.search import candidates, forcing, penalties, sampling
from attn_cli.search.beams import Beams, Hypothesis, Links, Pool, Request, Slot, pad_rows
from attn_cli.search.candidates import NEVER, Choice
from attn_cli.search.constraints import Constraints
from attn_cli.search.step import StepModel, begin

__all__ = ["Hypothesis", "Links", "Request", "search"]

_LEAVE_SHARE = 8  # finished sentences leave once they are at least one in eight


def search(
    model: StepModel,
    requests: Iterable[Request],
    options: SearchOptions,
    *,
    max_rows: int,
    seed: int = 1,
    forbidden_ids: Collection[int] = (),
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """Decodes requests, many at a time.

    Args:
        model: the step function.
        requests: best sorted by length; taken one by one, as room is made.
        options: how to search.
        max_rows: the most beams (sentences times `options.width`) in flight; one sentence
            always is.
        seed: of the random numbers for sampling.
        forbidden_ids: tokens that are never produced unless forced (unk, control tokens); the
            model's pad and bos always are among them.
        device: where the model expects tokens.

    Returns:
        For each request, in order: its hypotheses, best first; `options.n_best` of them, fewer only
        where no more exist. Equal scores are ordered by their tokens.

    Raises:
        UsageError: constraints together with sampling or diversity, which could not keep them; a
            coverage penalty for a model without attention.
    """
    run = _Search(model, options, max_rows, seed, forbidden_ids, device)
    outcome = dict(run.run(requests))
    return [outcome[index] for index in range(len(outcome))]


class _Search:
    def __init__(
        self,
        model: StepModel,
        options: SearchOptions,
        max_rows: int,
        seed: int,
        forbidden_ids: Collection[int],
        device: torch.device | str,
    ) -> None:
        self._model = model
        self._options = options
        self._capacity = max(1, max_rows // options.width)
        self._seed = seed
        self._device = device
        forbidden = {model.pad_id, model.bos_id, *forbidden_ids} - {model.eos_id}
        self._forbidden = torch.tensor(sorted(forbidden), dtype=torch.int64, device=device)
        self._each = options.width // options.n_groups

    def run(self, requests: Iterable[Request]) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields the number of a request and its hypotheses, as sentences finish."""
        waiting = enumerate(requests)
        beams: Beams | None = None
        while True:
            # Taking sentences in copies the state of all others: rather many at once.
            if beams is None or 2 * len(beams) <= self._capacity:
                room = self._capacity - (len(beams) if beams else 0)
                entering = list(itertools.islice(waiting, room))
                if entering:
                    fresh = self._admit(entering)
                    yield from self._step(fresh)
                    beams = _joined(beams, fresh)
            if beams is None:
                return
            yield from self._step(beams)
            beams = beams if len(beams) else None

    def _admit(self, entering: list[tuple[int, Request]]) -> Beams:
        """Sentences before their first step: one beam each, or one per sample."""
        options, n = self._options, len(entering)
        requests = [request for _, request in entering]
        prefixes = [request.prefix for request in requests]
        begun = begin(self._model, [request.source for request in requests], prefixes)
        read = prefixes if begun.prefix is not None else [()] * n
        slots = [self._slot(*one, done) for one, done in zip(entering, read, strict=True)]
        width = options.width if options.sample else 1
        limits = [max(request.max_len, len(request.prefix)) for request in requests]
        device = self._device

        def whole(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        return Beams(
            slots=slots,
            state=begun.state.expand(width) if width > 1 else begun.state,
            log_prob=forcing.log_prob_read(begun.prefix, n).to(device)[:, None].repeat(1, width),
            tokens=pad_rows(read, 0).to(device)[:, None].repeat(1, width, 1),
            last=whole([(self._model.bos_id, *row)[-1] for row in read])[:, None].repeat(1, width),
            length=whole([len(row) for row in read]),
            max_len=whole(limits),
            source_len=whole([len(request.source) for request in requests]),
            prefix=pad_rows(prefixes, -1).to(device),
            worst=torch.full((n, options.n_groups), NEVER, device=device),
            ended=torch.zeros(n, options.n_groups, dtype=torch.int64, device=device),
            coverage=torch.zeros(n, width, 0, device=device) if options.coverage_penalty else None,
            uniform=self._uniforms(slots, limits) if options.sample else None,
        )

    def _slot(self, index: int, request: Request, read: Sequence[int]) -> Slot:
        """A sentence, so many tokens of whose output have been read."""
        options = self._options
        pools = [Pool(min(options.n_best, self._each)) for _ in range(options.n_groups)]
        constraints = Constraints(request.constraints)
        if not constraints.phrases:
            return Slot(index, request, pools)
        if options.sample or options.n_groups > 1:
            raise UsageError("constraints need a plain beam: leave out --sample and --diversity")
        if any(self._model.eos_id in phrase for phrase in constraints.phrases):
            raise ValueError(f"request {index}: a constraint contains the end token")
        progress = reduce(constraints.advance, read, constraints.start())
        return Slot(index, request, pools, constraints, [progress])

    def _uniforms(self, slots: list[Slot], limits: list[int]) -> Tensor:
        steps, width = max(limits) + 1, self._options.width
        keys = [slot.index if slot.request.key is None else slot.request.key for slot in slots]
        rows = [sampling.uniforms(self._seed, key, width, steps) for key in keys]
        return torch.stack(rows).to(self._device)

    def _step(self, beams: Beams) -> Iterator[tuple[int, list[Hypothesis]]]:
        """One step of all sentences; those that are done leave and are yielded."""
        options = self._options
        output = self._model.step(
            beams.state, beams.last, need_attention=options.coverage_penalty > 0
        )
        beams.state = output.state
        if beams.coverage is not None:
            if output.attention is None:
                raise UsageError("this model gives no attention: leave out --coverage-penalty")
            beams.coverage = penalties.add_attention(beams.coverage, output.attention)
        log_probs = output.log_probs.to(torch.float32)
        self._mask(beams, log_probs)
        choice = self._choose(beams, log_probs)
        self._collect(beams, log_probs, choice)
        yield from self._retire(beams, self._stop(beams, choice))

    def _mask(self, beams: Beams, log_probs: Tensor) -> None:
        """Sets what may not come next to -inf, in place. Shape: log_probs (N, P, V)."""
        options, eos_id = self._options, self._model.eos_id
        must = forcing.forced(beams, log_probs)
        log_probs.index_fill_(2, self._forbidden, NEVER)
        if options.min_len:
            early = beams.length < beams.max_len.clamp(max=options.min_len)
            log_probs[:, :, eos_id].masked_fill_(early[:, None], NEVER)
        if options.no_repeat_ngram:
            n = options.no_repeat_ngram
            penalties.forbid_repeats(log_probs, beams.tokens, beams.length, n)
        must.restore(log_probs, beams, eos_id)

    def _choose(self, beams: Beams, log_probs: Tensor) -> Choice:
        options, eos_id = self._options, self._model.eos_id
        if options.sample:
            return self._draw(beams, log_probs)
        if options.n_groups > 1:
            groups, diversity = options.n_groups, options.diversity
            return candidates.diverse_tokens(
                log_probs, beams.log_prob, options.width, eos_id, groups, diversity
            )
        found = candidates.top_candidates(log_probs, beams.log_prob, 2 * options.width)
        choice = candidates.split_ends(*found, options.width, eos_id)
        forcing.allocate(beams, log_probs, found, choice, eos_id)
        return choice

    def _draw(self, beams: Beams, log_probs: Tensor) -> Choice:
        """Each beam goes on alone, with a random token."""
        assert beams.uniform is not None
        n, width = beams.last.shape
        at = beams.length.clamp(max=beams.uniform.shape[2] - 1)[:, None, None]
        uniform = beams.uniform.gather(2, at.expand(n, width, 1)).flatten()
        tokens = sampling.draw(log_probs.flatten(0, 1), uniform, self._options).view(n, width)
        log_prob = beams.log_prob + log_probs.gather(2, tokens[:, :, None]).squeeze(2)
        is_end = tokens == self._model.eos_id
        own = torch.arange(width, device=tokens.device).expand(n, width)
        return Choice(
            beams=own,
            tokens=tokens,
            log_prob=log_prob.masked_fill(is_end, NEVER),
            end_beams=own,
            end_log_prob=log_prob.masked_fill(~is_end, NEVER),
        )

    def _collect(self, beams: Beams, log_probs: Tensor, choice: Choice) -> None:
        """Puts what ends, and what is cut because it can't go on, into the pools."""
        at_limit = (beams.length == beams.max_len)[:, None]
        ends = (choice.end_log_prob > NEVER) & (beams.length < beams.max_len)[:, None]
        if ends.any():
            rows, columns = ends.nonzero(as_tuple=True)
            finished = torch.ones_like(rows, dtype=torch.bool)
            parents, log_prob = choice.end_beams[ends], choice.end_log_prob[ends]
            self._keep(beams, rows, parents, columns // self._each, log_prob, finished)
        cut = (at_limit | self._stuck(beams, choice)) & (beams.log_prob > NEVER)
        if cut.any():
            rows, parents = cut.nonzero(as_tuple=True)
            ended = beams.log_prob[cut] + log_probs[:, :, self._model.eos_id][cut]
            log_prob = torch.where(ended > NEVER, ended, beams.log_prob[cut])
            chosen = (choice.end_log_prob > NEVER).to(torch.int64)
            by_choice = torch.zeros_like(cut, dtype=torch.int64)
            by_choice = by_choice.scatter_add(1, choice.end_beams, chosen)[cut] > 0
            self._keep(beams, rows, parents, parents // self._each, log_prob, by_choice)

    def _stuck(self, beams: Beams, choice: Choice) -> Tensor:
        """Parents to be cut since nothing may follow them. Shape: (N, P) or (N, 1).

        A sample is on its own; a beam search gives up only when no beam is left and nothing ended.
        """
        stuck = (choice.log_prob == NEVER) & (choice.end_log_prob == NEVER)
        if self._options.sample:
            return stuck
        return stuck.all(1, keepdim=True) & (beams.ended == 0).all(1, keepdim=True)

    def _keep(
        self,
        beams: Beams,
        rows: Tensor,
        parents: Tensor,
        groups: Tensor,
        log_prob: Tensor,
        finished: Tensor,
    ) -> None:
        """Scores M hypotheses and offers those worth it to their pools. Shape: (M,) each."""
        options = self._options
        beams.ended.index_put_((rows, groups), torch.ones_like(rows), accumulate=True)
        score = log_prob / penalties.length_norm(beams.length[rows], options.length_penalty)
        if beams.coverage is not None:
            beta = options.coverage_penalty
            penalty = penalties.coverage_score(beams.coverage, beams.source_len, beta)
            score = score + penalty[rows, parents]
        (better,) = (score > beams.worst[rows, groups]).nonzero(as_tuple=True)
        if not better.numel():
            return
        rows, parents, groups = rows[better], parents[better], groups[better]
        histories = beams.tokens[rows, parents].tolist()
        lengths = beams.length[rows].tolist()
        columns = (x.tolist() for x in (rows, groups, log_prob[better], score[better]))
        flags = finished[better].tolist()
        for n, group, total, rank, flag, history, length in zip(
            *columns, flags, histories, lengths, strict=True
        ):
            pool = beams.slots[n].pools[group]
            pool.add(Hypothesis(tuple(history[:length]), total, rank, flag))
        worst = [
            beams.slots[n].pools[group].worst
            for n, group in zip(rows.tolist(), groups.tolist(), strict=True)
        ]
        beams.worst[rows, groups] = beams.worst.new_tensor(worst)

    def _stop(self, beams: Beams, choice: Choice) -> Choice:
        """The choice without the beams of groups that are done."""
        options = self._options
        live = choice.log_prob.unflatten(1, (options.n_groups, self._each))  # (N, G, K / G)
        stop = (beams.length >= beams.max_len)[:, None]
        if options.sample:
            pass  # each sample goes on until it ends
        elif self._each == 1 or options.stopping == "count":
            stop = stop | (beams.ended >= self._each)
        else:
            # log P only falls, so a beam's best future score is its log P over the largest L.
            norm = penalties.length_norm(beams.max_len, options.length_penalty)[:, None]
            stop = stop | (live.amax(2) / norm <= beams.worst)
        log_prob = live.masked_fill(stop[:, :, None], NEVER).flatten(1)
        return dataclasses.replace(choice, log_prob=log_prob)

    def _retire(self, beams: Beams, choice: Choice) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Extends the beams; sentences without any beam leave, some at a time."""
        done = (choice.log_prob == NEVER).all(1)
        count = int(done.sum())
        # Leaving copies the state of those that stay; a few idle rows cost less than that.
        if _LEAVE_SHARE * count >= len(beams):
            for n in done.nonzero().flatten().tolist():
                slot = beams.slots[n]
                distinct = self._options.n_groups > 1
                yield slot.index, slot.best(self._options.n_best, distinct=distinct)
            (stay,) = (~done).nonzero(as_tuple=True)
            if not stay.numel():
                beams.slots = []
                return
            if count:
                beams.keep(stay)
                choice = choice.keep(stay)
        beams.advance(choice, moved=not self._options.sample)


def _joined(beams: Beams | None, fresh: Beams) -> Beams | None:
    if not len(fresh):
        return beams
    if beams is None:
        return fresh
    beams.merge(fresh)
    return beams
