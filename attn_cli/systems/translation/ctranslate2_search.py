"""`decode --engine ctranslate2`: greedy and beam search by CTranslate2, on the same weights.

Theirs shares the probability of what may not be written (unk and such) out among the other tokens:
its scores are a little higher.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence, Sized
from pathlib import Path

import torch

from attn_cli.config import changed
from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.convert.ctranslate2_model import ctranslate2_spec, piece_names, table_size
from attn_cli.device import use_bf16, use_int8
from attn_cli.errors import UsageError
from attn_cli.files import writing
from attn_cli.models.directory import is_int8
from attn_cli.search.search import Hypothesis, Request
from attn_cli.wording import them

# What theirs does as ours; whatever else is asked for stays with ours.
_SEARCH = {"--beam", "--greedy", "--length-penalty", "--stopping", "--n-best", "--max-len"}
_STEERED = {"--prefix", "--constraints"}
_SENTENCES = 32  # of a batch: more are no faster, and workers wait for each other's last one
# "bound" goes on until nothing unfinished can win. Theirs counts; after so many times as many
# finished hypotheses as the beam is wide it has found the same (in 1,014 of 1,014 lines).
_PATIENCE = {"count": 1.0, "bound": 3.0}

Search = Callable[[Sequence[Request]], list[list[Hypothesis]]]


class Ctranslate2Search:
    """Translates by CTranslate2, whose threads share one copy of the weights.

    Args:
        folder: the model directory; nothing of the conversion is kept.
        search: what its searches shall do.
        decoding: what else was asked for; its precision is that of the products.
        device: where it runs.

    Raises:
        DataError: the model has parts that CTranslate2 lacks.
        UsageError: the library is not installed, has no such arithmetic on this device, or has not,
            or does otherwise, what is asked for.
    """

    def __init__(
        self, folder: Path, search: SearchOptions, decoding: DecodeOptions, device: torch.device
    ) -> None:
        asked = [flag for flag in changed(search) if flag not in _SEARCH]
        asked += changed(decoding, among=_STEERED)
        if asked:
            raise UsageError(
                f"{', '.join(asked)}: attn's own search does {them(asked)} alone; leave "
                f"{them(asked)} out, or --engine ctranslate2"
            )
        own, spec = ctranslate2_spec(folder, "--engine ctranslate2")
        from ctranslate2 import Translator

        self._most = table_size(own)
        self._src, tgt = piece_names(own.src), piece_names(own.tgt)
        self._tgt_ids = {piece: index for index, piece in enumerate(tgt)}
        self._eos = tgt[own.tgt.eos_id]
        arithmetic = "float32"
        if use_int8(decoding.precision, device, stored=is_int8(folder)):
            arithmetic = "int8"
        elif use_bf16(decoding.precision, device):
            arithmetic = "bfloat16"
        with tempfile.TemporaryDirectory(prefix="attn-") as stage:
            with writing(Path(stage)):
                spec.save(stage)
            try:
                self._translator = Translator(
                    stage,
                    device=device.type,
                    device_index=device.index or 0,
                    compute_type=arithmetic,
                    inter_threads=torch.get_num_threads() if device.type == "cpu" else 1,
                    intra_threads=1,
                )
            except (RuntimeError, ValueError) as error:
                raise UsageError(f"--engine ctranslate2 on {device}: {error}") from error

    def search(
        self, requests: Sequence[Request], options: SearchOptions, max_tokens: int, ours: Search
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each request.

        Args:
            requests: without a prefix or constraints.
            options: those that it was made for.
            max_tokens: as in `Generator.search`.
            ours: searches for what theirs can't: what is longer than its positions, and outputs
                that stop at their limit.
        """
        theirs = [i for i, request in enumerate(requests) if self._has_room(request)]
        found: list[list[Hypothesis] | None] = [None] * len(requests)
        if theirs:
            longest = max(requests[i].max_len for i in theirs)
            results = self._translator.translate_batch(
                [self._pieces(requests[i].source) for i in theirs],
                beam_size=options.width,
                patience=1.0 if options.width == 1 else _PATIENCE[options.stopping],
                num_hypotheses=options.n_best,
                length_penalty=options.length_penalty,
                max_decoding_length=longest + 1,
                max_input_length=0,
                max_batch_size=self._batch(requests, max_tokens // options.width),
                return_scores=True,
                return_end_token=True,
            )
            for i, result in zip(theirs, results, strict=True):
                hypotheses = [
                    self._hypothesis(pieces, score, options.length_penalty)
                    for pieces, score in zip(result.hypotheses, result.scores, strict=True)
                ]
                if _is_whole(hypotheses, requests[i], options):
                    found[i] = hypotheses
        left = [i for i, hypotheses in enumerate(found) if hypotheses is None]
        for i, hypotheses in zip(left, ours([requests[i] for i in left]), strict=True):
            found[i] = hypotheses
        return [hypotheses or [] for hypotheses in found]

    def _has_room(self, request: Request) -> bool:
        """Whether source and output have positions."""
        longest = max(len(request.source), request.max_len + 1)
        return self._most is None or longest <= self._most

    def _batch(self, requests: Sequence[Request], tokens: int) -> int:
        """Sentences of a batch, of so many source tokens at most."""
        longest = max(len(request.source) for request in requests)
        return max(1, min(_SENTENCES, tokens // longest))

    def _pieces(self, source: Sized) -> list[str]:
        """Without the end token: theirs adds it."""
        assert isinstance(source, Sequence)
        return [self._src[index] for index in source[:-1]]

    def _hypothesis(self, pieces: list[str], score: float, penalty: float) -> Hypothesis:
        is_whole = pieces[-1:] == [self._eos]
        tokens = tuple(self._tgt_ids[piece] for piece in (pieces[:-1] if is_whole else pieces))
        log_prob = score * (len(tokens) + 1) ** penalty
        return Hypothesis(tokens, log_prob, score, is_whole)


def _is_whole(hypotheses: Sequence[Hypothesis], request: Request, options: SearchOptions) -> bool:
    """Whether these are all that were asked for, none of them cut or longer than it may be."""
    return len(hypotheses) == options.n_best and all(
        hypothesis.finished and len(hypothesis.tokens) <= request.max_len
        for hypothesis in hypotheses
    )
