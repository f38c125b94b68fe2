"""A search among a shortlist against one of a model that has no other tokens for its source."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from table_model import BOS, EOS, TableModel, TableState, sources
from test_search import ALL_KINDS, mixed_requests, rounded, run

from attn_cli.errors import UsageError
from attn_cli.search.ensemble import Ensemble
from attn_cli.search.search import Request
from attn_cli.search.shortlist import Shortlist
from attn_cli.search.step import StepOutput

VOCABULARY = 40


def candidates(source, forced=()):
    """Some tokens for a source, always the end, some of them bos or pad."""
    drawn = torch.Generator().manual_seed(sum(source))
    some = torch.randperm(VOCABULARY, generator=drawn)[: 8 + sum(source) % 9]
    return torch.cat((some, torch.tensor([EOS, *forced]))).unique()


class Among(TableModel):
    """Gives the columns of a shortlist, as a model does that multiplies no more than these."""

    def step(self, *arguments, **options):
        raise AssertionError("all tokens were asked for")

    def step_among(self, state, tokens, shortlist: Shortlist, *, need_attention=False):
        output = TableModel.step(self, state, tokens, need_attention=need_attention)
        logits = shortlist.product(self, lambda ids: lambda table: table[..., ids].clone())
        return replace(output, log_probs=shortlist.log_probs(logits(output.log_probs)))


@dataclass(frozen=True)
class MaskedState:
    state: TableState
    mask: torch.Tensor  # (N, V)

    def expand(self, beam_size):
        return replace(self, state=self.state.expand(beam_size))

    def reorder(self, beams):
        return replace(self, state=self.state.reorder(beams))

    def keep(self, sentences):
        return MaskedState(self.state.keep(sentences), self.mask[sentences])

    def merge(self, other):
        mask = torch.cat((self.mask, other.mask))
        return MaskedState(self.state.merge(other.state), mask)


class Masked(TableModel):
    """The oracle: all tokens, those that a source may not have made impossible beforehand."""

    def __init__(self, *arguments, asked, **options):
        super().__init__(*arguments, **options)
        self.among = {request.source: request.among for request in asked}

    def start(self, sources):
        mask = torch.full((len(sources), VOCABULARY), float("-inf"))
        for row, source in zip(mask, sources, strict=True):
            row[self.among[source]] = 0.0
        return MaskedState(super().start(sources), mask)

    def step(self, state, tokens, *, need_attention=False):
        output = super().step(state.state, tokens, need_attention=need_attention)
        log_probs = (output.log_probs + state.mask[:, None]).log_softmax(-1)
        return StepOutput(log_probs, MaskedState(output.state, state.mask), output.attention)


def asked_with(**extra):
    asked = []
    for i, request in enumerate(mixed_requests()):
        steered = replace(request, **extra) if i % 2 else request
        forced = [*steered.prefix, *(token for phrase in steered.constraints for token in phrase)]
        asked.append(replace(steered, among=candidates(steered.source, forced)))
    return asked


def check(asked, **options):
    plain = [replace(request, among=None) for request in asked]
    expected = run(Masked(VOCABULARY, sharpness=2.0, asked=asked), plain, **options)
    for max_rows in (10_000, 12, 1):  # together; some leave and others enter; each alone
        found = run(Among(VOCABULARY, sharpness=2.0), asked, max_rows=max_rows, **options)
        assert [[h.tokens for h in each] for each in found] == [
            [h.tokens for h in each] for each in expected
        ]
        for one, other in zip(found, expected, strict=True):
            for key in ("log_prob", "score"):
                numbers = [vars(h)[key] for h in other]
                assert [vars(h)[key] for h in one] == pytest.approx(numbers, rel=1e-4, abs=1e-4)
    for request, found in zip(asked, expected, strict=True):
        assert {token for h in found for token in h.tokens} <= set(request.among.tolist())


@pytest.mark.parametrize("options", [*ALL_KINDS, {"beam": 3, "min_len": 3, "no_repeat_ngram": 1}])
def test_equals_a_search_in_which_all_other_tokens_are_impossible(options):
    check(asked_with(), **options)


def test_forced_beginnings_phrases_and_forbidden_tokens():
    asked = asked_with(constraints=((11, 3), (17,)))
    check(asked, beam=4, n_best=2, forbidden_ids=(9, 12, 39))


def test_a_request_opens_with_one_of_some_tokens():
    asked = [
        replace(
            request,
            opening=torch.tensor([13, 21]),
            among=candidates(request.source, (13, 21, *request.prefix)),
        )
        for request in mixed_requests()
    ]
    check(asked, beam=3)


def test_members_of_an_ensemble_choose_among_the_same():
    asked = asked_with()
    alone = run(Among(VOCABULARY, sharpness=2.0), asked, beam=3)
    twice = Ensemble([Among(VOCABULARY, sharpness=2.0) for _ in range(2)])
    assert [[h.tokens for h in each] for each in run(twice, asked, beam=3)] == [
        [h.tokens for h in each] for each in alone
    ]


def test_all_tokens_as_candidates_change_nothing():
    whole = torch.arange(VOCABULARY)
    asked = [replace(request, among=whole) for request in mixed_requests()]
    plain = run(TableModel(VOCABULARY, sharpness=2.0), mixed_requests(), beam=4)
    found = run(Among(VOCABULARY, sharpness=2.0), asked, beam=4)
    assert [h[0].tokens for h in found] == [h[0].tokens for h in plain]
    assert [h[0].score for h in found] == pytest.approx([h[0].score for h in plain], rel=1e-4)
    assert rounded(found) == rounded(run(Among(VOCABULARY, sharpness=2.0), asked, beam=4))


def test_the_output_layer_is_gathered_once_a_batch():
    made = []
    shortlist = Shortlist.of([torch.tensor([2, 5, 9]), torch.tensor([2, 7])])
    assert shortlist.tokens.tolist() == [2, 5, 7, 9]
    model = TableModel(VOCABULARY)
    for _ in range(3):
        shortlist.product(model, lambda ids: made.append(ids) or (lambda x: x))
    shortlist.keep(torch.tensor([1])).product(model, lambda ids: made.append(ids))
    assert [ids.tolist() for ids in made] == [[2, 5, 7, 9]]
    assert shortlist.keep(torch.tensor([1])).mask.tolist() == [
        [0.0, float("-inf"), 0.0, float("-inf")]
    ]


def test_a_model_without_such_a_step_says_so():
    (source,) = sources(1)
    with pytest.raises(UsageError, match="--shortlist"):
        run(TableModel(VOCABULARY), [Request(source, 4, among=torch.tensor([BOS, EOS, 5]))])
