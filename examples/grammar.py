"""A small English-French grammar that writes a parallel corpus: train.tsv and test.tsv.

    python3 examples/grammar.py data          # 24,000 pairs to train on, 500 unseen ones to test

What a translator has to get right, and attention can show:

- determiners and adjectives agree with a noun that may come later: this small car, cette petite
  voiture; these small cars, ces petites voitures;
- some adjectives stand before the noun and some after it: the old black cat, le vieux chat noir;
- verbs agree with their subject, past a relative clause: the cats that see the dog sleep;
- possessors change sides: the king's new house, la nouvelle maison du roi;
- object pronouns move before the verb, negation goes round both: he does not see her, il ne la voit
  pas; never is ne ... jamais, and a negated indefinite object takes de: pas de chat;
- words melt together: l'homme, cet arbre, mon image, un bel oiseau, du roi; but le hibou.

Every English sentence has exactly one French one, so that a perfect translator scores 100.
Standard library only; the same seed writes the same bytes.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lexicon import (
    AFTER,
    ALL,
    BE,
    BEFORE,
    CONTRACTED,
    ELIDED,
    FREQUENCIES,
    LIVING,
    NOUNS,
    OBJECT_PRONOUNS,
    PLURAL,
    PREPOSITIONS,
    SINGULAR,
    TIMES,
    VERBS,
    Adjective,
    Noun,
    begins_with_vowel,
)


@dataclass(frozen=True)
class Phrase:
    """A noun phrase or pronoun in both languages, and what has to agree with it."""

    english: str
    french: str
    plural: bool = False
    feminine: bool = False
    first_person: bool = False
    kind: str = "person"

    @property
    def form(self) -> int:
        """Which of the forms je, il, nous, ils a verb takes."""
        return 2 * self.plural + (not self.first_person)

    @property
    def takes_s(self) -> bool:
        """Whether an English verb takes its third-person form."""
        return not (self.plural or self.first_person)


@dataclass(frozen=True)
class Mood:
    """Statement or question, negation, and an adverb of frequency in both languages."""

    question: bool = False
    negation: str = ""  # "not" or "never"
    frequency: tuple[str, str] = ("", "")


_INDEFINITE = ("some", "many")  # out of place behind a preposition
_PRONOUNS = (
    Phrase("I", "je", first_person=True),
    Phrase("he", "il"),
    Phrase("she", "elle", feminine=True),
    Phrase("we", "nous", plural=True, first_person=True),
)


def join_words(*parts: str) -> str:
    """Parts of a phrase, some of them empty, as text."""
    return " ".join(part for part in parts if part)


def melt(french: str) -> str:
    """Elides and contracts: l'homme for le homme, du roi for de le roi."""
    melted: list[str] = []  # from the last word to the first: de le homme must not become du
    for word in reversed(french.split(" ")):
        following = melted[-1] if melted else " "
        if word in ELIDED and begins_with_vowel(following):
            melted[-1] = f"{word[:-1]}'{following}"
        elif (word, following) in CONTRACTED:
            melted[-1] = CONTRACTED[word, following]
        else:
            melted.append(word)
    return " ".join(reversed(melted))


