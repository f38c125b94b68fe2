"""What is said of lines whose figure means less than it seems to."""

from __future__ import annotations

import pytest

from attn_cli.config.scoring import ScoreOptions
from attn_cli.metrics.base import Segment
from attn_cli.metrics.scoring import CorpusScorer

CAFE, DECOMPOSED = "caf\u00e9", "cafe\u0301"
CHINESE = "\u732b\u5750\u5728\u57ab\u5b50\u4e0a"
JAPANESE = "\u732b\u304c\u6577\u7269\u306e\u4e0a\u306b\u5ea7\u3063\u305f"
THAI = "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01"


def notes(pairs, **options):
    scorer = CorpusScorer(ScoreOptions(**options))
    scorer.add(Segment(h, (r,), number=i) for i, (h, r) in enumerate(pairs, 1))
    assert scorer.scores()
    return " ".join(scorer.notes())


@pytest.mark.parametrize(
    ("options", "pairs", "said"),
    [
        ({}, [("a b .", "a b.")] * 300, "300 lines end in ' .': tokenized text?"),
        ({"chrf": True}, [("a", "a"), ("a b", "")], "1 empty reference (the first: line 2): chrF"),
        ({"bleu": True}, [(CHINESE, CHINESE)] * 3, "take --tokenize zh"),
        ({"bleu": True}, [(JAPANESE, JAPANESE)], "take --tokenize ja-mecab or char"),
        ({"bleu": True}, [(THAI, THAI)], "take --tokenize char"),
        (
            {"wer": True},
            [("a", "a"), (CAFE, DECOMPOSED)],
            "1 line (the first: line 2): equal letters",
        ),
        (
            {"accuracy": True},
            [("1.0", "1"), ("0", "0")],
            "in no reference: '1.0' ('1' meant?)",
        ),
        ({"accuracy": True}, [("Yes", "yes")], "in no reference: 'Yes' ('yes' meant?)"),
        ({"multilabel_f1": True}, [("a,b", "a")], "1 label of hypotheses in no reference: 'b'"),
        (
            {"span_f1": True, "scheme": "bio"},
            [("O X Q-PER U- X", "O B-PER O O O")],
            "4 tags of hypotheses neither O nor of the form B-TYPE ('X', 'Q-PER', 'U-'): no spans",
        ),
        ({"rouge_lsum": True}, [("a b. c", "a b. c")], "no <n> in any line"),
    ],
)
def test_what_is_unusual_is_said(options, pairs, said):
    assert said in notes(pairs, **options)


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        ({}, [("a b.", "a b.")] * 300 + [("a b .", "a b .")] * 99),
        ({"tokenize": "none"}, [("a b .", "a b .")] * 300),
        ({"bleu": True}, [("a b", "")]),
        ({"bleu": True, "tokenize": "zh"}, [(CHINESE, CHINESE)]),
        ({"bleu": True}, [("\u043f\u0440\u0438\u0432\u0435\u0442", f"hello {CHINESE[:2]}")]),
        ({"wer": True, "normalize": True}, [(CAFE, DECOMPOSED)]),
        ({"bleu": True}, [(DECOMPOSED, f"{DECOMPOSED} x")]),
        ({"accuracy": True}, [("a", "a"), ("", "a")]),
        ({"rouge_lsum": True}, [("a<n>b", "a")]),
        ({"rouge_lsum": True}, [("a\nb", "a")]),
    ],
)
def test_what_is_usual_is_not(options, pairs):
    assert notes(pairs, **options) == ""


def test_labels_are_compared_in_their_composed_form():
    scorer = CorpusScorer(ScoreOptions(accuracy=True, multilabel_f1=True))
    scorer.add([Segment(CAFE, (DECOMPOSED,))])
    assert [score.value for score in scorer.scores()] == [1.0, 1.0, 1.0]
