"""A translator's shortlist, made of its own alignments of pairs of lines.

Each target token counts for the source tokens that it attends to, by the attention that `--align`
shows (the mean of the heads of the last decoder layer but one).

Shapes: B batch, S source length, T target length.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence, Sized
from pathlib import Path

import torch
from torch import Tensor

from attn_cli.convert.output import MODEL_FILES, replace_directory
from attn_cli.data.batching import cut_by_budget
from attn_cli.data.padding import pad
from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.models.directory import read_config
from attn_cli.models.shortlist import CandidateTable, Counts
from attn_cli.systems.translation.translator import AutoregressiveTranslator, Source
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.wording import plural

_BATCH_TOKENS = 8192
_WINDOW = 4096  # lines
_LEAST = 0.1  # of a token's attention: less is no link
_FREQUENT = 100
_BYTE = re.compile("<0x[0-9A-F]{2}>")


def add_shortlist(
    folder: Path,
    output: Path,
    pairs: str,
    say: Callable[[str], None],
    *,
    size: int,
    overwrite: bool,
) -> None:
    """Writes a copy of a translator's directory with a shortlist made of pairs.

    Args:
        folder: the translator.
        output: the directory to write.
        pairs: a file of lines `source<TAB>target`, best its training pairs.
        say: is told of lines that can't be used.
        size: candidates of a source token.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: the directory holds no translator of texts that writes one token after another,
            or the file has no pair.
        UsageError: `output` holds a model.
    """
    task = read_config(folder).task
    if task != AutoregressiveTranslator.kind.task:
        raise DataError(
            f"{folder}: --shortlist is for translators that write one token after another, and "
            f"this model's task is {task!r}"
        )
    with replace_directory(output, folder, overwrite) as stage:
        translator = AutoregressiveTranslator.load(str(folder), torch.device("cpu"))
        table, n_pairs = make_table(translator, pairs, say, size)
        for file in sorted(folder.iterdir()):
            if file.is_file() and any(file.match(name) for name in MODEL_FILES):
                shutil.copyfile(file, stage / file.name)
        table.save(stage, n_pairs)


def make_table(
    translator: AutoregressiveTranslator, pairs: str, say: Callable[[str], None], size: int
) -> tuple[CandidateTable, int]:
    """The table, and how many pairs it was made of.

    Raises:
        DataError: the file has no pair, or the model reads no texts.
    """
    if translator.reads_files or not translator.models[0].has_attention:
        what = "reads files" if translator.reads_files else "has no attention (--attention none)"
        raise DataError(f"--shortlist: this model {what}: no source token suggests anything")
    bad = BadLines(say, skip_bad=True)
    rows = Rows(LineReader(pairs), Columns.parse(None, 2), bad, count=2)
    counts = Counts(translator.src.vocab_size, translator.tgt.vocab_size)
    n_pairs = 0
    for window in rows.windows(_WINDOW):
        found = _encoded(translator, [row for row in window if row.fields])
        n_pairs += len(found)
        if found:
            counts.add(*_links_of(translator, found))
    bad.finish("left out")
    if not n_pairs:
        raise DataError(f"{pairs}: no pair of lines, source<TAB>target, to make a shortlist of")
    table = counts.table(size, _FREQUENT, always_written(translator.tgt))
    return table, n_pairs


def always_written(tokenizer: Tokenizer) -> set[int]:
    """The special tokens and the bytes, of which any text can be written."""
    pieces = enumerate(tokenizer.vocabulary)
    return {*tokenizer.reserved_ids, *(index for index, piece in pieces if _BYTE.fullmatch(piece))}


def _encoded(
    translator: AutoregressiveTranslator, rows: Sequence[Row]
) -> list[tuple[Sized, Sequence[int]]]:
    """The pairs as tokens; one that can't be aligned at once is named and left out."""
    sources = translator.encoded([Source(row.fields[0]) for row in rows])
    targets = translator.tgt.encode([row.fields[1] for row in rows])
    most = min(_BATCH_TOKENS, translator.most_input + 1)
    found: list[tuple[Sized, Sequence[int]]] = []
    for row, src, tgt in zip(rows, sources, targets, strict=True):
        size = max(len(src), len(tgt) + 1)
        if size > most:
            row.refuse(f"a pair of {plural(size, 'token')}; at most {most:,} are aligned")
        else:
            found.append((src, tgt))
    return found


@torch.inference_mode()
def _links_of(
    translator: AutoregressiveTranslator, pairs: Sequence[tuple[Sized, Sequence[int]]]
) -> tuple[Tensor, Tensor, Tensor]:
    lengths = [(len(src), len(tgt) + 1) for src, tgt in pairs]
    found = [
        links(translator, [pairs[i][0] for i in group], [pairs[i][1] for i in group])
        for group in cut_by_budget(lengths, _BATCH_TOKENS, seed=0)
    ]
    src, tgt, weights = zip(*found, strict=True)
    return torch.cat(src), torch.cat(tgt), torch.cat(weights)


def links(
    translator: AutoregressiveTranslator, src: Sequence[Sized], tgt: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Source tokens, the target tokens that attend to them, and how much. Shape: (L,) each."""
    weights = translator.alignment(src, tgt)  # (B, T + 1, S)
    src_ids, src_mask = translator.src.collate(src)
    tgt_ids, tgt_mask = pad([[*ids, translator.tgt.eos_id] for ids in tgt], translator.tgt.pad_id)
    valid = tgt_mask[:, :, None] & src_mask[:, None] & (weights >= _LEAST)
    each = (src_ids[:, None].expand_as(weights), tgt_ids[:, :, None].expand_as(weights), weights)
    return each[0][valid], each[1][valid], each[2][valid]