class Grammar:
    """Draws sentence pairs; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pair(self) -> tuple[str, str]:
        """An English sentence and its French translation."""
        says_how = self._often(0.2)
        subject = self._subject(ALL if says_how else LIVING)
        mood = self._mood()
        if says_how and not subject.first_person:
            english, french = self._state(subject, mood)
        else:
            english, french = self._action(subject, mood)
        if self._often(0.15):
            time = self._random.choice(TIMES)
            english, french = f"{english} {time[0]}", f"{french} {time[1]}"
        end = ".", "."
        if mood.question:
            french, end = f"est-ce que {french}", ("?", " ?")
        french = melt(french)
        return _capital(english) + end[0], _capital(french) + end[1]

    def _often(self, probability: float) -> bool:
        return self._random.random() < probability

    def _mood(self) -> Mood:
        drawn = self._random.random()
        if drawn < 0.12:
            return Mood(negation="not")
        if drawn < 0.2:
            return Mood(negation="never")
        frequency = self._random.choice(FREQUENCIES) if self._often(0.15) else ("", "")
        return Mood(question=drawn > 0.85, frequency=frequency)

    def _subject(self, kinds: Sequence[str]) -> Phrase:
        drawn = self._random.random()
        if drawn < 0.2:
            return self._random.choice(_PRONOUNS)
        first = self._noun_phrase(kinds)
        if drawn < 0.3:
            second = self._noun_phrase([first.kind])
            return Phrase(
                f"{first.english} and {second.english}",
                f"{first.french} et {second.french}",
                plural=True,
                feminine=first.feminine and second.feminine,
                kind=first.kind,
            )
        if drawn < 0.4:
            return self._with_relative(first)
        return first

    def _with_relative(self, head: Phrase) -> Phrase:
        """The head with a clause: the dog that sleeps, the dog that the king sees."""
        if head.kind in LIVING and self._often(0.6):
            english, french = self._action(head, Mood(), simple=True)
            # The clause begins with its subject, whose place the relative pronoun takes.
            relative = "that" + english.removeprefix(head.english)
            french_relative = "qui" + french.removeprefix(head.french)
        else:
            subject = self._noun_phrase(LIVING, adjectives=False)
            verb = self._random.choice([verb for verb in VERBS if head.kind in verb.objects])
            relative = f"that {subject.english} {verb.english[subject.takes_s]}"
            french_relative = f"que {subject.french} {verb.french[subject.form]}"
        return replace(
            head, english=f"{head.english} {relative}", french=f"{head.french} {french_relative}"
        )

    def _action(self, subject: Phrase, mood: Mood, *, simple: bool = False) -> tuple[str, str]:
        """A clause with a verb of action, its object and perhaps a place."""
        verb = self._random.choice(VERBS)
        obj, clitic = Phrase("", ""), ""
        if verb.objects and verb.objects[0] == "person" and self._often(0.25):
            reflexive = 3 if subject.first_person else 5
            english_pronoun, clitic = self._random.choice(OBJECT_PRONOUNS[:reflexive])
            obj = Phrase(english_pronoun, "")
        elif verb.objects:
            obj = self._noun_phrase(verb.objects, adjectives=not simple, denied=bool(mood.negation))
        place = self._place() if not simple and self._often(0.25) else Phrase("", "")
        auxiliary = "does" if subject.takes_s else "do"
        base, finite = verb.english[0], verb.english[subject.takes_s]
        if mood.question:
            english = join_words(auxiliary, subject.english, mood.frequency[0], base)
        elif mood.negation == "not":
            english = join_words(subject.english, auxiliary, "not", base)
        else:
            adverb = mood.negation or mood.frequency[0]
            english = join_words(subject.english, adverb, finite)
        predicate = _predicate(clitic, verb.french[subject.form], mood)
        return (
            join_words(english, obj.english, place.english),
            join_words(subject.french, predicate, obj.french, place.french),
        )

    def _state(self, subject: Phrase, mood: Mood) -> tuple[str, str]:
        """A clause with an adjective: she is happy, elle est heureuse."""
        adjectives = [a for a in (*BEFORE, *AFTER) if subject.kind in a.said_of]
        adjective = self._random.choice(adjectives)
        be, est = (forms[subject.form] for forms in BE)
        adverb = mood.negation or mood.frequency[0]
        start = (be, subject.english) if mood.question else (subject.english, be)
        form = adjective.agreeing(feminine=subject.feminine, plural=subject.plural)
        return (
            join_words(*start, adverb, adjective.english),
            join_words(subject.french, _predicate("", est, mood), form),
        )

    def _place(self) -> Phrase:
        english, french, kinds = self._random.choice(PREPOSITIONS)
        noun_phrase = self._noun_phrase(kinds, definite=True)
        return Phrase(f"{english} {noun_phrase.english}", f"{french} {noun_phrase.french}")

    def _noun_phrase(
        self,
        kinds: Sequence[str],
        *,
        adjectives: bool = True,
        definite: bool = False,
        denied: bool = False,
    ) -> Phrase:
        """Determiner, adjectives, noun; or a possessor in the determiner's place.

        Args:
            kinds: what the noun may be.
            adjectives: whether it may have adjectives.
            definite: whether it stands behind a preposition.
            denied: whether it is the object of a negated verb, where un and des become de.
        """
        noun = self._random.choice([noun for noun in NOUNS if noun.kind in kinds])
        plural = self._often(0.4)
        before = self._adjective(BEFORE, noun, 0.3 * adjectives)
        after = self._adjective(AFTER, noun, 0.3 * adjectives)
        english = join_words(
            before.english if before else "", after.english if after else "", noun.english[plural]
        )
        french = join_words(
            _before_noun(before, noun, plural) if before else "",
            noun.french[plural],
            after.agreeing(feminine=noun.feminine, plural=plural) if after else "",
        )
        bare = Phrase(english, french, plural, noun.feminine, kind=noun.kind)
        if adjectives and self._often(0.1):
            return self._possessed(bare, noun)
        names = [*(PLURAL if plural else SINGULAR)]
        name = self._random.choice(
            [n for n in names if n not in _INDEFINITE] if definite else names
        )
        determiner = _determiner(name, noun, plural, french)
        if (name == "some" and before) or (name in ("a", "some") and denied):
            determiner = "de"
        spoken = "any" if name == "some" and denied else name
        if name == "a" and english[0] in "aeiou":
            spoken = "an"
        return replace(bare, english=f"{spoken} {english}", french=f"{determiner} {french}")

    def _possessed(self, bare: Phrase, noun: Noun) -> Phrase:
        """The king's house, la maison du roi."""
        owner = self._random.choice([noun for noun in NOUNS if noun.kind == "person"])
        name = self._random.choice(("the", "this", "my", "our"))
        owners = f"{_determiner(name, owner, False, owner.french[0])} {owner.french[0]}"
        article = _determiner("the", noun, bare.plural, bare.french)
        return replace(
            bare,
            english=f"{name} {owner.english[0]}'s {bare.english}",
            french=f"{article} {bare.french} de {owners}",
        )

    def _adjective(
        self, adjectives: Sequence[Adjective], noun: Noun, probability: float
    ) -> Adjective | None:
        if not self._often(probability):
            return None
        return self._random.choice([a for a in adjectives if noun.kind in a.said_of])


