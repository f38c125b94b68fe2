"""A model directory with the pieces of its tokenizers alone that some texts need."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from attn_cli.convert.new_vocabulary import Side, read_config_with_pieces, write_sides
from attn_cli.convert.vocabulary import SOURCE, TARGET, sides_of
from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.models.shortlist import SHORTLIST, CandidateTable
from attn_cli.models.storage import load_tensors
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import read_tokenizers
from attn_cli.tokenizers.trimming import trimmed
from attn_cli.wording import plural

_WINDOW = 1000  # lines
_SAMPLE = 1000  # texts, of which is said how many are cut otherwise


def with_pieces_of(
    folder: Path,
    output: Path,
    say: Callable[[str], None],
    *,
    trim_vocabulary: str,
    tell: Callable[[str], None],
    overwrite: bool = False,
) -> None:
    """Writes a model directory that has the pieces alone which some lines need.

    Args:
        folder: the model directory.
        output: the directory to write.
        say: is told of lines that can't be used.
        trim_vocabulary: a file of lines: source and target by columns where each has a tokenizer of
            its own, else any texts.
        tell: is told of sizes, and of how many lines are cut otherwise.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: the directory is damaged, its tokenizer can't be trimmed, or the file has no
            text.
        UsageError: `output` holds a model.
    """
    config = read_config_with_pieces(folder)
    before = read_tokenizers(folder)
    apart = before[0] is not before[1]
    if apart and SOURCE not in sides_of(config):
        raise DataError(f"{folder}: one vocabulary, but a tokenizer each for source and target")
    used: dict[int, set[int]] = {number: set() for number in ((0, 1) if apart else (1,))}
    sample: list[tuple[int, str]] = []  # which tokenizer cuts it, and a text
    for texts in _texts(trim_vocabulary, say, apart=apart):
        for number, pieces in used.items():
            own = [text for which, text in texts if which == number]
            pieces.update(index for ids in before[number].encode(own) for index in ids)
        sample += texts[: max(0, _SAMPLE - len(sample))]
    if not all(used.values()):
        raise DataError(f"{trim_vocabulary}: no text whose pieces could be kept")
    smaller = {number: trimmed(before[number], pieces) for number, pieces in used.items()}
    (src, src_kept), (tgt, tgt_kept) = smaller.get(0, smaller[1]), smaller[1]
    sides = {
        side: Side(old, new, [(index,) for index in kept])
        for side, old, new, kept in (
            (SOURCE, before[0], src, src_kept),
            (TARGET, before[1], tgt, tgt_kept),
        )
        if side in sides_of(config)
    }
    shortlist = _smaller_shortlist(folder, before, (src_kept, tgt_kept))
    write_sides(
        folder, output, config, sides, (src, tgt), tell, overwrite=overwrite, also=shortlist
    )
    other = _cut_otherwise(before, (src, tgt), sample)
    tell(f"{output}: {other:,} of the first {plural(len(sample), 'text')} are cut otherwise")


def _texts(
    path: str, say: Callable[[str], None], *, apart: bool
) -> Iterator[list[tuple[int, str]]]:
    """The texts of a file, window by window, each with the number of the tokenizer that cuts it.

    Without `apart`, where one tokenizer cuts all, each column is a text.
    """
    bad = BadLines(say, skip_bad=True)
    with LineReader(path) as reader:
        columns, count = (Columns.parse(None, 2), 2) if apart else (None, 0)
        for window in Rows(reader, columns, bad, count=count).windows(_WINDOW):
            yield [text for row in window for text in _of_row(row, apart=apart)]
    bad.finish("left out")


def _of_row(row: Row, *, apart: bool) -> list[tuple[int, str]]:
    fields = row.fields if apart else [text for line in row.fields for text in line.split("\t")]
    return [(number if apart else 1, text) for number, text in enumerate(fields) if text]


def _cut_otherwise(
    before: Sequence[Tokenizer], after: Sequence[Tokenizer], sample: Sequence[tuple[int, str]]
) -> int:
    """How many texts are other pieces than they were."""
    count = 0
    for number, text in sample:
        old, new = before[number], after[number]
        (was,), (now,) = old.encode([text]), new.encode([text])
        count += old.pieces(was) != new.pieces(now)
    return count


def _smaller_shortlist(
    folder: Path,
    before: tuple[Tokenizer, Tokenizer],
    kept: tuple[Sequence[int], Sequence[int]],
) -> Callable[[Path], None]:
    """What writes the model's shortlist with the tokens that are kept, if it has one."""
    if not (folder / SHORTLIST).exists():
        return lambda stage: None
    src, tgt = before
    table = CandidateTable.load(folder, src.vocab_size, tgt.vocab_size, tgt.eos_id)
    _, facts = load_tensors(folder / SHORTLIST)
    new = torch.full((tgt.vocab_size + 1,), -1)  # the last row: where there is no candidate
    new[torch.tensor(kept[1])] = torch.arange(len(kept[1]))
    always, by_token = new[table.always], new[table.by_token[torch.tensor(kept[0])]]
    smaller = dataclasses.replace(table, always=always[always >= 0], by_token=by_token)
    return lambda stage: smaller.save(stage, int(str(facts.get("pairs", 0))))
