from __future__ import annotations

import itertools
import math

import pytest
import torch
from table_model import BOS, EOS, PAD, TableModel, TableState, sources

from attn_cli.config.decoding import SearchOptions
from attn_cli.errors import UsageError
from attn_cli.search import search as searching
from attn_cli.search.search import Hypothesis, Request, search
from attn_cli.search.step import Begun


def run(model, requests, max_rows=1000, seed=1, forbidden_ids=(), **options):
    return search(
        model,
        requests,
        SearchOptions(**options),
        max_rows=max_rows,
        seed=seed,
        forbidden_ids=forbidden_ids,
    )


def requests(count, max_len=6, **extra):
    return [Request(source, max_len, **extra) for source in sources(count)]


def score(log_prob, length, alpha):
    return log_prob / (length + 1) ** alpha


def contains(tokens, phrase):
    return any(tokens[i : i + len(phrase)] == phrase for i in range(len(tokens)))


def ngrams(tokens, n):
    return [tokens[i : i + n] for i in range(len(tokens) - n + 1)]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("model_seed", [0, 1])
def test_full_width_beam_finds_the_true_n_best(alpha, model_seed):
    model = TableModel(6, seed=model_seed)  # 3 words: 3 + 9 + 27 + 81 outputs of up to 4
    asked = requests(8, max_len=4)
    found = run(model, asked, beam=400, n_best=5, length_penalty=alpha)
    for request, hypotheses in zip(asked, found, strict=True):
        ranked = sorted(
            ((score(lp, len(y), alpha), y) for y, lp in model.all_outputs(request.source, 4)),
            reverse=True,
        )
        assert [h.tokens for h in hypotheses] == [y for _, y in ranked[:5]]
        assert [h.score for h in hypotheses] == pytest.approx([s for s, _ in ranked[:5]], rel=1e-5)


def reference_beam(model, source, width, alpha, max_len):
    """Beam search of one sentence in plain Python, always to the end."""
    beams, finished = [((), 0.0)], []
    for length in range(max_len + 1):
        grown = []
        for tokens, total in beams:
            log_probs = model.next_log_probs(source, tokens).tolist()
            grown += [
                (total + lp, tokens, token)
                for token, lp in enumerate(log_probs)
                if token not in (PAD, BOS)
            ]
        grown.sort(key=lambda item: -item[0])
        if length == max_len:
            finished += [(score(t, length, alpha), y) for t, y, token in grown if token == EOS]
            break
        finished += [(score(t, length, alpha), y) for t, y, token in grown[:width] if token == EOS]
        beams = [((*y, token), t) for t, y, token in grown if token != EOS][:width]
    return sorted(finished, reverse=True)


@pytest.mark.parametrize(("vocabulary", "width"), [(30, 4), (1301, 3), (1301, 7)])
def test_equals_a_plain_beam_search(vocabulary, width):
    model = TableModel(vocabulary, sharpness=3.0)  # 1301: the folded top-k, with a remainder
    asked = requests(12, max_len=7)
    found = run(model, asked, beam=width, n_best=width, length_penalty=0.8)
    for request, hypotheses in zip(asked, found, strict=True):
        expected = reference_beam(model, request.source, width, 0.8, 7)[:width]
        assert [h.tokens for h in hypotheses] == [y for _, y in expected]
        assert [h.score for h in hypotheses] == pytest.approx([s for s, _ in expected], rel=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.75, 1.0, 3.0])
def test_stopping_early_loses_nothing_against_searching_to_the_end(alpha):
    model = TableModel(20, sharpness=3.0, ending=2.0)
    asked = requests(20, max_len=12)
    found = run(model, asked, beam=4, length_penalty=alpha)
    for request, (h,) in zip(asked, found, strict=True):
        best_score, best = reference_beam(model, request.source, 4, alpha, 12)[0]
        assert h.tokens == best
        assert h.score == pytest.approx(best_score, rel=1e-4)
    if alpha == 0:
        assert model.steps < 13


def test_beam_of_one_is_greedy():
    model = TableModel(50, sharpness=2.0)
    asked = requests(40, max_len=12)
    found = run(model, asked, beam=1)
    assert found == run(model, asked, greedy=True)
    for request, (hypothesis,) in zip(asked, found, strict=True):
        tokens = []
        while len(tokens) < 12:
            best = int(model.next_log_probs(request.source, tokens).argmax())
            if best == EOS:
                break
            tokens.append(best)
        assert hypothesis.tokens == tuple(tokens)
        ends = int(model.next_log_probs(request.source, tokens).argmax()) == EOS
        assert hypothesis.finished == ends


