"""What suits a corpus where the options leave it open: batches, warm-up, length of the run.

Few, plain rules, the same for every training; each system says by its `Usual` what it aims at. The
vocabulary's size has its rule where tokenizers are trained, in `tokenizers/tokenizer_choice.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attn_cli.config.training import BY_CORPUS, TrainingOptions
from attn_cli.data.split import RowNumbers
from attn_cli.wording import plural

_MOST_UPDATES = 100_000  # of a run: those of the base model of Vaswani et al. 2017, section 5.3
_WARMUP_SHARE = 0.1  # of a run
_LARGEST_FOR_LENGTH = 4096  # tokens of a batch that is large for the sake of long examples
_SAMPLED = 500  # examples whose tokens are counted


@dataclass(frozen=True)
class Amount:
    """How much there is to learn from.

    Attributes:
        noun: what an example is.
        examples: how many there are.
        tokens: of all of them, as the budget of a batch counts them, about; where several tasks
            are learnt side by side, of the largest.
    """

    noun: str
    examples: int
    tokens: float


@dataclass(frozen=True, kw_only=True)
class Usual:
    """What the trainings of a system aim at.

    Attributes:
        batch_tokens: of the smallest and of the largest batch.
        updates_a_pass: that batches are chosen for: small corpora, which are passed often, are
            learnt sooner by small batches; larger ones use a processor better.
        examples_a_batch: that a batch holds at least, of mean length; 0: examples may be cut.
        warmup: updates.
        examples_seen: in a run, as far as `passes` allow.
        tokens_seen: likewise; whichever is fewer.
        passes: the fewest and the most.
        fewest_updates: of a run: a tiny corpus is passed more often for their sake,
        most_passes: up to so often.
    """

    batch_tokens: tuple[int, int]
    updates_a_pass: int
    examples_a_batch: int = 0
    warmup: int
    examples_seen: float = math.inf
    tokens_seen: float = math.inf
    passes: tuple[int, int]
    fewest_updates: int
    most_passes: int


@dataclass(frozen=True)
class Suited:
    """What was chosen.

    Attributes:
        training: the options, with batch, warm-up and a limit decided.
        said: a line of what was chosen here and why; none where the user decided all.
    """

    training: TrainingOptions
    said: tuple[str, ...]


def suited(training: TrainingOptions, usual: Usual, amount: Amount, longest: int = 1) -> Suited:
    """The options with what they leave open decided by the corpus.

    Args:
        training: what the user decided stays.
        usual: what the system aims at.
        amount: of what there is to learn from.
        longest: tokens of an example at most, which a batch has to hold.
    """
    said = []
    batch = training.batch_tokens
    if not batch:
        batch = _batch_tokens(usual, amount, longest)
        why = "as examples are long" if batch > usual.batch_tokens[1] else ""
        said.append(f"batches of {batch:,} tokens{f', {why}' if why else ''}")
    a_pass = max(1.0, amount.tokens / (batch * training.accumulate))
    if said:
        said[0] += f", some {_about(a_pass)} a pass"
    training = dataclasses.replace(training, batch_tokens=batch)
    if not (training.max_steps or training.max_epochs or training.max_time):
        passes, why = _passes(usual, amount, a_pass)
        training = dataclasses.replace(training, max_epochs=passes)
        said.append(f"{passes:g} {'pass' if passes == 1 else 'passes'}, {why}")
    if training.warmup == BY_CORPUS:
        warmup, why = _warmup(usual, _updates(training, a_pass))
        training = dataclasses.replace(training, warmup=warmup)
        said.append(f"warm-up over {plural(warmup, 'update')}{why}")
    mean = amount.tokens / max(amount.examples, 1)
    size = f"{plural(amount.examples, amount.noun)} of {_about(mean)} tokens or so"
    return Suited(training, (f"for {size}: {'; '.join(said)}",) if said else ())


def mean_tokens(rows: RowNumbers, count: Callable[[NDArray[np.int64]], Sequence[int]]) -> float:
    """Tokens of an example in the mean, of examples from everywhere in a corpus.

    Args:
        rows: its rows.
        count: the tokens of the examples with these numbers among them.
    """
    numbers = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLED)).astype(np.int64))
    return float(np.mean(count(numbers))) if len(numbers) else 1.0


def _batch_tokens(usual: Usual, amount: Amount, longest: int) -> int:
    """A power of two."""
    least, most = usual.batch_tokens
    fitting = min(max(_power_near(amount.tokens / usual.updates_a_pass), least), most)
    several = usual.examples_a_batch * amount.tokens / max(amount.examples, 1)
    return max(fitting, min(_power_above(several), _LARGEST_FOR_LENGTH), _power_above(longest))


def _passes(usual: Usual, amount: Amount, a_pass: float) -> tuple[float, str]:
    """How often the corpus is passed, and why."""
    fewest, most = usual.passes
    seen = usual.examples_seen / max(amount.examples, 1)
    seen = min(seen, usual.tokens_seen / max(amount.tokens, 1.0))
    passes: float = math.floor(min(max(seen, fewest), most))
    why = f"some {_about(passes * a_pass)} updates"
    if passes * a_pass < usual.fewest_updates:
        passes = min(max(passes, math.ceil(usual.fewest_updates / a_pass)), usual.most_passes)
        why = f"{_about(passes * a_pass)} updates or so, as there are few {amount.noun}s"
    elif passes * a_pass > _MOST_UPDATES:
        passes = float(f"{_MOST_UPDATES / a_pass:.2g}")
        why = f"{_about(_MOST_UPDATES)} updates or so, as there are many {amount.noun}s"
    return float(passes), why


def _updates(training: TrainingOptions, a_pass: float) -> float:
    """Of the whole run, where something but a clock ends it."""
    by_passes = training.max_epochs * a_pass if training.max_epochs else math.inf
    return min(by_passes, training.max_steps or math.inf)


def _warmup(usual: Usual, updates: float) -> tuple[int, str]:
    """Updates of the warm-up, and why they are no more."""
    if updates * _WARMUP_SHARE >= usual.warmup:
        return usual.warmup, ""
    return max(1, round(updates * _WARMUP_SHARE)), ", a tenth of the run"


def _power_near(number: float) -> int:
    return 1 << round(math.log2(max(number, 1.0)))


def _power_above(number: float) -> int:
    return 1 << math.ceil(math.log2(max(number, 1.0)))


def _about(number: float) -> str:
    """To two digits."""
    return f"{float(f'{number:.2g}'):,.0f}"
