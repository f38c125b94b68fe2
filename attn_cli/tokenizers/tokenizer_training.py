"""Training a tokenizer on a bounded random sample of any amount of text."""

from __future__ import annotations

import heapq
import io
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from attn_cli.config.tokenizing import DEFAULT_VOCAB_SIZE, TokenizerOptions
from attn_cli.errors import DataError
from attn_cli.tokenizers.huggingface_tokenizer import WordPieceTokenizer, wordpiece_engine
from attn_cli.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from attn_cli.tokenizers.subword_sampling import SPACE_MARK
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.wording import plural

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

SAMPLE_CHARS = 64 << 20  # characters of text that are held in memory at most
_SEGMENT = 4000  # characters; SentencePiece's BPE counts positions in 16 bits
_THREADS = 8  # where none are asked for: unigram sums in this order on every machine
_WORDPIECE_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# Characters that never become part of a piece, so that a line of pieces is a line of pieces:
# control characters, line and paragraph separators, the byte-order mark, SentencePiece's own mark.
_UNPIECED = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff{SPACE_MARK}]+")


class VocabularySizeError(DataError):
    """The text can't fill, or does not fit into, a vocabulary of the size asked for.

    Attributes:
        possible: the largest (or smallest) size that this text allows, where it is known.
    """

    def __init__(self, message: str, possible: int | None) -> None:
        super().__init__(message)
        self.possible = possible


def train_tokenizer(
    texts: Iterable[str],
    options: TokenizerOptions,
    *,
    seed: int,
    threads: int | None,
    say: Callable[[str], None],
    usual_size: int = DEFAULT_VOCAB_SIZE,
) -> Tokenizer:
    """Trains a tokenizer; the same texts, options, seed and threads give the same bytes.

    Args:
        texts: as many as there are; a random sample of bounded size is kept.
        options: the kind of tokenizer.
        seed: of the sample.
        threads: of SentencePiece's unigram training. None takes a fixed number, so that the result
            does not depend on the machine.
        say: is told when the sample was not the whole, and when the vocabulary remained smaller.
        usual_size: of the vocabulary where the options name none; a text that does not allow it
            gets the nearest size that it allows.

    Raises:
        VocabularySizeError: the vocabulary asked for is too large or too small for the text.
        DataError: there is no text.
    """
    sample, count = reservoir(texts, options.sample_lines, SAMPLE_CHARS, seed)
    if len(sample) < count:
        say(f"tokenizer: trained on a random sample of {len(sample):,} of {plural(count, 'text')}")
    segments = [  # what can be pieces, in parts that the trainers can take
        part[start : start + _SEGMENT]
        for text in sample
        for part in _UNPIECED.split(text)
        for start in range(0, len(part), _SEGMENT)
    ]
    if not segments:
        raise DataError("there is no text to train a tokenizer on: all lines are blank")
    decided = replace(options, vocab_size=options.vocab_size or usual_size)
    try:
        tokenizer = _train(segments, decided, threads)
    except VocabularySizeError as error:
        if options.vocab_size or not error.possible:
            raise
        decided = replace(decided, vocab_size=error.possible)
        tokenizer = _train(segments, decided, threads)
    size, wanted = tokenizer.vocab_size, options.vocab_size or usual_size
    if size != wanted:
        compared = "has {}, fewer" if size < wanted else "needs {}, more"
        say(f"tokenizer: the text {compared.format(plural(size, 'piece'))} than {wanted:,}")
    return tokenizer


def _train(segments: list[str], options: TokenizerOptions, threads: int | None) -> Tokenizer:
    if options.type == "wordpiece":
        return _train_wordpiece(segments, options)
    return _train_sentencepiece(segments, options, threads or _THREADS)


def reservoir(
    texts: Iterable[str], max_texts: int, max_chars: int, seed: int
) -> tuple[list[str], int]:
    """A uniform sample of the non-blank texts, bounded in number and in size, in their order.

    Every text draws a random key, and the smallest keys stay: a text is thrown out when it is
    beyond a bound, and from then on no larger key comes in (bottom-k sampling; Cohen and Kaplan
    2007).

    Returns:
        The sample, and how many non-blank texts there were.
    """
    generator = random.Random(seed)
    kept: list[tuple[float, int, str]] = []  # a heap with the largest key, negated, on top
    count = size = 0
    bar = 1.0
    for text in texts:
        if not text or text.isspace():
            continue
        count += 1
        key = generator.random()
        if key >= bar:
            continue
        heapq.heappush(kept, (-key, count, text))
        size += len(text)
        while len(kept) > max_texts or (size > max_chars and len(kept) > 1):
            negated, _, dropped = heapq.heappop(kept)
            bar = -negated
            size -= len(dropped)
    return [text for _, _, text in sorted(kept, key=lambda item: item[1])], count