ALL_KINDS = [
    {"beam": 1},
    {"beam": 4, "n_best": 4},
    {"beam": 4, "n_best": 2, "stopping": "count"},
    {"beam": 4, "coverage_penalty": 0.3, "n_best": 4},
    {"beam": 4, "diversity": 0.5, "n_best": 4},
    {"beam": 4, "diversity": 0.5, "diversity_groups": 2, "no_repeat_ngram": 2},
    {"sample": True, "n_best": 3, "top_p": 0.9},
    {"sample": True, "n_best": 2, "top_k": 5, "temperature": 0.7},
]


def rounded(outcome):
    """Padding of the attention may change the last bit of a coverage penalty, and nothing else."""
    return [
        [(h.tokens, h.log_prob, round(h.score, 4), h.finished) for h in found] for found in outcome
    ]


def mixed_requests():
    """Different limits, prefixes and constraints side by side."""
    asked = []
    for i, source in enumerate(sources(40)):
        prefix = ((), (5,), (7, 9, 7))[i % 3]
        asked.append(Request(source, max_len=2 + i % 9, prefix=prefix))
    return asked


@pytest.mark.parametrize("options", ALL_KINDS)
def test_the_outcome_does_not_depend_on_the_batch(options):
    model = TableModel(40, sharpness=2.0)
    asked = mixed_requests()
    whole = run(model, asked, max_rows=10_000, **options)
    width = SearchOptions(**options).width
    model.most_rows = 0
    few = run(model, iter(asked), max_rows=5 * width, **options)
    assert model.most_rows <= 5 * width
    assert rounded(whole) == rounded(few)
    assert rounded(whole) == rounded(run(model, asked, max_rows=1, **options))
    assert all(found for found in whole)


@pytest.mark.parametrize("options", ALL_KINDS)
def test_log_prob_is_what_the_model_says(options):
    model = TableModel(40, sharpness=2.0)
    for request, found in zip(mixed := mixed_requests(), run(model, mixed, **options), strict=True):
        for hypothesis in found:
            expected = model.log_prob(request.source, hypothesis.tokens)
            assert hypothesis.log_prob == pytest.approx(expected, rel=1e-5)
            assert hypothesis.tokens[: len(request.prefix)] == request.prefix
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


def test_a_batch_holds_to_its_source_tokens_whatever_the_lengths():
    model, taken = TableModel(40, sharpness=2.0), []
    lengths = [1, 2, 3, 3, 3, 4, 9, 9, 9, 30, 30, 61, 61, 2, 2]
    asked = [Request(tuple(range(n)), 6) for n in lengths]
    step = model.step

    def noted(state, tokens, **options):
        taken.append((len(state.source_len), int(state.source_len.max())))
        return step(state, tokens, **options)

    whole = run(model, asked, beam=2)
    model.step = noted
    found = search(model, iter(asked), SearchOptions(beam=2), max_rows=8, max_tokens=60)
    assert rounded(found) == rounded(whole)
    # One sentence of 61 tokens has two beams, too many for the budget: it is alone.
    assert all(2 * n <= 8 and (2 * n * s <= 60 or n == 1) for n, s in taken)
    assert max(n for n, _ in taken) == 4 and (3, 9) in taken and (2, 30) not in taken


def test_waiting_sentences_enter_before_the_batch_is_empty():
    model = TableModel(40, sharpness=2.0)
    asked = [
        Request(source, 30 if i % 10 == 0 else 3) for i, source in enumerate(sources(100, seed=5))
    ]
    run(model, asked, max_rows=20, beam=2, min_len=29)
    # Ten at a time, each batch with a long one, would take ten times 31 steps.
    assert model.steps < 160


def test_min_and_max_len():
    model = TableModel(8, sharpness=2.0)
    asked = requests(50, max_len=5)
    for hypotheses in run(model, asked, beam=3, n_best=3, min_len=4):
        assert all(4 <= len(h.tokens) <= 5 for h in hypotheses)
    assert {len(h[0].tokens) for h in run(model, asked, beam=3)} >= {0, 1, 5}


def test_max_len_of_nothing_gives_the_empty_output():
    model = TableModel(8)
    (found,) = run(model, [Request((4, 5), 0)], beam=3)
    assert [h.tokens for h in found] == [()]


def test_a_prefix_longer_than_max_len_is_given_back():
    model = TableModel(8)
    (found,) = run(model, [Request((4, 5), 2, prefix=(3, 4, 5))], beam=3)
    assert [h.tokens for h in found] == [(3, 4, 5)]


