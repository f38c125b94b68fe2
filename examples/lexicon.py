"""The words of `grammar.py`: every English word with its French forms."""

from __future__ import annotations

from dataclasses import dataclass

# English singular, plural; French singular, plural; gender; kind.
_NOUNS = """
man men homme hommes m person
woman women femme femmes f person
boy boys garçon garçons m person
girl girls fille filles f person
child children enfant enfants m person
king kings roi rois m person
queen queens reine reines f person
uncle uncles oncle oncles m person
aunt aunts tante tantes f person
actress actresses actrice actrices f person
hero heroes héros héros m person
baker bakers boulanger boulangers m person
sister sisters sœur sœurs f person
cat cats chat chats m animal
dog dogs chien chiens m animal
horse horses cheval chevaux m animal
cow cows vache vaches f animal
bird birds oiseau oiseaux m animal
owl owls hibou hiboux m animal
bee bees abeille abeilles f animal
mouse mice souris souris f animal
apple apples pomme pommes f food
egg eggs œuf œufs m food
cake cakes gâteau gâteaux m food
soup soups soupe soupes f food
book books livre livres m text
letter letters lettre lettres f text
newspaper newspapers journal journaux m text
story stories histoire histoires f text
flower flowers fleur fleurs f thing
car cars voiture voitures f thing
boat boats bateau bateaux m thing
picture pictures image images f thing
key keys clé clés f thing
hat hats chapeau chapeaux m thing
umbrella umbrellas parapluie parapluies m thing
chair chairs chaise chaises f thing
house houses maison maisons f place
garden gardens jardin jardins m place
school schools école écoles f place
church churches église églises f place
hotel hotels hôtel hôtels m place
forest forests forêt forêts f place
castle castles château châteaux m place
tree trees arbre arbres m mark
table tables table tables f mark
bridge bridges pont ponts m mark
"""

# English; French masculine and feminine singular, masculine and feminine plural; for those that
# stand before the noun, the masculine form before a vowel; what they can be said of.
_BEFORE = """
small petit petite petits petites petit all
big grand grande grands grandes grand all
pretty joli jolie jolis jolies joli all
bad mauvais mauvaise mauvais mauvaises mauvais all
huge énorme énorme énormes énormes énorme all
old vieux vieille vieux vieilles vieil all
beautiful beau belle beaux belles bel all
new nouveau nouvelle nouveaux nouvelles nouvel all
young jeune jeune jeunes jeunes jeune living
"""
_AFTER = """
black noir noire noirs noires impersonal
white blanc blanche blancs blanches impersonal
red rouge rouge rouges rouges impersonal
green vert verte verts vertes impersonal
blue bleu bleue bleus bleues impersonal
grey gris grise gris grises impersonal
strange étrange étrange étranges étranges all
heavy lourd lourde lourds lourdes all
famous célèbre célèbre célèbres célèbres all
Spanish espagnol espagnole espagnols espagnoles all
French français française français françaises all
happy heureux heureuse heureux heureuses living
sad triste triste tristes tristes living
curious curieux curieuse curieux curieuses living
"""

# English base and third person (_ is a space); French je, il, nous, ils; kinds of its object.
_VERBS = """
sleep sleeps dors dort dormons dorment -
sing sings chante chante chantons chantent -
run runs cours court courons courent -
work works travaille travaille travaillons travaillent -
dance dances danse danse dansons dansent -
swim swims nage nage nageons nagent -
laugh laughs ris rit rions rient -
arrive arrives arrive arrive arrivons arrivent -
see sees vois voit voyons voient person,animal,food,text,thing,place,mark
love loves aime aime aimons aiment person,animal,food,text,thing,place
look_for looks_for cherche cherche cherchons cherchent person,animal,text,thing,place
watch watches regarde regarde regardons regardent person,animal,thing
draw draws dessine dessine dessinons dessinent person,animal,thing,place,mark
eat eats mange mange mangeons mangent food
buy buys achète achète achetons achètent food,text,thing
read reads lis lit lisons lisent text
listen_to listens_to écoute écoute écoutons écoutent person,animal
wait_for waits_for attends attend attendons attendent person,animal
hear hears entends entend entendons entendent person,animal
carry carries porte porte portons portent food,text,thing
lose loses perds perd perdons perdent text,thing
follow follows suis suit suivons suivent person,animal
"""
BE = (("am", "is", "are", "are"), ("suis", "est", "sommes", "sont"))

