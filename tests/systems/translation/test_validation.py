"""The figures of a validation, of texts that are written with spaces between words, and without."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import sacrebleu
from program import TINY, inside

from attn_cli.systems.translation.sequence_level import Output, SentenceBleu
from attn_cli.systems.translation.validation import TranslationValidation

CHINESE = ["猫坐在垫子上。", "他今天看了三本书。", "我们明天去学校吗?", "GPT 写了一首诗。"]
JAPANESE = ["猫が敷物の上に座った。", "彼は今日本を読んだ。"]
THAI = ["แมวนั่งอยู่บนพรม", "เขาอ่านหนังสือวันนี้"]
SPACED = ["the cat sat on the mat .", "고양이가 매트 위에 앉았다 .", "кошка сидела на коврике ."]
TEXTS = [(CHINESE, "zh"), (JAPANESE, "char"), (THAI, "char"), (SPACED, "13a")]


def validation(targets, metric="bleu"):
    """A validation of a translator that leaves out the character before the last one."""
    made = [[SimpleNamespace(text=text[:-2] + text[-1])] for text in targets]
    batch = SimpleNamespace(n_tokens=2)
    batch.to = lambda device: batch
    return TranslationValidation(
        lambda batch: (0.0, 3.0),
        SimpleNamespace(device="cpu", generate=lambda *_, **__: made),
        SimpleNamespace(
            rows=range(len(targets)),
            read=lambda numbers: [("a source", b"", targets[i]) for i in numbers],
            batches=lambda numbers, seed: [batch],
        ),
        metric,
        same_source=np.arange(len(targets)),
    )


@pytest.mark.parametrize(("targets", "tokenizer"), TEXTS)
def test_dev_bleu_parts_words_as_their_script_is_written(targets, tokenizer):
    found = validation(targets)
    made = [text[:-2] + text[-1] for text in targets]
    wanted = sacrebleu.corpus_bleu(made, [targets], tokenize=tokenizer).score
    assert found()["bleu"] == pytest.approx(wanted)
    assert wanted > 30
    assert found.has_sentences
    if tokenizer == "13a":
        assert found.remarks == []
    else:
        (remark,) = found.remarks
        assert remark.endswith(f"dev BLEU is that of attn score --tokenize {tokenizer}")
        assert validation(targets, "loss").remarks == []


def test_labels_are_no_sentences():
    assert not validation(["yes", "no"]).has_sentences
    assert not validation(["是", "不是"]).has_sentences


@pytest.mark.parametrize(("targets", "tokenizer"), TEXTS)
def test_the_reward_of_a_sentence_parts_words_likewise(targets, tokenizer):
    spelt = SimpleNamespace(decode=lambda rows: ["".join(map(chr, row)) for row in rows])
    made = [text[:-2] + text[-1] for text in targets]
    outputs = [[Output(tuple(map(ord, text)), True)] for text in made]
    gold = [Output(tuple(map(ord, text)), True) for text in targets]
    rewards = SentenceBleu(spelt)(outputs, gold)
    assert [reward for (reward,) in rewards] == pytest.approx(
        [
            sacrebleu.sentence_bleu(text, [reference], tokenize=tokenizer).score / 100
            for text, reference in zip(made, targets, strict=True)
        ]
    )


def test_a_training_says_how_its_dev_bleu_is_counted(tmp_path):
    corpus = tmp_path / "zh.tsv"
    corpus.write_text("".join(f"line {i}\t{CHINESE[i % 4]}\tx\n" for i in range(40)), "utf-8")
    run = inside("train-mt", corpus, "-o", tmp_path / "m", *TINY, "--max-steps", 1)
    assert run.said.count("dev BLEU is that of attn score --tokenize zh") == 1
    assert f"{corpus}: 3 columns, of which the first 2 are read; --columns chooses" in run.said