def test_a_cut_output_is_marked_unfinished():
    model = TableModel(8)
    model.table[:, EOS] = -20.0
    (found,) = run(model, [Request((4, 5), 3)], beam=2, n_best=2)
    assert [len(h.tokens) for h in found] == [3, 3]
    assert [h.finished for h in found] == [False, False]


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind", [{"beam": 4, "n_best": 4}, {"sample": True, "n_best": 4}])
def test_no_repeat_ngram(n, kind):
    model = TableModel(7)
    model.table[:, EOS] -= 3.0  # long outputs over four words repeat themselves
    asked = requests(30, max_len=10)
    free = [h.tokens for found in run(model, asked, **kind) for h in found]
    assert any(len(set(ngrams(y, n))) < len(ngrams(y, n)) for y in free)
    held = [h.tokens for found in run(model, asked, **kind, no_repeat_ngram=n) for h in found]
    assert all(len(set(ngrams(y, n))) == len(ngrams(y, n)) for y in held)


def test_no_repeat_ngram_forbids_nothing_else():
    model = TableModel(6)
    asked = requests(8, max_len=4)
    found = run(model, asked, beam=400, n_best=3, length_penalty=0.0, no_repeat_ngram=2)
    for request, hypotheses in zip(asked, found, strict=True):
        ranked = sorted(
            (
                (lp, y)
                for y, lp in model.all_outputs(request.source, 4)
                if len(set(ngrams(y, 2))) == len(ngrams(y, 2))
            ),
            reverse=True,
        )
        assert [h.tokens for h in hypotheses] == [y for _, y in ranked[:3]]


@pytest.mark.parametrize(
    "kind", [{"greedy": True}, {"beam": 4}, {"sample": True}, {"beam": 4, "diversity": 1}]
)
def test_a_dead_end_still_gives_an_output(kind):
    # Five words, none twice, and at least nine of them: nothing is allowed after the fifth.
    model = TableModel(8)
    found = run(model, requests(10, max_len=9), min_len=9, no_repeat_ngram=1, **kind)
    for (hypothesis,) in found:
        assert sorted(hypothesis.tokens) == [3, 4, 5, 6, 7]
        assert not hypothesis.finished
        assert math.isfinite(hypothesis.log_prob)


@pytest.mark.parametrize("kind", [{"greedy": True}, {"beam": 4}, {"sample": True}])
def test_everything_forbidden_gives_the_empty_output(kind):
    model = TableModel(8)
    found = run(model, requests(3), forbidden_ids=range(3, 8), min_len=1, **kind)
    assert [[h.tokens for h in hypotheses] for hypotheses in found] == [[()]] * 3


@pytest.mark.parametrize("kind", [{"beam": 6, "n_best": 6}, {"sample": True, "n_best": 6}])
def test_forbidden_tokens_never_appear_unless_forced(kind):
    model = TableModel(9)
    model.table[:, [PAD, BOS]] = -0.5
    asked = requests(30, prefix=(8,))
    for hypotheses in run(model, asked, forbidden_ids=(8, 4), **kind):
        for h in hypotheses:
            assert h.tokens[0] == 8
            assert not {PAD, BOS, 4, 8} & set(h.tokens[1:])


def test_an_impossible_prefix_is_kept_to():
    model = TableModel(9)
    model.table[:, 5] = float("-inf")
    for (hypothesis,) in run(model, requests(5, prefix=(5, 6)), beam=3):
        assert hypothesis.tokens[:2] == (5, 6)


PHRASES = [
    ((17,),),
    ((17, 18, 19),),
    ((17, 18), (5,), (20, 21, 22)),
    ((9, 9, 4), (9, 4), (4, 9)),
    ((6, 7, 6, 8), (6, 7, 6, 7)),
]


@pytest.mark.parametrize("width", [1, 2, 5, 12])
@pytest.mark.parametrize("phrases", PHRASES)
def test_constraints_always_appear(phrases, width):
    model = TableModel(30, sharpness=3.0)
    tight = sum(map(len, phrases))
    for max_len in (tight, tight + 1, tight + 8):
        asked = requests(12, max_len=max_len, constraints=phrases)
        for found in run(model, asked, beam=width, n_best=min(width, 3), no_repeat_ngram=1):
            assert found
            for h in found:
                assert all(contains(h.tokens, phrase) for phrase in phrases)
                assert len(h.tokens) <= max_len


