"""What the encoder alone says (CTC), as the output.

Shapes: B recordings, S positions, V vocabulary, K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from attn_cli.config import changed
from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.errors import UsageError
from attn_cli.models.seq2seq_base import AutoregressiveModel
from attn_cli.nn.beam_state import BeamState
from attn_cli.nn.ctc import CtcOutput, ctc_nll
from attn_cli.search.ctc import Tokens, best_path, prefix_beam, without
from attn_cli.search.search import Hypothesis, Request
from attn_cli.systems.translation.source_base import SourceSide
from attn_cli.systems.translation.translator import AutoregressiveTranslator, batches_of
from attn_cli.tokenizers.tokenizer import Tokenizer

_READ = ("--ctc", "--beam", "--greedy", "--n-best")
_STEERS = ("--prefix", "--constraints")


class CtcTranslator(AutoregressiveTranslator):
    """Says what is in recordings by the encoders' own output, of one model or of several.

    Greedy takes the likeliest token or blank of each position; a beam adds up the paths that become
    one output. An output's log P is that of all its paths, and its score as well.
    """

    has_likelihood: ClassVar[bool] = False  # of a given text, `attn score` says the decoder's
    has_shortlist: ClassVar[bool] = False

    def __init__(
        self, models: Sequence[AutoregressiveModel[BeamState]], src: SourceSide, tgt: Tokenizer
    ) -> None:
        super().__init__(models, src, tgt)
        outputs = [model.ctc for model in models]
        self._outputs: list[CtcOutput] = [output for output in outputs if output is not None]
        if len(self._outputs) < len(models):
            raise UsageError(
                "--ctc: the encoder of this model has no output of its own; attn train-mt "
                "--source audio makes models that have one (--ctc-weight)"
            )
        self._never = [*self.never_ids, tgt.eos_id]

    def heard(self, requests: Sequence[Request], max_tokens: int) -> Iterator[Tensor]:
        """What each position says: the members' mean. Shape: (S, V + 1) for each request."""
        for group in batches_of(requests, max_tokens, 1):
            frames, mask = self.source_tensors([request.source for request in group])
            each = [
                output(model.encoded(frames, mask))
                for model, output in zip(self.models, self._outputs, strict=True)
            ]
            mean = torch.stack(each).logsumexp(0) - math.log(len(each))
            for row, request in zip(without(mean, self._never).cpu(), group, strict=True):
                yield row[: len(request.source)]

    def check(self, search: SearchOptions, decoding: DecodeOptions) -> None:
        """Raises UsageError for options of a search word by word."""
        refused = [flag for flag in changed(search) if flag not in _READ]
        if refused := refused + changed(decoding, among=_STEERS):
            raise UsageError(
                f"{', '.join(refused)}: --ctc says what the encoder says, by --beam or --greedy "
                "alone; leave out what steers a search word by word"
            )
        self.check_files(decoding.image_root)

    def search(
        self, requests: Sequence[Request], options: SearchOptions, max_tokens: int, seed: int
    ) -> list[list[Hypothesis]]:
        """See `Generator.search`."""
        return [_outputs(heard, options) for heard in self.heard(requests, max_tokens)]


def log_probs_of(heard: Tensor, outputs: Sequence[Tokens]) -> Tensor:
    """Log P of outputs of one recording by all of their paths. Shape: (S, V + 1) -> (K,)."""
    lengths = torch.tensor([len(tokens) for tokens in outputs])
    targets = torch.zeros(len(outputs), max(1, int(lengths.max())), dtype=torch.long)
    for row, tokens in zip(targets, outputs, strict=True):
        row[: len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    paths = heard.expand(len(outputs), -1, -1)
    valid = torch.ones(paths.shape[:2], dtype=torch.bool)
    return -ctc_nll(paths, valid, targets, lengths, infinite=True)


def _outputs(heard: Tensor, options: SearchOptions) -> list[Hypothesis]:
    """The best outputs of one recording. Shape: (S, V + 1)."""
    blank_id = heard.shape[1] - 1
    if options.width == 1:
        found = [best_path(heard, blank_id)]
    else:
        found = prefix_beam(heard, blank_id, options.width)
    totals = log_probs_of(heard, found).tolist()
    ranked = sorted(zip(found, totals, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [Hypothesis(tokens, total, total, True) for tokens, total in ranked[: options.n_best]]
