"""`convert --shortlist` makes a table of a model's alignments, `decode --shortlist` keeps to it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from drawn_models import TEXT, write_language_model, write_translator
from program import inside

from attn_cli.config.decoding import SearchOptions
from attn_cli.errors import DataError
from attn_cli.lines.writing import one_field
from attn_cli.models.shortlist import SHORTLIST, CandidateTable, Counts
from attn_cli.models.storage import load_tensors, save_tensors
from attn_cli.systems.translation.shortlist import always_written, make_table
from attn_cli.systems.translation.translator import AutoregressiveTranslator, Source

CPU = ("--device", "cpu", "--threads", 1)
PAIRS = [f"{a}\t{b}" for a in TEXT[:3] for b in ("the mat sat", "кот и пёс", "a dog")]


@pytest.fixture(scope="module", params=["transformer", "recurrent", "convolutional"])
def made(request, tmp_path_factory) -> Path:
    """A folder with a translator `plain`, its pairs, and `model`, the same with a shortlist."""
    place = tmp_path_factory.mktemp(request.param)
    write_translator(place / "plain", request.param)
    (place / "pairs.tsv").write_text("".join(f"{pair}\n" for pair in PAIRS), "utf-8")
    paths = place / "plain", "--shortlist", place / "pairs.tsv", "-o", place / "model"
    run = inside("convert", *paths, "--shortlist-size", 3)
    assert run.lines == [str(place / "model")]
    return place


def translator_of(place: Path) -> AutoregressiveTranslator:
    return AutoregressiveTranslator.load(str(place / "model"), torch.device("cpu"))


def table_of(place: Path) -> CandidateTable:
    one = translator_of(place)
    sizes = one.src.vocab_size, one.tgt.vocab_size
    return CandidateTable.load(place / "model", *sizes, one.tgt.eos_id)


@torch.inference_mode()
def test_the_table_is_what_counting_by_hand_gives(made):
    one = translator_of(made)
    links, often = {}, Counter()
    for pair in PAIRS:
        source, target = pair.split("\t")
        (src,), (tgt,) = one.encoded([Source(source)]), one.tgt.encode([target])
        weights = one.alignment([src], [tgt])[0]
        for t, token in enumerate([*tgt, one.tgt.eos_id]):
            for s, piece in enumerate(src):
                if (share := float(weights[t, s])) >= 0.1:
                    links.setdefault(piece, Counter())[token] += share
                    often[token] += share
    table = table_of(made)
    for piece, row in enumerate(table.by_token.tolist()):
        found = links.get(piece, Counter())
        best = sorted(found.values(), reverse=True)[:3]
        kept = [token for token in row if token >= 0]
        assert len(set(kept)) == len(best) and row[: len(kept)] == kept
        assert [found[token] for token in kept] == pytest.approx(best, abs=1e-4)
    specials = always_written(one.tgt)
    assert set(table.always.tolist()) == specials | set(often)  # fewer than 100 tokens
    assert {one.tgt.eos_id, one.tgt.unk_id} < specials
    assert sum(one.tgt.vocabulary[index].startswith("<0x") for index in specials) == 256


def test_the_most_frequent_tokens_of_a_large_vocabulary():
    counts = Counts(4, 1000)
    counts.add(*torch.tensor([[0, 0, 2, 0, 2], [7, 8, 8, 9, 7]]), torch.tensor([1.0, 2, 1, 2, 0.5]))
    counts.add(torch.tensor([0]), torch.tensor([7]), torch.tensor([1.5]))
    table = counts.table(2, 2, [999])
    assert table.by_token.tolist() == [[7, 8], [-1, -1], [8, 7], [-1, -1]]
    assert table.always.tolist() == [7, 8, 999]
    assert table.candidates([2, 1], [5, 7]).tolist() == [5, 7, 8, 999]
    assert counts.table(1, 0, [3]).candidates([0, 2]).tolist() == [3, 7, 8]


def expected_log_prob(one: AutoregressiveTranslator, source: str, tokens, table) -> float:
    """By teacher forcing, with the softmax over the candidates alone."""
    (src,) = one.encoded([Source(source)])
    ids, mask, tgt = one.tensors([src], [tokens])
    hidden = one.models[0](ids, mask, tgt[:, :-1]).hidden
    logits = torch.nn.functional.linear(hidden, *one.models[0].output_layer)[0]
    among = table.candidates(src, tokens)
    masked = torch.full_like(logits, float("-inf"))
    masked[:, among] = logits[:, among]
    return float(masked.log_softmax(-1).gather(1, tgt[0, 1:, None]).sum())


@torch.inference_mode()
def test_outputs_are_candidates_and_scores_are_theirs(made):
    one, table = translator_of(made), table_of(made)
    lines = [*TEXT, "a mat", "the dog sat on a cat"]
    stdin = "".join(f"{line}\n" for line in lines).encode()
    options = ("--shortlist", "--beam", 3, "--n-best", 2, "--max-len", 9, "--format", "json")
    run = inside("decode", "-m", made / "model", *CPU, *options, "--align", stdin=stdin)
    assert len(run.lines) == len(lines)
    narrower = 0
    for line, found in zip(lines, map(json.loads, run.lines), strict=True):
        sources = [Source(line)]
        search = SearchOptions(beam=3, n_best=2, max_len=9, shortlist=True)
        hypotheses = one.generate(sources, search, batch_tokens=4096)[0]
        allowed = set(table.candidates(one.encoded(sources)[0]).tolist())
        narrower += len(allowed) < one.tgt.vocab_size
        texts = [one_field(h.text) for h in hypotheses]
        assert texts == [each["text"] for each in found["hypotheses"]]
        for hypothesis, each in zip(hypotheses, found["hypotheses"], strict=True):
            assert set(hypothesis.tokens) <= allowed
            if hypothesis.finished:
                wanted = expected_log_prob(one, line, hypothesis.tokens, table)
                assert each["log_prob"] == pytest.approx(wanted, abs=1e-3)
            assert "align" in each
    assert narrower


def test_alone_or_together_a_line_is_answered_alike(made):
    stdin = "".join(f"{line}\n" for line in [*TEXT, "a mat"] * 3).encode()
    options = ("-m", made / "model", *CPU, "--shortlist", "--max-len", 8)
    together = inside("decode", *options, stdin=stdin).lines
    assert together == inside("decode", *options, "--buffer", 1, stdin=stdin).lines


def test_prefixes_and_phrases_are_kept(made):
    steered = "the cat sat\ta dog\tמ ||| пёс\n".encode()  # not what the pairs suggest
    run = inside(
        *("decode", "-m", made / "model", *CPU, "--shortlist", "--prefix", "--constraints"),
        stdin=steered,
    )
    (line,) = run.lines
    assert line.startswith("a dog") and "מ" in line and "пёс" in line


def test_a_full_table_changes_nothing(made, tmp_path):
    one = translator_of(made)
    model = tmp_path / "model"
    model.mkdir()
    for file in (made / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    empty = torch.full((one.src.vocab_size, 1), -1)
    CandidateTable(torch.arange(one.tgt.vocab_size), empty).save(model, 1)
    stdin = "".join(f"{line}\n" for line in TEXT).encode()
    options = ("decode", "-m", model, *CPU, "--max-len", 9)
    assert inside(*options, "--shortlist", stdin=stdin).lines == inside(*options, stdin=stdin).lines


def test_what_has_no_shortlist_is_refused_with_the_remedy(made, tmp_path):
    run = inside("decode", "-m", made / "plain", "--shortlist", stdin=b"a cat\n", status=2)
    assert f"{made / 'plain'}: no {SHORTLIST} (--shortlist); attn convert" in run.said
    write_language_model(tmp_path / "lm")
    run = inside("decode", "-m", tmp_path / "lm", "--shortlist", stdin=b"a cat\n", status=2)
    assert "--shortlist: only translators that write one token after another" in run.said
    pairs = ("--shortlist", made / "pairs.tsv")
    run = inside("convert", tmp_path / "lm", *pairs, "-o", tmp_path / "n", status=3)
    assert "this model's task is 'continue'" in run.said
    run = inside("convert", made / "plain", *pairs, "-o", made / "plain", status=2)
    assert "choose another -o" in run.said
    run = inside("convert", made / "plain", *pairs, "--to", "huggingface", "-o", "x", status=2)
    assert "--to: --shortlist copies a translator" in run.said
    run = inside("convert", made / "plain", "--shortlist-size", 3, "-o", tmp_path / "n", status=2)
    assert "--shortlist-size: needs --shortlist FILE" in run.said
    (tmp_path / "none.tsv").write_text("one column\n\n")
    pairs = ("--shortlist", tmp_path / "none.tsv")
    run = inside("convert", made / "plain", *pairs, "-o", tmp_path / "n", status=3)
    assert "none.tsv:1: " in run.said and "no pair of lines" in run.said
    assert not (tmp_path / "n").exists()


def test_a_table_that_does_not_fit_is_refused(made, tmp_path):
    one = translator_of(made)
    sizes = one.src.vocab_size, one.tgt.vocab_size, one.tgt.eos_id
    tensors, meta = load_tensors(made / "model" / SHORTLIST)
    wrong = {
        "not the shortlist of this model": {**tensors, "by_token": tensors["by_token"][1:]},
        "lacks the end token": {**tensors, "always": torch.tensor([5], dtype=torch.int32)},
        "does not have": {**tensors, "always": tensors["always"] + sizes[1]},
    }
    for said, changed in wrong.items():
        save_tensors(tmp_path / SHORTLIST, changed, meta)
        with pytest.raises(DataError, match=said):
            CandidateTable.load(tmp_path, *sizes)
    (tmp_path / SHORTLIST).write_bytes(b"nonsense")
    with pytest.raises(DataError):
        CandidateTable.load(tmp_path, *sizes)


def test_long_pairs_are_named_and_left_out(made, tmp_path):
    said = []
    one = translator_of(made)
    long = "cat " * 9000
    (tmp_path / "p.tsv").write_text(f"a cat\tthe mat\n{long}\tthe mat\n", "utf-8")
    _, n_pairs = make_table(one, str(tmp_path / "p.tsv"), said.append, 5)
    assert n_pairs == 1
    assert "p.tsv:2: a pair of " in said[0]