def test_constraints_and_prefix_combine():
    model = TableModel(30, sharpness=3.0)
    asked = requests(20, max_len=9, prefix=(4, 17), constraints=((17, 18), (25,)))
    asked += requests(20, max_len=9)
    constrained = run(model, asked, beam=5)
    for (h,) in constrained[:20]:
        assert h.tokens[:2] == (4, 17)
        assert contains(h.tokens, (17, 18))
        assert 25 in h.tokens
    # The unconstrained neighbours are what they are alone.
    assert constrained[20:] == run(model, asked[20:], beam=5)


def test_constrained_search_finds_the_best_that_obeys():
    model = TableModel(6)
    asked = requests(10, max_len=4, constraints=((3, 3), (5,)))
    found = run(model, asked, beam=400, length_penalty=0.0)
    for request, (hypothesis,) in zip(asked, found, strict=True):
        obeying = (
            (lp, y)
            for y, lp in model.all_outputs(request.source, 4)
            if contains(y, (3, 3)) and 5 in y
        )
        assert hypothesis.tokens == max(obeying)[1]


def test_constraints_that_are_met_anyway_change_nothing():
    model = TableModel(20, sharpness=3.0)
    asked = requests(20, max_len=6)
    free = run(model, asked, greedy=True)
    for request, (h,) in zip(asked, free, strict=True):
        if h.tokens and h.finished:
            with_phrase = Request(request.source, 6, constraints=(h.tokens,))
            assert run(model, [with_phrase], beam=8)[0][0].tokens[: len(h.tokens)] == h.tokens


def test_constraints_do_not_fit_sampling_or_diversity():
    asked = requests(1, constraints=((5,),))
    for kind in ({"sample": True}, {"beam": 4, "diversity": 0.5}):
        with pytest.raises(UsageError, match="constraints"):
            run(TableModel(9), asked, **kind)


def test_groups_without_diversity_are_smaller_beams():
    model = TableModel(40, sharpness=2.0)
    asked = requests(20, max_len=8)
    grouped = run(model, asked, beam=6, n_best=2, diversity_groups=3)
    assert grouped == run(model, asked, beam=2, n_best=2)


def test_diversity_takes_different_first_tokens():
    model = TableModel(40, sharpness=2.0)
    asked = requests(20, max_len=8)
    varied = run(model, asked, beam=4, n_best=4, diversity=50.0, min_len=1)
    for found in varied:
        assert len({h.tokens[0] for h in found}) == len(found) == 4
    # The first group is not steered at all.
    greedy = run(model, asked, greedy=True, min_len=1)
    for found, (best,) in zip(varied, greedy, strict=True):
        assert best in found


def test_coverage_penalty_is_gnmt_equation_14():
    model, beta, alpha = TableModel(12), 0.4, 0.6
    asked = requests(15, max_len=5)
    for request, found in zip(
        asked,
        run(model, asked, beam=5, n_best=5, coverage_penalty=beta, length_penalty=alpha),
        strict=True,
    ):
        size = len(request.source)
        for h in found:
            covered = torch.zeros(size)
            for i in range(len(h.tokens) + 1):
                key = model.key(request.source, (BOS, *h.tokens[:i]))
                weights = model.weights[key][:size]
                covered += weights / weights.sum()
            penalty = beta * float(covered.clamp(max=1.0).log().sum())
            expected = score(h.log_prob, len(h.tokens), alpha) + penalty
            assert h.score == pytest.approx(expected, rel=1e-4)


def test_coverage_penalty_needs_attention():
    class Blind(TableModel):
        def step(self, state, tokens, *, need_attention=False):
            return super().step(state, tokens)

    with pytest.raises(UsageError, match="attention"):
        run(Blind(9), requests(2), coverage_penalty=0.1)


def test_equal_scores_have_one_order():
    model = TableModel(9)
    model.table[:] = math.log(1 / 6)
    model.table[:, [PAD, BOS]] = float("-inf")
    first = run(model, requests(20), beam=4, n_best=4)
    assert first == run(model, requests(20), beam=4, n_best=4, max_rows=4)
    assert len({tuple(found) for found in first}) == 1


def test_no_requests_no_outputs():
    assert run(TableModel(9), []) == []


def test_half_precision_models_are_searched_in_single():
    class Half(TableModel):
        def step(self, state, tokens, *, need_attention=False):
            output = super().step(state, tokens)
            return type(output)(output.log_probs.bfloat16(), output.state)

    for found in run(Half(30), requests(10), beam=3):
        assert isinstance(found[0], Hypothesis)
        assert math.isfinite(found[0].log_prob)