def _train_sentencepiece(
    segments: list[str], options: TokenizerOptions, threads: int
) -> SentencePieceTokenizer:
    """Trains with text as it is: only runs of spaces are folded, and not those if lossless."""
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(segments),
            model_writer=model,
            num_threads=threads,
            model_type=options.type,
            vocab_size=options.n_pieces,
            character_coverage=options.coverage,
            # A char or word vocabulary is what the text has; a size is its upper bound.
            hard_vocab_limit=options.type in ("bpe", "unigram"),
            byte_fallback=options.with_bytes,
            normalization_rule_name="identity",  # others rewrite what users want translated
            remove_extra_whitespaces=not options.lossless,
            add_dummy_prefix=not options.lossless,
            allow_whitespace_only_pieces=options.lossless,
            unk_surface="\ufffd",
            control_symbols=["<mask>", "<cls>", "<sep>"],
            max_sentence_length=4 * _SEGMENT + 4,  # bytes
            minloglevel=2,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
        )
    except RuntimeError as error:
        raise _explained(str(error), options) from error
    return SentencePieceTokenizer(model.getvalue())


def _explained(message: str, options: TokenizerOptions) -> DataError:
    """SentencePiece's message about its C++ sources, as one about the user's options."""
    size = options.n_pieces
    if match := re.search(r"Vocabulary size too high.*<= (\d+)", message):
        largest = int(match[1])
        return VocabularySizeError(
            f"a vocabulary of {size:,} is too large for this text: {options.type} finds at most "
            f"{largest:,} pieces in it; use --vocab-size {largest} or less, or more text",
            largest,
        )
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        smallest = int(match[1])
        return VocabularySizeError(_too_small(size, smallest, options.with_bytes), smallest)
    return DataError(f"SentencePiece can't train on this text: {message}")


def _too_small(size: int, smallest: int, with_bytes: bool) -> str:
    parts = "its characters, the special tokens" + (" and 256 bytes" if with_bytes else "")
    return (
        f"a vocabulary of {size:,} is too small for this text: {parts} take {smallest:,}; "
        f"use --vocab-size {smallest} or more, or a smaller --coverage such as 0.9995"
    )


def _train_wordpiece(segments: list[str], options: TokenizerOptions) -> WordPieceTokenizer:
    from tokenizers import trainers

    engine = wordpiece_engine({"[UNK]": 0}, options.lowercase)
    characters, inner = _characters(segments, engine, options.coverage)
    smallest = len(_WORDPIECE_SPECIAL_TOKENS) + len(characters) + len(inner)
    if smallest > options.n_pieces:
        message = _too_small(options.n_pieces, smallest, with_bytes=False)
        raise VocabularySizeError(message, smallest)
    trainer = trainers.WordPieceTrainer(
        vocab_size=options.n_pieces,
        # The continuing characters have their ids from us: the library would number them in the
        # random order of a hash map, and the ids break ties between merges.
        special_tokens=[*_WORDPIECE_SPECIAL_TOKENS, *(f"##{character}" for character in inner)],
        limit_alphabet=len(characters),
        show_progress=False,
    )
    engine.train_from_iterator(segments, trainer)
    vocabulary = engine.get_vocab(with_added_tokens=True)
    lines = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    return WordPieceTokenizer("".join(f"{piece}\n" for piece in lines).encode("utf-8"))


def _characters(
    segments: list[str], engine: Engine, coverage: float
) -> tuple[list[str], list[str]]:
    """The characters that get a piece, and those of them that also stand inside words."""
    words: Counter[str] = Counter()
    normalize = engine.normalizer.normalize_str
    split = engine.pre_tokenizer.pre_tokenize_str
    for segment in segments:
        words.update(word for word, _ in split(normalize(segment)))
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    wanted = coverage * counts.total()
    kept: set[str] = set()
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if wanted <= 0:
            break
        kept.add(character)
        wanted -= count
    inner = {character for word in words for character in word[1:]} & kept
    return sorted(kept), sorted(inner)
