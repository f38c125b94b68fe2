"""The grammar's French, checked against tables of its own: none is taken from the grammar."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

GRAMMAR = Path(__file__).resolve().parents[2] / "examples" / "grammar.py"

GENDERS = {
    "feminine": "femme fille reine tante actrice sœur vache abeille souris pomme soupe lettre "
    "histoire fleur voiture image clé chaise maison école église forêt table",
    "masculine": "homme garçon enfant roi oncle héros boulanger chat chien cheval oiseau hibou œuf "
    "gâteau livre journal bateau chapeau parapluie jardin hôtel château arbre pont",
}
FEMININE, MASCULINE = (set(nouns.split()) for nouns in GENDERS.values())
PLURALS = {noun: noun + "s" for noun in FEMININE | MASCULINE} | {
    "souris": "souris",
    "héros": "héros",
    "cheval": "chevaux",
    "journal": "journaux",
    "hibou": "hiboux",
    "oiseau": "oiseaux",
    "gâteau": "gâteaux",
    "bateau": "bateaux",
    "chapeau": "chapeaux",
    "château": "châteaux",
}
SINGULARS = {plural: noun for noun, plural in PLURALS.items()}

# Lemma: forms of masculine singular, feminine singular, masculine plural, feminine plural.
EARLY = {
    "petit": "petit petite petits petites",
    "grand": "grand grande grands grandes",
    "joli": "joli jolie jolis jolies",
    "mauvais": "mauvais mauvaise mauvais mauvaises",
    "énorme": "énorme énorme énormes énormes",
    "vieux": "vieux vieille vieux vieilles",
    "beau": "beau belle beaux belles",
    "nouveau": "nouveau nouvelle nouveaux nouvelles",
    "jeune": "jeune jeune jeunes jeunes",
}
LATE = {
    "noir": "noir noire noirs noires",
    "blanc": "blanc blanche blancs blanches",
    "rouge": "rouge rouge rouges rouges",
    "vert": "vert verte verts vertes",
    "bleu": "bleu bleue bleus bleues",
    "gris": "gris grise gris grises",
    "étrange": "étrange étrange étranges étranges",
    "lourd": "lourd lourde lourds lourdes",
    "célèbre": "célèbre célèbre célèbres célèbres",
    "espagnol": "espagnol espagnole espagnols espagnoles",
    "français": "français française français françaises",
    "heureux": "heureux heureuse heureux heureuses",
    "triste": "triste triste tristes tristes",
    "curieux": "curieux curieuse curieux curieuses",
}
LIAISON = {"vieil": "vieux", "bel": "beau", "nouvel": "nouveau"}
ADJECTIVES = {form for forms in (EARLY | LATE).values() for form in forms.split()} | set(LIAISON)
EARLY_FORMS = {form for forms in EARLY.values() for form in forms.split()} | set(LIAISON)

MASCULINE_SINGULAR = {"le", "un", "ce", "cet", "du"}
FEMININE_SINGULAR = {"la", "une", "cette", "ma", "sa"}
PLURAL = {"les", "des", "ces", "deux", "mes", "ses", "nos", "leurs"}
NEUTRAL = {"l'", "mon", "son", "notre", "leur"}  # singular, of either gender by themselves
DE = {"de", "d'"}  # number and gender are open
DETERMINERS = MASCULINE_SINGULAR | FEMININE_SINGULAR | PLURAL | NEUTRAL | DE


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("corpus")
    subprocess.run([sys.executable, str(GRAMMAR), str(place)], check=True)
    return place


def pairs(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return [(english, french) for english, french in (line.split("\t") for line in lines)]


@pytest.fixture(scope="module")
def corpus(folder) -> list[tuple[str, str]]:
    return pairs(folder / "train.tsv") + pairs(folder / "test.tsv")


def words(french: str) -> list[str]:
    """Words, with what was elided as a word of its own: l'homme gives l' and homme."""
    lowered = french.lower().replace("aujourd'hui", "aujourdhui")
    return re.sub(r"[.?]", "", lowered).replace("'", "' ").split()


def noun_phrases(tokens: list[str]) -> list[tuple[str, list[str], str, list[str]]]:
    """(determiner, adjectives before, noun, adjectives after) of a sentence."""
    found = []
    for i, word in enumerate(tokens):
        if word not in PLURALS and word not in SINGULARS:
            continue
        start = i
        while tokens[start - 1] in ADJECTIVES:
            start -= 1
        end = i + 1
        while end < len(tokens) and tokens[end] in ADJECTIVES:
            end += 1
        found.append((tokens[start - 1], tokens[start:i], word, tokens[i + 1 : end]))
    return found


def lemma_and_slots(form: str) -> tuple[str, set[int]]:
    """What a form is a form of, and which of the four places of the table it can fill."""
    if form in LIAISON:
        return LIAISON[form], {0}
    for lemma, forms in (EARLY | LATE).items():
        if form in forms.split():
            return lemma, {slot for slot, other in enumerate(forms.split()) if other == form}
    raise AssertionError(form)


def sounds_like_a_vowel(word: str) -> bool:
    if word in ("hibou", "hiboux", "héros"):
        return False
    return word[0] in "aeiouyh" or word[0] in "éèêâîôœ"


def test_there_are_enough_pairs_and_the_test_sentences_are_unseen(folder):
    train, test = pairs(folder / "train.tsv"), pairs(folder / "test.tsv")
    assert len(set(train)) == len(train) >= 20_000
    assert len(set(test)) == len(test) >= 300
    assert not {english for english, _ in train} & {english for english, _ in test}
    lengths = {len(english.split()) for english, _ in train}
    assert min(lengths) <= 3
    assert max(lengths) >= 15


def test_every_english_sentence_has_one_translation(corpus):
    assert len({english for english, _ in corpus}) == len(corpus)


def test_the_same_seed_writes_the_same_bytes(folder, tmp_path):
    small = ["--train", "50", "--test", "5"]
    written = []
    for name, seed, hash_seed in (("a", "1", "3"), ("b", "1", "4"), ("c", "2", "3")):
        command = [sys.executable, str(GRAMMAR), str(tmp_path / name), *small, "--seed", seed]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": hash_seed})
        written.append((tmp_path / name / "train.tsv").read_bytes())
    assert written[0] == written[1] != written[2]


def test_determiners_and_adjectives_agree_with_their_noun(corpus):
    seen = 0
    for _, french in corpus:
        for determiner, before, noun, after in noun_phrases(words(french)):
            assert determiner in DETERMINERS, french
            singular = noun in PLURALS and not (noun in SINGULARS and determiner in PLURAL)
            base = noun if singular else SINGULARS[noun]
            feminine = base in FEMININE
            if determiner not in DE:
                assert singular == (determiner not in PLURAL), french
                assert not (feminine and determiner in MASCULINE_SINGULAR), french
                assert not (not feminine and determiner in FEMININE_SINGULAR), french
            slots = {2 * (not singular) + feminine}
            if determiner in DE and noun in SINGULARS and noun in PLURALS:
                slots = {feminine, 2 + feminine}  # de vieilles souris: the noun does not tell
            for adjective in before + after:
                assert slots & lemma_and_slots(adjective)[1], (adjective, french)
                seen += 1
    assert seen > 10_000


def test_adjectives_stand_on_their_side_of_the_noun(corpus):
    seen = 0
    for _, french in corpus:
        for _, before, _, after in noun_phrases(words(french)):
            assert all(adjective in EARLY_FORMS for adjective in before), french
            assert not any(adjective in EARLY_FORMS for adjective in after), french
            seen += bool(before) + bool(after)
    assert seen > 10_000


def test_words_melt_together_exactly_where_the_next_one_begins_with_a_vowel(corpus):
    elided = {"l'", "d'", "n'", "j'", "m'", "qu'"}
    full = {"le", "la", "de", "ne", "je", "me", "que", "ce", "ma", "sa"}
    seen = set()
    for _, french in corpus:
        tokens = words(french)
        for word, following in zip(tokens, tokens[1:], strict=False):
            if word in elided or word == "cet":
                assert sounds_like_a_vowel(following), french
                seen.add(word)
            if word in full:
                assert not sounds_like_a_vowel(following), french
        assert not re.search(r"\bde les? ", french), french
    assert seen == {*elided, "cet"}


def test_liaison_forms_stand_before_masculine_vowels_only(corpus):
    seen = set()
    for _, french in corpus:
        tokens = words(french)
        for word, following in zip(tokens, tokens[1:], strict=False):
            masculine_vowel = following in MASCULINE and sounds_like_a_vowel(following)
            if word in LIAISON:
                assert masculine_vowel, french
                seen.add(word)
            if word in ("vieux", "beau", "nouveau") and following in PLURALS:
                assert not masculine_vowel, french
    assert seen == set(LIAISON)


def test_verbs_agree_with_their_subject(corpus):
    """Seen from outside: what stands right behind a pronoun, and the number of est and sont."""
    endings = {"je": ("s", "e"), "nous": ("ons", "sommes")}
    seen = 0
    for english, french in corpus:
        tokens = [t for t in words(french) if t not in ("ne", "n'", "me", "m'", "l'", "le", "la")]
        tokens = [t for t in tokens if t not in ("les", "est-ce", "que", "qu'")]
        if tokens[0] in endings:
            assert tokens[1].endswith(endings[tokens[0]]), french
            seen += 1
        if re.match(r"(Are|\w+ [\w ]*?\bare\b)", english):
            assert "sont" in tokens, french
        if re.search(r"\bis\b", english):
            assert "est" in tokens, french
    assert seen > 1000


def test_predicates_agree_past_a_conjunction(corpus):
    mixed = re.compile(r"^(\w+) (\w+) et (\w+) (\w+) sont (\w+)\.$")
    seen = 0
    for _, french in corpus:
        found = mixed.match(french.lower())
        if not found or found[2] not in PLURALS or found[4] not in PLURALS:
            continue
        feminine = found[2] in FEMININE and found[4] in FEMININE
        assert 2 + feminine in lemma_and_slots(found[5])[1], french
        seen += 1
    assert seen >= 5


@pytest.mark.parametrize(
    ("english", "french"),
    [
        (
            r"'s \w+ sings?\.$",
            r"(du|de la|de l'|de cet?|de cette|de mon|de ma|de notre) ?\w+ chant",
        ),
        (r"does not \w+ (an?|any) ", r"pas (de |d')"),
        (r" never ", r"\b(ne|n')"),
        (r" does not [\w ]+ her\.$", r"\bne (la |l')\w+ pas\.$|\bne l'"),
        (r"\?$", r"^Est-ce qu(e |').* \?$"),
        (r"^[\w ]+ her\.$", r"\b(la \w+|l'\w+)( \w+)?\.$"),
    ],
)
def test_constructions_change_places(corpus, english, french):
    matching = [pair for pair in corpus if re.search(english, pair[0])]
    assert len(matching) >= 5
    for source, target in matching:
        assert re.search(french, target), (source, target)
