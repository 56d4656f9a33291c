"""What an SQL statement asks of tables: which of them it reads, and by which keys.

It understands what Django and this project write, and counts only what surely narrows a table: an
equality below AND. A statement that it cannot read has unbound tables, so no test passes by it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TOKEN = re.compile(
    r"'(?:[^']|'')*'(?:::\w+(?:\[\])?)?"  # a text
    r"|%\(\w+\)s(?:::\w+(?:\[\])?)?|%s(?:::\w+(?:\[\])?)?"  # a parameter
    r"|[\w.]+|<>|<=|>=|!=|::|\S"
)
CLAUSES = {
    "FROM",
    "WHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "FOR",
    "SET",
    "RETURNING",
    "WINDOW",
}
JOINS = {"JOIN", "INNER", "LEFT", "RIGHT", "OUTER", "CROSS", "LATERAL", ",", "ON", "AS"}
VALUE = re.compile(r"%s|%\(\w+\)s|'|-?\d+$")
COLUMN = re.compile(r"[A-Za-z_]\w*(?:\.\w+)?$")

Node = Any  # a token, or a list of nodes: what stands in parentheses


def tree(sql: str) -> list[Node]:
    """Return the tokens of a statement, those in parentheses as lists of their own."""
    stack: list[list[Node]] = [[]]
    for token in TOKEN.findall(re.sub(r'["`]', "", sql)):
        if token == "(":
            stack.append([])
        elif token == ")":
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(token.upper() if token.upper() in WORDS else token)
    return stack[0]


WORDS = CLAUSES | JOINS | {"SELECT", "UPDATE", "DELETE", "AND", "OR", "NOT", "IN", "ANY", "UNION"}
WORDS |= {"ALL", "BY", "IS", "NULL", "EXISTS", "INSERT", "INTO", "VALUES"}


@dataclass(eq=False)
class Place:
    """A table where a statement names it, and the columns that it fixes there."""

    table: str
    alias: str
    fixed: dict[str, list["Place | None"]] = field(default_factory=dict)
    """By column what it equals: a place, or None for a value."""


@dataclass(eq=False)
class Scope:
    """One SELECT, UPDATE or DELETE with the tables that it names, within another or alone."""

    outer: "Scope | None" = None
    places: dict[str, Place] = field(default_factory=dict)

    def find(self, column: str) -> tuple[Place, str] | None:
        """Return the place and the name of a column, as this scope sees it."""
        alias, dot, name = column.rpartition(".")
        scope: Scope | None = self
        while scope is not None:
            if dot and alias in scope.places:
                return scope.places[alias], name
            if not dot and len(scope.places) == 1:
                return next(iter(scope.places.values())), name
            scope = scope.outer
        return None


def places(sql: str) -> list[Place]:
    """Return every table that a statement reads or changes, as often as it names it."""
    found: list[Place] = []
    nodes = tree(sql)
    if nodes and nodes[0] != "INSERT":
        _read(nodes, None, found)
    return found


def _read(nodes: list[Node], outer: Scope | None, found: list[Place]) -> None:
    parts: list[list[Node]] = [[]]
    for node in nodes:
        if node == "UNION":
            parts.append([])
        else:
            parts[-1].append(node)
    for part in parts:
        scope = Scope(outer)
        clauses = _clauses(part)
        tables = clauses.get("FROM", []) or clauses.get("UPDATE", [])
        conditions = [clauses.get("WHERE", []), *_tables(tables, scope)]
        found += scope.places.values()
        for condition in conditions:
            for column, other in _equalities(condition):
                _fix(scope, column, other)
        _read_within(part, scope, found)


def _clauses(nodes: list[Node]) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = {}
    name = ""
    for node in nodes:
        if isinstance(node, str) and node in CLAUSES | {"UPDATE"}:
            if name == "FOR":  # FOR UPDATE
                continue
            name = node
            found.setdefault(name, [])
        else:
            found.setdefault(name, []).append(node)
    return found


def _tables(nodes: list[Node], scope: Scope) -> Iterator[list[Node]]:
    """Enter the tables of a FROM into the scope; yield the conditions of its joins."""
    previous: str | None = None
    condition: list[Node] | None = None
    for node in nodes:
        if isinstance(node, list):
            if condition is not None:
                condition.append(node)
            elif not (node and node[0] == "SELECT"):
                yield from _tables(node, scope)
            previous = None
        elif node in JOINS:
            if condition is not None and node != "AS":
                yield condition
            condition = [] if node == "ON" else None
            previous = previous if node == "AS" else None
        elif condition is not None:
            condition.append(node)
        elif previous is None and COLUMN.match(node):
            scope.places[node] = Place(node, node)
            previous = node
        elif previous is not None:
            scope.places[node] = place = scope.places.pop(previous)
            place.alias = node
            previous = None
    if condition is not None:
        yield condition


def _equalities(nodes: Sequence[Node]) -> Iterator[tuple[str, Node]]:
    """Yield what surely holds: a column and what it equals, a list where it is one of these."""
    if "OR" in nodes:
        return
    terms: list[list[Node]] = [[]]
    for node in nodes:
        if node == "AND":
            terms.append([])
        else:
            lone = isinstance(node, list) and len(node) == 1 and isinstance(node[0], str)
            terms[-1].append(node[0] if lone and terms[-1][-1:] == ["="] else node)
    for term in terms:
        match term:
            case [list(inner)]:
                yield from _equalities(inner)
            case [str(left), "=", str(right)] if COLUMN.match(left) and COLUMN.match(right):
                yield left, right
                yield right, left
            case [str(left), "=", str(right)] if COLUMN.match(left) and VALUE.match(right):
                yield left, None
            case [str(left), "=", "ANY", list()] if COLUMN.match(left):
                yield left, None
            case [str(left), "IN", list(inner)] if COLUMN.match(left):
                if inner[:1] == ["SELECT"] or all(
                    node == "," or VALUE.match(node) for node in inner if isinstance(node, str)
                ):
                    yield left, None  # the SELECT is a scope of its own, and looked at there


def _fix(scope: Scope, column: str, other: Node) -> None:
    found = scope.find(column)
    if found is None:
        return
    place, name = found
    if other is None:
        place.fixed.setdefault(name, []).append(None)
    elif (equal := scope.find(other)) is not None and equal[0] is not place:
        place.fixed.setdefault(name, []).append(equal[0])


def _read_within(nodes: Sequence[Node], scope: Scope, found: list[Place]) -> None:
    for node in nodes:
        if isinstance(node, list):
            if node and node[0] == "SELECT":
                _read(node, scope, found)
            else:
                _read_within(node, scope, found)


def unbound(sql: str, keys: Mapping[str, Sequence[set[str]]]) -> list[str]:
    """Return the tables of `keys` that a statement does not narrow to one of their keys.

    A key is a set of columns, each of which has to equal a value, one of some values, or a column
    of a table that is narrowed itself.
    """
    found = [place for place in places(sql) if place.table in keys]
    bound: set[Place] = set()
    while True:
        more = {
            place
            for place in found
            if place not in bound and any(_holds(place, key, bound) for key in keys[place.table])
        }
        if not more:
            return [place.table for place in found if place not in bound]
        bound |= more


def _holds(place: Place, key: set[str], bound: set[Place]) -> bool:
    return all(
        any(each is None or each in bound for each in place.fixed.get(column, ())) for column in key
    )


def mentions(sql: str, table: str) -> int:
    """Return how often a statement reads or changes a table."""
    plain = re.sub(r'["`]', "", sql)
    return len(re.findall(rf"\b(?:FROM|JOIN|UPDATE|,)\s+\(*\s*{table}\b(?!\.)", plain))


def aliases_in(sql: str) -> dict[str, str]:
    """Return the tables of a statement by the names that it calls them."""
    return {place.alias: place.table for place in places(sql)}
