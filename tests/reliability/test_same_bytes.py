"""Same seed, same bytes; and no line depends on its neighbours."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from lived import Lives, Training
from program import attn, inside, write_reversal


def test_the_same_command_gives_the_same_bytes(reversal_model: Path, tmp_path: Path) -> None:
    pairs = write_reversal(tmp_path / "pairs.tsv", 300, seed=9).read_bytes()
    encode = ("tokenize", "encode", "-t", reversal_model, "--sample", 0.3, "--seed", 5)
    decode = ("decode", "-m", reversal_model, "--threads", 1)
    sample = (*decode, "--sample", "--temperature", 2, "--seed", 5)
    bootstrap = ("score", "--bleu", "--chrf", "--bootstrap", 50, "--seed", 5)
    other = {encode: (*encode[:-1], 6), sample: (*sample[:-1], 6), bootstrap: (*bootstrap[:-1], 6)}
    for command in (encode, (*decode, "--beam", 3), sample, bootstrap):
        outputs = [inside(*command, stdin=pairs).out for _ in range(2)]
        assert outputs[0] == outputs[1]
        if command in other:
            assert inside(*other[command], stdin=pairs).out != outputs[0]
    for kind in ("bpe", "unigram", "wordpiece"):
        made = []
        for number in range(2):
            ending = "txt" if kind == "wordpiece" else "model"
            path = tmp_path / f"{number}.{ending}"
            options = ("--type", kind, "--vocab-size", 30, "-o", path)
            inside("tokenize", "train", *options, stdin=pairs)
            made.append(path.read_bytes())
        assert made[0] == made[1]


def test_what_a_line_becomes_does_not_depend_on_the_others(
    reversal_model: Path, tmp_path: Path
) -> None:
    lines = write_reversal(tmp_path / "pairs.tsv", 200, seed=11).read_text().splitlines()
    decode = ("decode", "-m", reversal_model, "--threads", 1)
    whole = inside(*decode, stdin="\n".join(lines).encode()).lines
    order = random.Random(3).sample(range(200), 200)
    shuffled = inside(*decode, stdin="\n".join(lines[i] for i in order).encode()).lines
    alone = inside(*decode, "--buffer", 1, stdin="\n".join(lines).encode()).lines
    assert [whole[i] for i in order] == shuffled
    assert whole == alone


def test_the_same_training_gives_the_same_bytes(
    lives: Lives, training: Training, tmp_path: Path
) -> None:
    assert lives.run(*training.into(tmp_path / "again")).status == 0
    assert training.is_what_became_of(tmp_path / "again")
    assert lives.run(*training.into(tmp_path / "other"), "--seed", 2).status == 0
    assert not training.is_what_became_of(tmp_path / "other")


@pytest.mark.slow
@pytest.mark.parametrize("search", [("--beam", 5), ("--greedy",)])
def test_a_translation_does_not_depend_on_the_other_lines(
    search: tuple[object, ...], multi30k_model: Path, data_dir: Path, tmp_path: Path
) -> None:
    """Real sentences: val as it is, shuffled, line by line, and in other batches."""
    lines = (data_dir / "multi30k" / "val.en").read_text("utf-8").split("\n")[:-1]
    decode = ("decode", "-m", multi30k_model, "--threads", 1, "--max-len", 40, *search)

    def translated(lines: list[str], *more: object) -> list[str]:
        return inside(*decode, *more, stdin="\n".join(lines).encode()).lines

    whole = translated(lines)
    order = random.Random(3).sample(range(len(lines)), len(lines))
    changed = {
        "shuffled": differing([whole[i] for i in order], translated([lines[i] for i in order])),
        "single lines": differing(whole, translated(lines, "--buffer", 1)),
        "small batches": differing(whole, translated(lines, "--batch-tokens", 256)),
    }
    print(f"{' '.join(map(str, search))}: lines of {len(lines)} that change: {changed}")
    assert max(changed.values()) <= len(lines) // 1000  # two sums that tie up to rounding


def differing(one: list[str], other: list[str]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def multi30k_model(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator of the default size, stopped so early that it hesitates: much nearly ties."""
    place = tmp_path_factory.mktemp("multi30k")
    sides = [(data_dir / "multi30k" / f"train.{side}").read_text("utf-8") for side in ("en", "de")]
    pairs = zip(*(side.split("\n")[:-1] for side in sides), strict=True)
    (place / "train.tsv").write_text("".join(f"{en}\t{de}\n" for en, de in pairs), "utf-8")
    limits = ("--max-steps", 150, "--metric", "loss", "--warmup", 50)
    attn("train-mt", place / "train.tsv", "-o", place / "m", *limits)
    return place / "m"
