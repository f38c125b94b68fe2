"""What paths of tokens and blanks say: the best path, and beams of prefixes against all paths."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from attn_cli.search.ctc import best_path, collapsed, prefix_beam, without

BLANK = 3


def says(path):
    """By the definition: equal neighbours are one, then blanks go."""
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK)


def test_paths_are_collapsed_as_the_definition_says():
    for path in itertools.product(range(4), repeat=5):
        assert collapsed(path, BLANK) == says(path)


def test_the_best_path_is_the_likeliest_token_of_each_position():
    torch.manual_seed(1)
    log_probs = torch.randn(12, 4).log_softmax(-1)
    assert best_path(log_probs, BLANK) == says(log_probs.argmax(1).tolist())
    assert best_path(log_probs[:0], BLANK) == ()


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_likeliest_outputs_of_all(seed):
    torch.manual_seed(seed)
    log_probs = (2 * torch.randn(5, 4)).log_softmax(-1)
    totals: Counter[tuple[int, ...]] = Counter()
    for path in itertools.product(range(4), repeat=5):
        totals[says(path)] += float(log_probs[range(5), path].sum().exp())
    expected = [output for output, _ in totals.most_common(4)]
    assert prefix_beam(log_probs, BLANK, 500)[:4] == expected
    assert len(prefix_beam(log_probs, BLANK, 2)) == 2


def test_paths_that_say_the_same_are_added_up():
    """Graves et al. 2006: the best path says nothing, but more paths say something."""
    log_probs = torch.tensor([[0.4, 0.0, 0.0, 0.6]] * 2).log()
    assert best_path(log_probs, BLANK) == ()
    assert prefix_beam(log_probs, BLANK, 3)[0] == (0,)


def test_tokens_that_are_never_said():
    log_probs = torch.tensor([[0.5, 0.3, 0.1, 0.1]] * 3).log()
    barred = without(log_probs, [0])
    assert best_path(barred, BLANK) == (1,)
    assert all(0 not in output for output in prefix_beam(barred, BLANK, 20))


def test_a_beam_of_many_tokens_looks_at_the_likeliest():
    torch.manual_seed(5)
    log_probs = (3 * torch.randn(30, 200)).log_softmax(-1)
    assert len(prefix_beam(log_probs, 199, 5)) == 5
