"""Translation: a sequence-to-sequence model, its tokenizers and the search."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence, Sized
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from attn_cli.config import shown
from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.data.audio import Recording
from attn_cli.data.padding import pad
from attn_cli.errors import DataError, UsageError
from attn_cli.models.directory import load_model_of, read_config
from attn_cli.models.seq2seq_base import AttentionMaps, AutoregressiveModel, Seq2SeqModel
from attn_cli.models.shortlist import CandidateTable
from attn_cli.nn.beam_state import BeamState
from attn_cli.search.ensemble import Ensemble
from attn_cli.search.fusion import Fusion
from attn_cli.search.search import Hypothesis, Request, Times
from attn_cli.search.step import StepModel
from attn_cli.systems.base import load_generator
from attn_cli.systems.generation.generator import Generator, Ids, Source, gold_log_probs
from attn_cli.systems.translation.source_base import SourceSide
from attn_cli.systems.translation.sources import source_side
from attn_cli.systems.translation.steps import JointStep, Seq2SeqStep, trained_weight
from attn_cli.systems.translation.word_times import word_times
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import read_tokenizers
from attn_cli.wording import plural

if TYPE_CHECKING:
    from attn_cli.systems.translation.ctranslate2_search import Ctranslate2Search

__all__ = ["AutoregressiveTranslator", "Source", "Translator"]


M = TypeVar("M", bound=Seq2SeqModel)
_MOST_AT_ONCE = 1 << 13  # positions of a file; attention takes memory with the square


def batches_of(requests: Sequence[Request], max_tokens: int, width: int) -> list[list[Request]]:
    """Requests, the shortest first, in groups of at most so many source tokens times a width."""
    groups: list[list[Request]] = []
    for request in requests:
        taken = len(groups[-1]) + 1 if groups else 0
        if not groups or taken * len(request.source) * width > max_tokens:
            groups.append([])
        groups[-1].append(request)
    return groups


class Translator(Generator[M]):
    """Translates texts, or says what is in files, with one model or several as an ensemble.

    Attributes:
        kind: the class of its models.
        src: what they read.
        ctc_weight: of the encoders' own output in a search that does not say.
    """

    kind: ClassVar[type[Seq2SeqModel]]
    has_source: ClassVar[bool] = True
    n_scored: ClassVar[int] = 2
    ctc_weight: float = 0.0

    def __init__(
        self, models: Sequence[M], src: SourceSide, tgt: Tokenizer, steps: Sequence[StepModel] = ()
    ) -> None:
        super().__init__(models, steps, tgt)
        self.src = src
        self._folder: Path | None = None
        self.reads_files, self.most_lines = src.reads_files, src.most_lines
        self.limit_flag = src.limit_flag
        learned = [model.n_positions for model in models if model.n_positions is not None]
        self._n_positions = min(learned, default=None)
        # Beside a source stands its end; an output is read behind bos.
        self.most_input = max(1, self._n_positions - 1) if self._n_positions else self.most_input
        self.longest_input = min(self.longest_input, self.most_input)

    @classmethod
    def load(cls, paths: str, device: torch.device) -> Self:
        """Reads one model directory, or several joined by commas.

        Raises:
            DataError: a directory is missing, foreign or damaged.
            UsageError: the models of an ensemble have different tokenizers, or read other files.
        """
        models: list[Any] = []  # of this kind
        sides: list[tuple[SourceSide, Tokenizer]] = []
        lengths: list[int] = []
        for path in (Path(part) for part in paths.split(",")):
            config = read_config(path)
            if config.task != cls.kind.task:
                raise DataError(f"{path}: this model's task is {shown(config.task)}")
            _, model = load_model_of(cls.kind, path, device)
            tokenizer, tgt = read_tokenizers(path)
            src = source_side(model.config, tokenizer)
            model.check_vocabulary(src.vocab_size, tgt.vocab_size, str(path))
            models.append(model)
            sides.append((src, tgt))
            lengths.append(config.trained_len)
            first = paths.split(",")[0]
            if tgt.to_bytes() != sides[0][1].to_bytes():
                raise UsageError(f"{path}: its tokenizer is not that of {first}")
            if src.fingerprint != sides[0][0].fingerprint:
                raise UsageError(f"{path}: it does not read what {first} reads")
        translator = cls(models, *sides[0])
        translator._folder = Path(paths.split(",")[0])
        longest = translator.src.longest or max(translator.longest_input, min(lengths))
        translator.longest_input = min(longest, translator.most_input)
        return translator

    def input_limit(self, wanted: int | None, seconds: float | None = None) -> int:
        """See `Generator.input_limit`."""
        each = self.src.positions_a_second
        if seconds is None or each is None:
            return super().input_limit(wanted, seconds)
        if wanted is not None:
            raise UsageError("--max-input and --max-seconds are one limit: leave one of them out")
        return min(max(1, int(seconds * each)), self.most_input)

    def requests(self, sources: Sequence[Source], options: SearchOptions) -> list[Request]:
        """See `Generator.requests`."""
        prefixes = self.tgt.encode([source.prefix for source in sources])
        requests = []
        for source, item, prefix in zip(sources, self.encoded(sources), prefixes, strict=True):
            phrases = self.tgt.encode(source.phrases) if source.phrases else []
            forced = len(prefix) + sum(map(len, phrases))
            limit = min(self.most_input, self._most_written(options))
            longest = options.longest(self.src.output_len or len(item) - 1, forced)
            requests.append(
                Request(
                    source=item,
                    prefix=tuple(prefix),
                    among=self._among(options, item, [*prefix, *chain(*phrases)]),
                    constraints=tuple(tuple(phrase) for phrase in phrases if phrase),
                    max_len=min(longest, limit),
                    key=source.key,
                )
            )
        return requests

    def _among(self, options: SearchOptions, item: Sized, forced: Sequence[int]) -> Tensor | None:
        """The tokens that the output of an item may have; None: all."""
        return None

    def _most_written(self, options: SearchOptions) -> int:
        """The tokens of an output that all can read who have a say in it."""
        return self.most_written

    def sources(self, text: str, limit: int, folder: str) -> list[Source]:
        """See `Generator.sources`."""
        if self.reads_files:
            pieces = self.src.pieces(self.src.read(text, folder), limit)
            return [Source(text, file=piece) for piece in pieces]
        return [Source(part) for part in self.src.parts(text, limit)]

    def knows(self, source: Source) -> bool:
        """See `Generator.knows`."""
        return self.reads_files or self.src.knows(source.text)

    def unread(self, source: Source) -> str | None:
        """See `Generator.unread`."""
        return self.src.unread(source.file) if self.reads_files else None

    def cut(self, source: Source, output: Hypothesis, search: SearchOptions) -> str | None:
        """See `Generator.cut`."""
        size = self.n_written(source, output)
        if size < self.most_input:
            return super().cut(source, output, search)
        return (
            f"its output stops at {plural(size, 'token')}, as the model has learned positions of "
            "no more; so may others"
        )

    def refused(self, source: Source, output: str) -> str | None:
        """See `Generator.refused`."""
        if source.file is not None and len(source.file) > _MOST_AT_ONCE:
            return f"more than {_MOST_AT_ONCE:,} positions: a model can't score that at once"
        if self._n_positions is None:
            return None
        n_source = 0 if self.reads_files else len(self.encoded([source])[0]) - 1
        n_output = len(self.tgt.encode([output])[0])
        if max(n_source, n_output) <= self.most_input:
            return None
        return (
            f"a {'source' if n_source > self.most_input else 'target'} of "
            f"{plural(max(n_source, n_output), 'token')}, but the model has learned positions of "
            f"{self.most_input:,} and the end"
        )

    def encoded(self, sources: Sequence[Source]) -> list[Sized]:
        """The sources as items of their side."""
        if not self.reads_files:
            return self.src.encode([source.text for source in sources])
        blank = self.src.blank
        return self.src.encode(
            [blank if source.file is None else source.file for source in sources]
        )

    def scored(self, fields: Sequence[str]) -> tuple[str, str]:
        """Source and target."""
        return fields[0], fields[1]

    def alignment(self, src: Sequence[Sized], tgt: Sequence[Ids]) -> Tensor:
        """The mean of the heads of the last decoder layer but one (Garg et al. 2019, 3.2)."""
        if not self.aligns:
            raise UsageError("this model was trained with --attention none: it can't align")
        layers = self.attentions(src, tgt).cross
        return layers[max(0, len(layers) - 2)].mean(1)

    @property
    def aligns(self) -> bool:
        """See `Generator.aligns`."""
        return self.models[0].has_attention

    @property
    def reads_sound(self) -> bool:
        """See `Generator.reads_sound`."""
        return self.src.positions_a_second is not None

    def word_times(self, src: Sequence[Sized], tgt: Sequence[Ids]) -> list[Times]:
        """See `Generator.word_times`."""
        items = [item for item in src if isinstance(item, Recording)]
        return word_times(self, self.source_tensors, items, tgt)

    def source_words(self, item: Sized) -> list[int]:
        """See `Generator.source_words`."""
        return self.src.words(item)

    @abstractmethod
    def attentions(self, src: Sequence[Sized], tgt: Sequence[Ids]) -> AttentionMaps:
        """The weights of every attention of the first model (see `viz.maps`)."""

    @abstractmethod
    def target_axes(self, tgt: Ids) -> tuple[Ids, Ids]:
        """What the rows and the columns of a target's attention to itself are."""

    def source_tensors(self, items: Sequence[Sized]) -> tuple[Tensor, Tensor]:
        """What the models take, and the mask of its positions. Shape: (B, S, …), (B, S)."""
        src_ids, src_mask = self.src.collate(items)
        return src_ids.to(self.device), src_mask.to(self.device)