LIVING = ("person", "animal")
ALL = (*LIVING, "food", "text", "thing", "place", "mark")
_SAID_OF = {"all": ALL, "living": LIVING, "impersonal": ALL[1:]}

# French masculine and feminine, and both before a vowel (the elision of le and la comes later).
SINGULAR = {
    "the": ("le", "la", "le", "la"),
    "a": ("un", "une", "un", "une"),
    "this": ("ce", "cette", "cet", "cette"),
    "my": ("mon", "ma", "mon", "mon"),
    "his": ("son", "sa", "son", "son"),
    "her": ("son", "sa", "son", "son"),
    "our": ("notre",) * 4,
    "their": ("leur",) * 4,
}
PLURAL = {
    "the": "les",
    "some": "des",
    "these": "ces",
    "two": "deux",
    "many": "beaucoup de",
    "my": "mes",
    "his": "ses",
    "her": "ses",
    "our": "nos",
    "their": "leurs",
}
PREPOSITIONS = (
    ("in", "dans", ("place",)),
    ("near", "près de", ("place", "mark", "person")),
    ("behind", "derrière", ("place", "mark", "person", "animal")),
    ("under", "sous", ("mark",)),
    ("with", "avec", ("person", "animal")),
)
TIMES = (("today", "aujourd'hui"), ("at night", "la nuit"), ("in winter", "en hiver"))
FREQUENCIES = (("often", "souvent"), ("always", "toujours"))
OBJECT_PRONOUNS = (("him", "le"), ("her", "la"), ("them", "les"), ("me", "me"), ("us", "nous"))

_ASPIRATED = {"hibou", "hiboux", "héros"}  # no elision, no liaison: le hibou
ELIDED = {"le", "la", "de", "ne", "je", "me", "que"}
CONTRACTED = {("de", "le"): "du", ("de", "les"): "des"}


@dataclass(frozen=True)
class Noun:
    """English and French forms, singular and plural each."""

    english: tuple[str, str]
    french: tuple[str, str]
    feminine: bool
    kind: str


@dataclass(frozen=True)
class Adjective:
    """French masculine and feminine, then both in the plural; `liaison` before a vowel."""

    english: str
    french: tuple[str, ...]
    liaison: str
    said_of: tuple[str, ...]

    def agreeing(self, *, feminine: bool, plural: bool) -> str:
        """The form that a noun asks for."""
        return self.french[2 * plural + feminine]


@dataclass(frozen=True)
class Verb:
    """English base and third person; French je, il, nous, ils; the kinds of its object."""

    english: tuple[str, str]
    french: tuple[str, ...]
    objects: tuple[str, ...]


def _rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().splitlines()]


def _verb(row: list[str]) -> Verb:
    base, third = (word.replace("_", " ") for word in row[:2])
    return Verb((base, third), tuple(row[2:6]), tuple(row[6].split(",")) if row[6] != "-" else ())


NOUNS = [Noun((r[0], r[1]), (r[2], r[3]), r[4] == "f", r[5]) for r in _rows(_NOUNS)]
BEFORE = [Adjective(r[0], tuple(r[1:5]), r[5], _SAID_OF[r[6]]) for r in _rows(_BEFORE)]
AFTER = [Adjective(r[0], tuple(r[1:5]), "", _SAID_OF[r[5]]) for r in _rows(_AFTER)]
VERBS = [_verb(row) for row in _rows(_VERBS)]


def begins_with_vowel(word: str) -> bool:
    """Whether a French word asks for elision and liaison."""
    return word[0] in "aeiouhéèêâîôœ" and word not in _ASPIRATED
