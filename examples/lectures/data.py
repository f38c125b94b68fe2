"""What the tour reads: pairs, texts, labels, documents and a graph, drawn from one small grammar.

    python3 examples/lectures/data.py tour

writes into the folder `tour`

- train.tsv, dev.tsv, test.tsv: English and French sentences, every word and sign apart, so that
  a token is a word (`--type word`) and a picture has a row for each; few.tsv: three of them to
  look at, none of which is in the others;
- text.txt: English documents, a sentence a line. The sentences of a document are about one thing;
- who-train.tsv, who-dev.tsv: sentences, and whether a person or an animal is in them. No noun of
  the one file is in the other: whoever has only read the first can't know what an owl is;
- documents-train.jsonl, documents-dev.jsonl: lists of sentences, and whether one of them denies
  something. few.jsonl: three of the latter;
- graph: nodes.tsv and edges.tsv. Nouns, joined to the verbs, adjectives and prepositions that they
  stand with; the label of a noun is its kind. "You shall know a word by the company it keeps".

Standard library only; the same seed writes the same bytes.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grammar import Grammar  # noqa: E402
from lexicon import AFTER, BEFORE, LIVING, NOUNS, PREPOSITIONS, VERBS  # noqa: E402

SEED = 3
SIZES = {"train": 8000, "dev": 200, "test": 300}
DOCUMENTS = 1600  # of text.txt
SENTENCES = 5  # of a document
LABELLED = 400
DENIALS = {"not", "never"}
SEEN_TOGETHER = 3  # times, before two words are joined
FEW = (
    (
        "the old black cat sees the king 's new house .",
        "le vieux chat noir voit la nouvelle maison du roi .",
    ),
    (
        "she does not see the small white birds .",
        "elle ne voit pas les petits oiseaux blancs .",
    ),
    (
        "the queens that the dog follows never sing in the garden .",
        "les reines que le chien suit ne chantent jamais dans le jardin .",
    ),
)
KINDS = {form: noun.kind for noun in NOUNS for form in noun.english}
NUMBERS = {form: number for number, noun in enumerate(NOUNS) for form in noun.english}
COMPANY = {
    *(form.split(" ")[0] for verb in VERBS for form in verb.english),
    *(adjective.english for adjective in (*BEFORE, *AFTER)),
    *(english for english, _, _ in PREPOSITIONS),
}


def spaced(sentence: str) -> str:
    """A sentence as it is spelt inside another one, its words and signs parted by spaces."""
    text = sentence if sentence.startswith("I ") else sentence[0].lower() + sentence[1:]
    text = re.sub(r"'s\b", " 's", text)  # the king 's house
    text = re.sub(r"'(?!s\b)", "' ", text)  # l' homme
    return re.sub(r" ?([.?])$", r" \1", text)


def pairs(grammar: Grammar) -> Iterator[tuple[str, str]]:
    """Distinct pairs of sentences, without end."""
    seen = {english for english, _ in FEW}
    while True:
        english, french = (spaced(sentence) for sentence in grammar.pair())
        if english not in seen:
            seen.add(english)
            yield english, french


def nouns_of(sentence: str) -> list[str]:
    """The nouns of an English sentence, in order."""
    return [word for word in sentence.split(" ") if word in KINDS]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a file of lines."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def write_pairs(folder: Path, drawn: Iterator[tuple[str, str]]) -> None:
    """Writes the files of pairs."""
    for name, size in SIZES.items():
        write_lines(folder / f"{name}.tsv", ("\t".join(next(drawn)) for _ in range(size)))
    write_lines(folder / "few.tsv", ("\t".join(pair) for pair in FEW))
    write_lines(folder / "few.txt", (english for english, _ in FEW))


def write_text(path: Path, sentences: Iterator[str]) -> None:
    """Writes documents, each about what its first noun names."""
    waiting: dict[int, list[str]] = {}
    lines: list[str] = []
    n_documents = 0
    while n_documents < DOCUMENTS:
        sentence = next(sentences)
        subjects = nouns_of(sentence)
        if not subjects:
            continue
        about = waiting.setdefault(NUMBERS[subjects[0]], [])
        about.append(sentence)
        if len(about) == SENTENCES:
            lines += [*about, ""]
            about.clear()
            n_documents += 1
    write_lines(path, lines)


def write_who(folder: Path, sentences: Iterator[str]) -> None:
    """Writes sentences in which one person or animal is, and which of them it is."""
    files: dict[str, list[str]] = {"train": [], "dev": []}
    while any(len(lines) < LABELLED for lines in files.values()):
        sentence = next(sentences)
        living = [noun for noun in nouns_of(sentence) if KINDS[noun] in LIVING]
        if len(living) != 1:
            continue
        part = "dev" if NUMBERS[living[0]] % 3 == 0 else "train"
        if len(files[part]) < LABELLED:
            files[part].append(f"{sentence}\t{KINDS[living[0]]}")
    for part, lines in files.items():
        write_lines(folder / f"who-{part}.tsv", lines)


def write_documents(folder: Path, sentences: Iterator[str], chance: random.Random) -> None:
    """Writes documents in half of which one sentence denies something."""
    plain, denying = [], []
    while len(plain) < 12 * LABELLED or len(denying) < 2 * LABELLED:
        sentence = next(sentences)
        (denying if DENIALS & set(sentence.split(" ")) else plain).append(sentence)
    documents = []
    for number in range(2 * LABELLED):
        lines = [plain.pop() for _ in range(chance.randint(2, 5))]
        if number % 2:
            lines.insert(chance.randint(0, len(lines)), denying.pop())
        label = "denies" if number % 2 else "affirms"
        documents.append(json.dumps({"sentences": lines, "label": label}))
    write_lines(folder / "documents-train.jsonl", documents[:-200])
    write_lines(folder / "documents-dev.jsonl", documents[-200:])
    write_lines(folder / "few.jsonl", documents[-5::2])


def company(sentences: Iterable[str]) -> Counter[tuple[str, str]]:
    """How often a noun stands behind a verb, an adjective or a preposition, nouns not between."""
    found: Counter[tuple[str, str]] = Counter()
    for sentence in sentences:
        before: list[str] = []
        for word in sentence.split(" "):
            if word in KINDS:
                found.update((word, other) for other in before)
                before = []
            elif word in COMPANY:
                before.append(word)
    return found


def write_graph(folder: Path, sentences: Iterable[str]) -> None:
    """Writes who stands with whom; a word's only feature is which one it is."""
    joined = [edge for edge, count in company(sentences).items() if count >= SEEN_TOGETHER]
    words = sorted({word for edge in joined for word in edge})
    nodes = ["node\tlabel\tsplit\tfeatures"]
    for number, word in enumerate(words):
        kind = KINDS.get(word, "")
        # Both forms of a noun are in one part: cats must not say what a cat is.
        split = ("train", "val", "test", "train")[NUMBERS[word] % 4] if kind else "none"
        nodes.append(f"{word}\t{kind}\t{split}\t{number}")
    folder.mkdir(exist_ok=True)
    write_lines(folder / "nodes.tsv", nodes)
    write_lines(folder / "edges.tsv", ["node_u\tnode_v", *(f"{u}\t{v}" for u, v in sorted(joined))])


def main() -> None:
    """Reads the command line."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    drawn = pairs(Grammar(SEED))
    write_pairs(folder, drawn)
    write_text(folder / "text.txt", (english for english, _ in drawn))
    write_who(folder, (english for english, _ in drawn))
    write_documents(folder, (english for english, _ in drawn), random.Random(SEED))
    text = (folder / "text.txt").read_text("utf-8").splitlines()
    write_graph(folder / "graph", text)


if __name__ == "__main__":
    main()