def _determiner(name: str, noun: Noun, plural: bool, following: str) -> str:
    if plural:
        return PLURAL[name]
    vowel = begins_with_vowel(following.split(" ", 1)[0])
    return SINGULAR[name][2 * vowel + noun.feminine]


def _before_noun(adjective: Adjective, noun: Noun, plural: bool) -> str:
    if not plural and not noun.feminine and begins_with_vowel(noun.french[0]):
        return adjective.liaison
    return adjective.agreeing(feminine=noun.feminine, plural=plural)


def _predicate(clitic: str, verb: str, mood: Mood) -> str:
    """Negation goes round the pronoun and the verb: ne la voit pas."""
    negation = {"not": "pas", "never": "jamais", "": ""}[mood.negation]
    return join_words("ne" if negation else "", clitic, verb, negation, mood.frequency[1])


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def write_corpus(folder: Path, n_train: int, n_test: int, seed: int) -> None:
    """Writes distinct pairs: the first `n_test` drawn into test.tsv, the others into train.tsv."""
    grammar = Grammar(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < n_train + n_test:
        english, french = grammar.pair()
        pairs.setdefault(english, french)
    lines = [f"{english}\t{french}\n" for english, french in pairs.items()]
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("test.tsv", lines[:n_test]), ("train.tsv", lines[n_test:])):
        (folder / name).write_text("".join(part), encoding="utf-8", newline="\n")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Write a small English-French corpus.")
    parser.add_argument("folder", nargs="?", default=".", help="where to (default: here)")
    parser.add_argument("--train", type=int, default=24_000, help="pairs to train on (%(default)s)")
    parser.add_argument("--test", type=int, default=500, help="pairs to test on (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the drawing (%(default)s)")
    options = parser.parse_args()
    write_corpus(Path(options.folder), options.train, options.test, options.seed)


if __name__ == "__main__":
    main()
