"""The skeleton of a recipe: index, hold out, tokenizer; then model, limits, plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attn_cli.config.command import saved
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.config.training import TrainingCommand, TrainingOptions
from attn_cli.data.batching import B
from attn_cli.data.corpus import Corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.permutation import Permutation
from attn_cli.data.split import Repeated, RowNumbers, Rows, count_shared
from attn_cli.data.word_vectors import fitted_to, read_word_vectors
from attn_cli.files import inside, writing
from attn_cli.lines.reading import require_file
from attn_cli.lines.tabs import unread_columns
from attn_cli.lines.unusable import BadLines
from attn_cli.model_files import CONFIG, DATA, EXAMPLES
from attn_cli.models.directory import read_config
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, read_tokenizers, write_tokenizers
from attn_cli.tokenizers.tokenizer_training import SAMPLE_CHARS, train_tokenizer
from attn_cli.train.monitor import Speaker
from attn_cli.train.run import Recipe
from attn_cli.wording import plural
from attn_cli.workers import apart

TRAIN, DEV = "train", "dev"  # names of the corpora in the work folder
_SLICE = 256  # rows that are read at a time
_PROBED = 1000  # rows by which the characters of a corpus are told
_MARGIN = 1.25  # drawn beyond what is wanted, as the rest may be shorter
_DRAWN = 104_729  # sets the draw's permutation apart from those of the epochs

C = TypeVar("C", bound=TrainingCommand)


@dataclass(frozen=True)
class Split:
    """The examples that are trained on, and those that validate.

    Attributes:
        train: the corpus.
        rows: which of its rows are trained on, some of them several times.
        dev: the corpus that validates, which may be the same.
        dev_rows: which of its rows validate.
    """

    train: Corpus
    rows: RowNumbers
    dev: Corpus
    dev_rows: NDArray[np.int64]


class SystemRecipe(Recipe[B], Generic[B, C]):
    """What recipes share, whatever their data are.

    Args:
        files: the data; standard input if there are none.
        options: of the command.
        speaker: is told what was found and chosen.

    Attributes:
        repeats: how often each file is passed in an epoch; empty: once.
    """

    repeats: tuple[int, ...] = ()

    def __init__(self, files: list[str], options: C, speaker: Speaker) -> None:
        self.files = files or ["-"]
        self.options = options
        self.speaker = speaker
        self._made_of = (files, options, speaker)

    def __reduce__(self) -> tuple[type[Self], tuple[list[str], C, Speaker]]:
        """To another process a recipe goes as what it was made of."""
        return type(self), self._made_of

    @property
    def inputs(self) -> Iterable[str | None]:
        """The files that the command names, None where it names none."""
        return self.files

    def require_inputs(self) -> None:
        """Makes sure that what the command names is there.

        Raises:
            NotThereError: a file, or the model to start from, is not.
            DataError: the model to start from is damaged.
        """
        for path in self.inputs:
            if path is not None:
                require_file(path)
        if self.options.init:
            read_config(Path(self.options.init))

    @property
    def seed(self) -> int:
        """Of every random choice."""
        return self.options.runtime.seed

    def bad_lines(self) -> BadLines:
        """What is told of unusable lines."""
        return BadLines(self.speaker.warn, skip_bad=self.options.stream.skip_bad)

    def saved_options(self, fingerprint: str, train: int, dev: int) -> dict[str, object]:
        """What config.json says of the options and the data.

        Args:
            fingerprint: of the data.
            train: how many examples are trained on.
            dev: how many validate.
        """
        examples = {"train": train, "dev": dev}
        if any(times > 1 for times in self.repeats):
            fingerprint += "".join(f" x{times}" for times in self.repeats)
        return saved(self.options) | {DATA: fingerprint, EXAMPLES: examples}


class CorpusRecipe(SystemRecipe[B, C]):
    """A recipe whose examples are rows of a corpus.

    Attributes:
        noun: what a row is.
        dev_limit: rows that validate at most, unless they were held out.
    """

    noun: ClassVar[str]
    dev_limit: ClassVar[int]

    def hold_out(
        self,
        work: Path,
        train: Corpus,
        dev: Corpus | None,
        choose: Callable[[Corpus, int], NDArray[np.int64]],
        prefix: str = "",
    ) -> Rows:
        """Decides which rows validate, and notes it in the work folder.

        Args:
            work: that folder.
            train: what is trained on.
            dev: what validates, if it has a file of its own.
            choose: chooses rows of the training corpus, given a seed, where nothing else validates.
            prefix: begins the name of the note.

        Returns:
            The rows that are trained on.
        """
        held_out = np.empty(0, np.int64)
        if dev is None:
            held_out = choose(train, self.seed)
            if not len(held_out):
                self.speaker.warn(f"too few distinct {self.noun}s to hold any out: they validate")
        elif len(dev) > self.dev_limit:
            self.speaker.warn(
                f"the first {self.dev_limit:,} of {plural(len(dev), f'dev {self.noun}')} validate"
            )
        if dev is not None and (shared := count_shared(dev, train)):
            self.speaker.warn(
                f"{shared:,} of {plural(len(dev), f'dev {self.noun}')} are also trained on: the "
                "validation will be too good"
            )
        name = f"{prefix}held-out.npy"
        with writing(work / name):
            np.save(inside(work, name), held_out)
        return Rows(len(train), held_out)

    def split(self, work: Path, *, has_dev: bool, prefix: str = "") -> Split:
        """What `hold_out` decided: the dev file's rows, the held-out ones, or the training's.

        Args:
            work: the folder of the corpora.
            has_dev: whether a file of its own validates.
            prefix: begins the names of the corpora.
        """
        train = Corpus(work, f"{prefix}{TRAIN}")
        dev = Corpus(work, f"{prefix}{DEV}") if has_dev else train
        held_out = np.load(work / f"{prefix}held-out.npy", allow_pickle=False)
        dev_rows = held_out if len(held_out) else np.arange(min(len(dev), self.dev_limit))
        rows: RowNumbers = Rows(len(train), held_out)
        if any(times > 1 for times in self.repeats):
            ends = np.cumsum(train.meta["counts"])
            ends -= np.searchsorted(held_out, ends)
            rows = Repeated(rows, ends, np.array(self.repeats))
        return Split(train, rows, dev, dev_rows)

    def say_unread(self, corpus: Corpus, files: CorpusFiles) -> None:
        """Says of each file of a corpus how many of its columns are read, if not all are."""
        if not files.even:
            return
        for path, name in zip(corpus.meta["paths"], corpus.meta["names"], strict=True):
            if remark := unread_columns(Path(path), name, len(files.columns.indices)):
                self.speaker.warn(remark)

    @property
    def given_tokenizer(self) -> str | None:
        """The tokenizer that was asked for; that of the model to start from goes before it."""
        return None

    def require_inputs(self) -> None:
        """The tokenizer too."""
        super().require_inputs()
        if self.given_tokenizer:
            load_tokenizer(self.given_tokenizer)

    def put_tokenizers(
        self, output: Path, train: Callable[[], tuple[Tokenizer, Tokenizer]]
    ) -> None:
        """Puts the tokenizers into a new model directory, of source and target, or one twice.

        Args:
            output: the model directory.
            train: trains them.
        """
        given = self.given_tokenizer
        if (output / CONFIG).exists():
            return
        if self.options.init:
            tokenizers = read_tokenizers(Path(self.options.init))
        elif given:
            tokenizer = load_tokenizer(given)
            tokenizer.require_specials(given)
            for remark in tokenizer.remarks:
                self.speaker.warn(remark)
            tokenizers = tokenizer, tokenizer
        else:
            tokenizers = train()
        for tokenizer in tokenizers:
            self.check_tokenizer(tokenizer, self.options.init or given or "the tokenizer")
        write_tokenizers(output, *tokenizers)

    def check_tokenizer(self, tokenizer: Tokenizer, where: str) -> None:
        """Raises DataError if a tokenizer does not serve."""
        return

    def drawn(
        self, corpus: Corpus, rows: RowNumbers, options: TokenizerOptions
    ) -> tuple[RowNumbers, str]:
        """The rows that a tokenizer is trained on, and what they were drawn from, if not all."""
        drawn = drawn_rows(corpus, rows, self.seed, options.sample_lines, SAMPLE_CHARS)
        return drawn, f"those of {len(rows):,} {self.noun}s" if len(drawn) < len(rows) else ""

    def trained_tokenizer(
        self,
        texts: Iterable[str],
        options: TokenizerOptions,
        usual_size: int,
        *,
        predicted: bool = False,
        drawn_of: str = "",
    ) -> Tokenizer:
        """A tokenizer of the size asked for, or of the largest useful size that the text allows.

        Args:
            texts: all that there are, or that were drawn.
            options: of the command.
            usual_size: of the vocabulary.
            predicted: whether the model predicts its pieces.
            drawn_of: what they were drawn from.
        """
        threads = self.options.runtime.threads

        def make() -> tuple[Callable[[bytes], Tokenizer], bytes, list[str]]:
            said: list[str] = []
            tokenizer = train_tokenizer(
                texts,
                options,
                seed=self.seed,
                threads=threads,
                say=said.append,
                usual_size=usual_size,
                predicted=predicted,
                drawn_of=drawn_of,
            )
            return type(tokenizer), tokenizer.to_bytes(), said

        # The trainers take twenty times the memory of the text, and keep it.
        kind, raw, said = apart(make)
        for line in said:
            self.speaker.say(line)
        return kind(raw)

    def start_embeddings(self, weight: Tensor, path: str, tokenizer: Tokenizer) -> str:
        """Sets the vectors of the tokens that a file of word vectors has.

        In size they are what the random ones of the other tokens are.

        Args:
            weight: vectors by token. Shape: (V, D).
            path: the file.
            tokenizer: says which words are one token.

        Returns:
            How many tokens the file has, in words.

        Raises:
            DataError: the file can't be used, or is about other words.
        """
        words = read_word_vectors(path, tokenizer, self.bad_lines())
        scale = float(weight.detach().square().mean().sqrt())
        vectors = torch.from_numpy(fitted_to(words.vectors, weight.shape[1], scale))
        with torch.no_grad():
            weight[torch.from_numpy(words.ids), : vectors.shape[1]] = vectors.to(weight)
        return f"{path}: {words.coverage}"


def drawn_rows(
    corpus: Corpus, rows: RowNumbers, seed: int, most: int, most_chars: int
) -> RowNumbers:
    """Rows drawn at random, in their order, of at least so many characters; or all of them.

    Args:
        corpus: has the rows.
        rows: which of its rows.
        seed: of the choice.
        most: rows.
        most_chars: characters that are wanted.
    """
    size = len(rows)
    some = rows[np.linspace(0, size - 1, min(size, _PROBED)).astype(np.int64)]
    chars = sum(len(text) for row in corpus.read(some) for text in row)
    wanted = min(most, int(_MARGIN * most_chars * len(some) / max(1, chars)) + 1)
    if wanted >= size:
        return rows
    return rows[np.sort(Permutation(size, (seed, _DRAWN))[np.arange(wanted)])]


def each_row(corpus: Corpus, rows: RowNumbers) -> Iterator[list[str]]:
    """The columns of some rows, read in slices."""
    for start in range(0, len(rows), _SLICE):
        yield from corpus.read(rows[np.arange(start, min(start + _SLICE, len(rows)))])


def with_limit(training: TrainingOptions, epochs: float) -> TrainingOptions:
    """The options, with this limit where none was given."""
    if training.max_steps or training.max_epochs or training.max_time:
        return training
    return dataclasses.replace(training, max_epochs=epochs)


def n_weights(model: nn.Module) -> int:
    """How many numbers a model has."""
    return sum(weight.numel() for weight in model.parameters())
