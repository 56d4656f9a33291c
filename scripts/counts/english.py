"""Count words of the dialect, and docstrings that begin with a verb.

Words are counted in every text that git tracks, also within names: `told_age`, `toldAge`, `TOLD`.
Translations, locked requirements, vectors and recorded data, the licence, and the two places that
have to contain the words (this folder and its test) are left out.

Docstrings are those of functions and methods, including tests; those of modules and classes may
begin with a noun. A docstring begins with a verb if its first word is in verbs.txt, in the
imperative ("Return", not "Returns") and not before "of" ("Record of a change"). Add missing verbs
to verbs.txt.
"""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

from .files import Habit, TrackedFile, share

WORDS = "whoever|whom(?:ever)?|told|(?:some|no|every)body|mend(?:ed|ing)?|lest"
DIALECT = re.compile(
    rf"(?<![a-z])(?:(?:{WORDS})s?|for[\s#*/_-]+good)(?![a-z])",
    re.IGNORECASE,
)
NOT_OURS = [
    *("*.po", "*.mo", "requirements*.txt", "*package-lock.json", "tests/*.json", "tests/*.jsonl"),
    *("*LICENSE", "scripts/counts/*", "tests/test_counts.py"),
]
VERBS = frozenset((Path(__file__).parent / "verbs.txt").read_text().split())


def count_words(files: list[TrackedFile]) -> Habit:
    offenders = []
    for file in files:
        if any(fnmatch(file.path, pattern) for pattern in NOT_OURS):
            continue
        text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", file.text)  # toldAge becomes told_Age
        for found in DIALECT.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            offenders.append(f"{file.path}:{line}: {' '.join(found[0].split())}")
    return Habit("words of the dialect", len(offenders), 20, offenders)


def begins_with_verb(docstring: str) -> bool:
    found = re.match(r"([A-Za-z]+)(?:$|[,.:;]|\s+(?!of\b))", docstring)
    return bool(found and found[1].lower() in VERBS)


def count_docstrings(files: list[TrackedFile]) -> Habit:
    total, offenders = 0, []
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                if docstring:
                    total += 1
                    if not begins_with_verb(docstring):
                        line = docstring.splitlines()[0]
                        offenders.append(f"{file.path}:{node.lineno}: {node.name}: {line}")
    value = 100 - share(len(offenders), total)
    return Habit("docstrings that begin with a verb", value, 60, offenders, True, " %")
