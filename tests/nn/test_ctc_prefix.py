"""Probabilities of prefixes against the sum over all paths."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch

from attn_cli.nn.ctc_prefix import CtcPrefixes

V, BLANK, EOS = 3, 3, 2  # tokens 0 and 1 are said; 2 ends
LENGTHS = (5, 3, 4)


def says(path):
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK)


def totals(log_probs):
    """p(text) of every text, by all paths. Shape: (S, V + 1)."""
    found: Counter[tuple[int, ...]] = Counter()
    for path in itertools.product((0, 1, BLANK), repeat=len(log_probs)):
        found[says(path)] += float(log_probs[range(len(path)), path].double().sum().exp())
    return found


def expected(log_probs, prefix):
    """ln of what follows a prefix, and of the end: p of all texts that begin so."""
    every = totals(log_probs)

    def psi(begin):
        return sum(p for text, p in every.items() if text[: len(begin)] == begin)

    values = [psi((*prefix, token)) / psi(prefix) for token in (0, 1)]
    values.append(every[prefix] / psi(prefix))
    return [math.log(value) if value > 0 else -1e4 for value in values]


def heard(seed):
    """Log-probabilities of three recordings of different lengths, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(3, max(LENGTHS), V + 1, generator=generator)
    scores[:, :, EOS] = -torch.inf  # no position says the end
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return scores.log_softmax(-1), mask


def after(state, *steps):
    """The state after bos and some tokens of each beam, K for each of three recordings."""
    state = state.read(torch.full((3, state.beam_size), 9))
    for tokens in steps:
        state = state.read(torch.tensor([tokens] * 3))
    return state


def check(state, log_probs, prefixes, recordings=(0, 1, 2)):
    found = state.next_log_probs(EOS)
    for row, n in enumerate(recordings):
        for beam, prefix in enumerate(prefixes):
            wanted = expected(log_probs[n, : LENGTHS[n]], prefix)
            for value, right in zip(found[row, beam].tolist(), wanted, strict=True):
                assert value == pytest.approx(right, abs=1e-4) or max(value, right) < -9e3


@pytest.mark.parametrize("seed", range(3))
def test_what_follows_a_prefix_is_the_sum_over_all_paths(seed):
    log_probs, mask = heard(seed)
    state = CtcPrefixes.begin(log_probs, mask)
    check(after(state), log_probs, [()])
    state = after(state).expand(3)
    state = state.read(torch.tensor([[0, 1, 1]] * 3))
    check(state, log_probs, [(0,), (1,), (1,)])
    state = state.read(torch.tensor([[0, 1, 0]] * 3))
    check(state, log_probs, [(0, 0), (1, 1), (1, 0)])


def test_the_end_and_all_that_may_follow_add_up_to_one():
    log_probs, mask = heard(7)
    state = after(CtcPrefixes.begin(log_probs, mask), [1])
    torch.testing.assert_close(state.next_log_probs(EOS).exp().sum(2), torch.ones(3, 1))


def test_beams_change_places_and_recordings_leave_and_enter():
    log_probs, mask = heard(4)
    state = after(CtcPrefixes.begin(log_probs, mask)).expand(2)
    state = state.read(torch.tensor([[0, 1]] * 3)).reorder(torch.tensor([[1, 1]] * 3))
    state = state.read(torch.tensor([[0, 1]] * 3))
    check(state, log_probs, [(1, 0), (1, 1)])
    shorter = state.keep(torch.tensor([1]))
    cut = CtcPrefixes.begin(log_probs[1:2, :3], mask[1:2, :3])
    cut = cut.read(torch.tensor([[9]])).expand(2).read(torch.tensor([[1, 1]]))
    alone = cut.read(torch.tensor([[0, 1]]))
    check(alone.merge(state), log_probs, [(1, 0), (1, 1)], (1, 0, 1, 2))
    check(state.merge(alone), log_probs, [(1, 0), (1, 1)], (0, 1, 2, 1))
    check(shorter, log_probs, [(1, 0), (1, 1)], (1,))


def test_what_there_are_too_few_positions_for_is_unlikely_and_a_number():
    log_probs, mask = heard(5)
    state = after(CtcPrefixes.begin(log_probs, mask), [0], [0], [0], [1], [1])
    found = state.next_log_probs(EOS)
    assert found.isfinite().all()
    assert (after(CtcPrefixes.begin(log_probs, mask), [0], [0]).log_prob[1:2] > -1e3).all()
    assert (state.log_prob == -1e4).all()


def test_many_positions_and_sure_ones_lose_no_precision():
    """Against torch's own loss, of the whole text: ψ and the end are its probability."""
    torch.manual_seed(6)
    size, text = 700, torch.randint(0, 2, (60,)).tolist()
    scores = torch.randn(1, size, V + 1) * 0.5
    scores[..., BLANK] += 12.0
    for at, token in enumerate(text):
        scores[0, 10 * at + 5, token] += 20.0
    scores[:, :, EOS] = -torch.inf
    log_probs = scores.log_softmax(-1)
    state = CtcPrefixes.begin(log_probs, torch.ones(1, size, dtype=torch.bool))
    state, total = state.read(torch.tensor([[9]])), 0.0
    for token in [*text, EOS]:
        total += float(state.next_log_probs(EOS)[0, 0, token])
        state = state.read(torch.tensor([[token]]))
    wanted = torch.nn.functional.ctc_loss(
        log_probs.double().transpose(0, 1).clamp_min(-1e4),
        *(torch.tensor([text]), torch.tensor([size]), torch.tensor([len(text)])),
        blank=BLANK,
        reduction="sum",
    )
    assert total == pytest.approx(-float(wanted), abs=1e-3)