class AutoregressiveTranslator(Translator[AutoregressiveModel[BeamState]]):
    """Translates word after word, by a search."""

    kind: ClassVar[type[Seq2SeqModel]] = AutoregressiveModel
    has_shortlist: ClassVar[bool] = True

    def __init__(
        self, models: Sequence[AutoregressiveModel[BeamState]], src: SourceSide, tgt: Tokenizer
    ) -> None:
        super().__init__(models, src, tgt, [Seq2SeqStep(model, src, tgt) for model in models])
        self._engine: Ctranslate2Search | None = None
        self._language_models: dict[str, Generator[Any]] = {}

    @classmethod
    def load(cls, paths: str, device: torch.device) -> Self:
        """See `Translator.load`."""
        translator = super().load(paths, device)
        if all(model.ctc is not None for model in translator.models):
            translator.ctc_weight = trained_weight(read_config(Path(paths.split(",")[0])))
        return translator

    def use_engine(self, search: SearchOptions, decoding: DecodeOptions) -> None:
        """See `Generator.use_engine`."""
        if decoding.engine == "attn":
            return
        if len(self.models) > 1 or self._folder is None:
            raise UsageError(f"--engine {decoding.engine} has no ensembles: name one model")
        from attn_cli.systems.translation.ctranslate2_search import Ctranslate2Search

        self._engine = Ctranslate2Search(self._folder, search, decoding, self.device)
        self.has_threads = True

    def has_log_prob(self, search: SearchOptions) -> bool:
        """See `Generator.has_log_prob`."""
        return not (self._engine or search.lm or self._ctc_weight(search))

    def step_model(self, options: SearchOptions) -> StepModel:
        """The models, each with its encoder's own output if that has a weight, and the others."""
        steps, weight = self._steps, self._ctc_weight(options)
        if weight:
            steps = tuple(JointStep(model, self.src, self.tgt, weight) for model in self.models)
        model = steps[0] if len(steps) == 1 else Ensemble(steps)
        if options.lm is None:
            return model
        other = self._language_models[options.lm].step_model(options)
        return Fusion(model, [(other, options.fused)])

    def _ctc_weight(self, options: SearchOptions) -> float:
        if options.ctc_weight is None:
            return 0.0 if options.sample else self.ctc_weight
        return options.ctc_weight

    def _most_written(self, options: SearchOptions) -> int:
        """See `Translator._most_written`."""
        return self._language_models[options.lm].most_written if options.lm else self.most_written

    def search(
        self, requests: Sequence[Request], options: SearchOptions, max_tokens: int, seed: int
    ) -> list[list[Hypothesis]]:
        """See `Generator.search`."""
        if self._engine is None:
            return super().search(requests, options, max_tokens, seed)
        ours = super().search
        return self._engine.search(
            requests, options, max_tokens, lambda left: ours(left, options, max_tokens, seed)
        )

    def check(self, search: SearchOptions, decoding: DecodeOptions) -> None:
        """See `Generator.check`; what is asked to help must be there, and fit."""
        super().check(search, decoding)
        if search.shortlist:
            _ = self._candidates
        if search.ctc_weight and any(model.ctc is None for model in self.models):
            raise UsageError(
                "--ctc-weight: the encoder of this model has no output of its own; attn train-mt "
                "--source audio makes models that have one (--ctc-weight)"
            )
        if search.lm is not None and search.lm not in self._language_models:
            self._language_models[search.lm] = self._language_model(search.lm, decoding.precision)

    def _language_model(self, paths: str, precision: str) -> Generator[Any]:
        """Reads the language model of `--lm`, or several joined by commas.

        Raises:
            DataError: a directory is missing or damaged.
            UsageError: it is no language model, or one of other tokens.
        """
        found = load_generator(paths, self.device, precision=precision)
        if found.has_source:
            raise UsageError(
                f"--lm {paths}: a translator; attn pretrain --objective clm makes language models"
            )
        if found.tgt.to_bytes() != self.tgt.to_bytes():
            own = f" --tokenizer {self._folder}" if self._folder else ""
            raise UsageError(
                f"--lm {paths}: its tokens are not those of the model; attn pretrain --objective "
                f"clm{own} makes a language model that has them"
            )
        return found

    @cached_property
    def _candidates(self) -> CandidateTable:
        """The shortlist of the first model.

        Raises:
            NotThereError: it has none.
            DataError: it is damaged, or that of another model.
            UsageError: models that read files have none.
        """
        if self.reads_files or self._folder is None:
            raise UsageError("--shortlist: this model reads files, which suggest no token")
        sizes = self.src.vocab_size, self.tgt.vocab_size
        return CandidateTable.load(self._folder, *sizes, self.tgt.eos_id)

    def _among(self, options: SearchOptions, item: Sized, forced: Sequence[int]) -> Tensor | None:
        """By the shortlist, if one is asked for."""
        if not options.shortlist:
            return None
        ids, _ = self.src.collate([item])
        return self._candidates.candidates(ids[0].tolist(), forced)

    def token_log_probs(
        self, model: AutoregressiveModel[BeamState], src: Sequence[Sized], tgt: Sequence[Ids]
    ) -> Tensor:
        """By teacher forcing; see `Generator.token_log_probs`."""
        src_ids, src_mask, tgt_ids = self.tensors(src, tgt)
        hidden = model(src_ids, src_mask, tgt_ids[:, :-1]).hidden
        return gold_log_probs(hidden, tgt_ids[:, 1:], model.logits, model.config.tgt_vocab)

    def attentions(self, src: Sequence[Sized], tgt: Sequence[Ids]) -> AttentionMaps:
        """See `Translator.attentions`."""
        src_ids, src_mask, tgt_ids = self.tensors(src, tgt)
        return self.models[0].attentions(src_ids, src_mask, tgt_ids[:, :-1])[1]

    def target_axes(self, tgt: Ids) -> tuple[Ids, Ids]:
        """See `Translator.target_axes`: bos is read when the first token is about to be said."""
        return [*tgt, self.tgt.eos_id], [self.tgt.bos_id, *tgt]

    def tensors(self, src: Sequence[Sized], tgt: Sequence[Ids]) -> tuple[Tensor, Tensor, Tensor]:
        """Padded pairs: as `source_tensors`; bos, target and eos. Shape: …, (B, T + 1)."""
        sequences = [[self.tgt.bos_id, *ids, self.tgt.eos_id] for ids in tgt]
        tgt_ids, _ = pad(sequences, self.tgt.pad_id)
        return (*self.source_tensors(src), tgt_ids.to(self.device))
