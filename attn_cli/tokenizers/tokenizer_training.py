"""Training a tokenizer on a bounded random sample of any amount of text."""

from __future__ import annotations

import heapq
import io
import random
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from attn_cli.config.tokenizing import (
    CONTROL_SYMBOLS,
    DEFAULT_VOCAB_SIZE,
    WORDPIECE_SYMBOLS,
    TokenizerOptions,
)
from attn_cli.errors import DataError
from attn_cli.lines.rows import is_blank
from attn_cli.tokenizers.huggingface_tokenizer import (
    JsonTokenizer,
    WordPieceTokenizer,
    wordpiece_engine,
)
from attn_cli.tokenizers.sentencepiece_model import with_words
from attn_cli.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from attn_cli.tokenizers.subword_sampling import SPACE_MARK
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_choice import choose_tokenizer
from attn_cli.wording import plural

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

SAMPLE_CHARS = 64 << 20  # characters of text that are held in memory at most
_SEGMENT = 4000  # characters; SentencePiece's BPE counts positions in 16 bits
_THREADS = 8  # where none are asked for: unigram sums in this order on every machine

# SentencePiece leaves its own symbols out of a training text, and their characters with them.
_OWN_SYMBOL = re.compile("|".join([*map(re.escape, CONTROL_SYMBOLS), "<0x[0-9A-F]{2}>"]))

# Characters that never become part of a piece, so that a line of pieces is a line of pieces:
# control characters, line and paragraph separators, the byte-order mark, SentencePiece's own mark.
_UNPIECED = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff{SPACE_MARK}]+")


