"""`attn score`: hypotheses against references, or a model's opinion of them."""

from __future__ import annotations

from typing import Annotated

import typer

from attn_cli.cli.options import with_options
from attn_cli.cli.scoring import compare, score_against_references, score_by_model
from attn_cli.config.scoring import ScoreCommand


@with_options(ScoreCommand)
def score_command(
    hyp: Annotated[str, typer.Argument(metavar="HYP", show_default=False)] = "-",
    *,
    options: ScoreCommand,
) -> None:
    """attn decode --beam 5 < test.tsv | attn score --bleu

    Score hypotheses against references. Without --ref the input is TSV: hypothesis,
    reference(s). A blank hypothesis counts as an empty one; a line that can't be used is named and
    left out, and the exit status is 3. BLEU and chrF if no metric is named; sacreBLEU, jiwer and
    rouge-score do the counting, and the numbers are theirs. Tags come one a line, with a blank
    line between sentences (CoNLL), or a sentence a line.

    \b
    attn score out.de --ref test.de --bleu --ter --signature
    attn score out.de --ref a.de --ref b.de --chrf++ --bootstrap 1000
    attn score new.de --ref test.de --bleu --baseline old.de
    attn score new.de --ref test.de --compare old.de --plot differences.png
    attn score --wer --cer --normalize --json < transcripts.tsv
    attn score summaries.txt --ref highlights.txt --rouge --rouge-lsum
    attn decode test.tsv | attn score --accuracy --f1 --report
    attn decode test.tsv | attn score --confusion matrix.png
    attn decode test.conll | attn score --span-f1 --columns 2,3
    attn decode dev-v2.0.json | attn score --squad --ref dev-v2.0.json
    attn score --log-prob -m attn-model < pairs.tsv
    """  # noqa: D301, D403, D415 - help starts with a working pipe; \b keeps its lines
    if options.scoring.compare is not None:
        compare(hyp, options)
    elif options.scoring.log_prob or options.scoring.ppl:
        score_by_model(hyp, options)
    else:
        score_against_references(hyp, options)