def test_count_stopping_ends_with_as_many_endings_as_beams():
    model = TableModel(40, sharpness=3.0, ending=3.0)
    asked = requests(30, max_len=40)
    run(model, asked, beam=4, length_penalty=1.0)
    patient, model.rows = model.rows, 0
    found = run(model, asked, beam=4, length_penalty=1.0, stopping="count", n_best=4)
    assert model.rows < patient / 2
    assert all(h.finished for hypotheses in found for h in hypotheses)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": True, "greedy": True}, "exclude"),
        ({"top_k": 4}, "need --sample"),
        ({"temperature": 0.5}, "need --sample"),
        ({"beam": 5, "diversity_groups": 2}, "equally"),
        ({"sample": True, "diversity": 0.5}, "diversity"),
        ({"min_len": 9, "max_len": 8}, "--max-len"),
        ({"sample": True, "top_p": 0.0}, "--top-p"),
    ],
)
def test_options_that_make_no_sense_together(options, message):
    with pytest.raises(ValueError, match=message):
        SearchOptions(**options)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [({"beam": 4, "n_best": 5}, "--beam 5"), ({"greedy": True, "n_best": 2}, "leave out --greedy")],
)
def test_a_beam_that_is_too_narrow_for_the_outputs_is_told(options, remedy):
    assert SearchOptions(**options).too_narrow.endswith(remedy)
    assert SearchOptions(beam=5, n_best=5).too_narrow is None


class Reader(TableModel):
    """Reads at once what is continued."""

    def begin(self, sources, prefixes):
        found = [
            [
                float(self.next_log_probs(source, prefix[:i])[token])
                for i, token in enumerate(prefix)
            ]
            for source, prefix in zip(sources, prefixes, strict=True)
        ]
        keys = [
            [self.key(source, (BOS, *prefix)[:-1])]
            for source, prefix in zip(sources, prefixes, strict=True)
        ]
        lengths = torch.tensor([len(source) for source in sources])
        return Begun(TableState(torch.tensor(keys), lengths), torch.tensor(found))


@pytest.mark.parametrize("kind", [Reader, TableModel])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
def test_an_input_that_is_continued_is_no_part_of_the_rank(alpha, kind):
    """By brute force: log P of what follows it over the length of that."""
    model, source, prompt = kind(6, seed=4), (5, 9), (3, 4)
    request = Request(source, 5, prefix=prompt, given=2)
    (found,) = run(model, [request], beam=400, n_best=5, length_penalty=alpha)
    before = model.log_prob(source, prompt) - float(model.next_log_probs(source, prompt)[EOS])
    ranks = {
        tokens: (total - before) / (len(tokens) - 2 + 1) ** alpha
        for tokens, total in model.all_outputs(source, 5)
        if tokens[:2] == prompt
    }
    best = sorted(ranks, key=lambda tokens: -ranks[tokens])[:5]
    assert [h.tokens for h in found] == best
    assert [h.score for h in found] == pytest.approx([ranks[tokens] for tokens in best], abs=1e-4)
    totals = [model.log_prob(source, tokens) for tokens in best]
    assert [h.log_prob for h in found] == pytest.approx(totals, abs=1e-4)


def test_the_automatic_limit_follows_the_source_and_min_len():
    assert SearchOptions().longest(20) == 50
    assert SearchOptions(max_len=7).longest(20) == 7
    assert SearchOptions(min_len=90).longest(20) == 90


def test_brute_force_itself_sums_to_one():
    model = TableModel(6)
    model.table[:, [PAD, BOS]] = float("-inf")
    model.table = model.table.log_softmax(1)
    total = sum(math.exp(lp) for _, lp in itertools.islice(model.all_outputs((4,), 7), 5000))
    assert 0.5 < total <= 1.0001


def test_sentences_that_end_at_once_do_not_end_the_others():
    requests = [Request((4, 5), 0), Request((4, 5), 0), Request((4, 5), 3)]
    for rows in (2, 4, 6):
        found = search(TableModel(9), requests, SearchOptions(beam=2), max_rows=rows)
        assert [bool(hypotheses) for hypotheses in found] == [True] * 3


@pytest.mark.parametrize("width", [1, 3])
def test_nothing_is_asked_about_ends_before_something_ends(width, monkeypatch):
    ends = searching._Search._end
    lengths = []

    def end(self, beams, *rest):
        lengths.append(beams.length.tolist())
        return ends(self, beams, *rest)

    monkeypatch.setattr(searching._Search, "_end", end)
    model = TableModel(40, ending=-50.0)
    found = run(model, requests(3, max_len=6), beam=width)
    assert [len(best.tokens) for best, *_ in found] == [6, 6, 6]
    assert model.steps == 7
    assert lengths == [[6, 6, 6]]