class VocabularySizeError(DataError):
    """The text can't fill, or does not fit into, a vocabulary of the size asked for.

    Attributes:
        possible: the largest (or smallest) size that this text allows, where it is known.
    """

    def __init__(self, message: str, possible: int | None = None) -> None:
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
    predicted: bool = False,
    drawn_of: str = "",
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
        predicted: whether a model will predict the pieces: a small text then has fewer of them.
        drawn_of: what the texts were drawn from at random, if they are not all there are.

    Raises:
        VocabularySizeError: the vocabulary asked for is too large or too small for the text.
        DataError: there is no text.
    """
    sample, count = reservoir(texts, options.sample_lines, SAMPLE_CHARS, seed)
    if drawn_of or len(sample) < count:
        whole = drawn_of or plural(count, "text")
        say(f"tokenizer: trained on a random sample of {len(sample):,} of {whole}")
    segments = [  # what can be pieces, in parts that the trainers can take
        part[start : start + _SEGMENT]
        for text in sample
        for part in _UNPIECED.split(text)
        for start in range(0, len(part), _SEGMENT)
    ]
    if not segments:
        raise DataError("there is no text to train a tokenizer on: all lines are blank")
    _say_two_forms(segments, say)
    decided, reason = choose_tokenizer(options, segments, usual_size, predicted=predicted)
    try:
        tokenizer = _train(segments, decided, threads)
    except VocabularySizeError as error:
        if options.vocab_size or not error.possible:
            raise
        decided = replace(decided, vocab_size=error.possible)
        tokenizer = _train(segments, decided, threads)
    if reason:
        say(f"tokenizer: {decided.type}, {plural(tokenizer.vocab_size, 'piece')}: {reason}")
    size, wanted = tokenizer.vocab_size, options.vocab_size or usual_size
    if size != wanted and not reason:
        compared = "has {}, fewer" if size < wanted else "needs {}, more"
        say(f"tokenizer: the text {compared.format(plural(size, 'piece'))} than {wanted:,}")
    if decided.type == "word":
        _say_unknown_words(segments, tokenizer, say)
    return tokenizer


def _say_two_forms(segments: list[str], say: Callable[[str], None]) -> None:
    """Says which words look alike and are not: a letter and its accent in one character, or two."""
    odd = {
        word
        for segment in segments
        if not unicodedata.is_normalized("NFC", segment)
        for word in segment.split()
        if not unicodedata.is_normalized("NFC", word)
    }
    if odd:
        composed = {unicodedata.normalize("NFC", word) for word in odd}
        both = composed.intersection(word for segment in segments for word in segment.split())
        if both:
            say(
                f"tokenizer: {plural(len(both), 'word')} in two Unicode forms, such as "
                f"{min(both)!r}: different words to a model; bring the text into one form (NFC)"
            )


def _say_unknown_words(
    segments: list[str], tokenizer: Tokenizer, say: Callable[[str], None]
) -> None:
    """Says how much of the text a word vocabulary does not reach."""
    words = Counter(word for segment in segments for word in segment.split(" ") if word)
    pieces = {piece.lstrip(SPACE_MARK) for piece in tokenizer.vocabulary}
    lacking = [count for word, count in words.items() if word not in pieces]
    if lacking:
        share = sum(lacking) / words.total()
        say(
            f"tokenizer: {len(lacking):,} of {plural(len(words), 'distinct word')} have no piece, "
            f"{share:.1%} of the text"
        )


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
        if is_blank(text):
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

    size, kind, symbols = options.n_pieces, options.type, options.own_symbols
    if kind == "word":
        smallest = (
            len(CONTROL_SYMBOLS)
            + 256 * options.with_bytes
            + len(symbols) * (1 + options.lossless)
            + 1
        )
        if size < smallest:
            raise VocabularySizeError(_too_small(size, smallest, options), smallest)
        size -= len(symbols) * (1 + options.lossless)
    own = {
        character for text in segments for found in _OWN_SYMBOL.findall(text) for character in found
    }
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(segments),
            model_writer=model,
            num_threads=threads,
            model_type=kind,
            # A char vocabulary is what the text has, whole; a word vocabulary is bounded. The
            # library makes room for as many pieces as it is told: no more than there can be.
            vocab_size=len(symbols) + sys.maxunicode if kind == "char" else size,
            hard_vocab_limit=kind in ("bpe", "unigram"),
            character_coverage=options.coverage,
            required_chars="".join(sorted(own)),
            user_defined_symbols=[] if kind == "word" else list(symbols),
            byte_fallback=options.with_bytes,
            normalization_rule_name="identity",  # others rewrite what users want translated
            remove_extra_whitespaces=not options.lossless,
            add_dummy_prefix=not options.lossless,
            allow_whitespace_only_pieces=options.lossless,
            unk_surface="\ufffd",
            control_symbols=list(CONTROL_SYMBOLS[4:]),
            max_sentence_length=4 * _SEGMENT + 4,  # bytes
            minloglevel=2,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
        )
    except RuntimeError as error:
        raise _explained(str(error), options) from error
    raw = model.getvalue()
    if kind == "word" and symbols:
        raw = with_words(raw, symbols, alone=options.lossless)
    tokenizer = SentencePieceTokenizer(raw)
    if kind == "char" and tokenizer.vocab_size > size:
        smallest = tokenizer.vocab_size
        raise VocabularySizeError(_too_small(size, smallest, options), smallest)
    return tokenizer


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
        return VocabularySizeError(_too_small(size, smallest, options), smallest)
    return DataError(
        f"no {options.type} vocabulary of {size:,} pieces can be made of this text; another "
        "--type or --vocab-size, or more text, may help"
    )


def _too_small(size: int, smallest: int, options: TokenizerOptions) -> str:
    parts = ["the special tokens"]
    parts += ["the symbols"] if options.own_symbols else []
    parts += ["256 bytes"] if options.with_bytes else []
    parts += ["a word"] if options.type == "word" else ["its characters"]
    remedy = "" if options.type == "word" else ", or a smaller --coverage such as 0.9995"
    return (
        f"a vocabulary of {size:,} is too small for this text: {', '.join(parts[:-1])} and "
        f"{parts[-1]} take {smallest:,}; use --vocab-size {smallest} or more{remedy}"
    )


def _train_wordpiece(segments: list[str], options: TokenizerOptions) -> Tokenizer:
    from tokenizers import AddedToken, trainers

    engine = wordpiece_engine({"[UNK]": 0}, options.lowercase)
    symbols = options.own_symbols
    if symbols:  # which are no text to learn pieces from
        cut = re.compile("|".join(map(re.escape, sorted(symbols, key=len, reverse=True))))
        segments = [part for segment in segments for part in cut.split(segment) if part.strip()]
    characters, inner = _characters(segments, engine, options.coverage)
    smallest = len(WORDPIECE_SYMBOLS) + len(symbols) + len(characters) + len(inner)
    if smallest > options.n_pieces:
        message = _too_small(options.n_pieces, smallest, options)
        raise VocabularySizeError(message, smallest)
    trainer = trainers.WordPieceTrainer(
        vocab_size=options.n_pieces - len(symbols),
        # The continuing characters have their ids from us: the library would number them in the
        # random order of a hash map, and the ids break ties between merges.
        special_tokens=[*WORDPIECE_SYMBOLS, *(f"##{character}" for character in inner)],
        limit_alphabet=len(characters),
        show_progress=False,
    )
    engine.train_from_iterator(segments, trainer)
    vocabulary = engine.get_vocab(with_added_tokens=True)
    lines = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    if symbols:
        engine.add_special_tokens(list(WORDPIECE_SYMBOLS))
        engine.add_tokens([AddedToken(symbol, normalized=False) for symbol in symbols])
        return JsonTokenizer(engine.to_str().encode("utf-8"))
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
