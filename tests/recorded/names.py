"""Replace values that differ from run to run by placeholders, and lay out the record."""

import json
import re
from bisect import insort
from collections import Counter
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

SHORTEST = 8  # values from this length on are replaced inside texts too
WIDTH = 100

# The kind of value under each key of an answer, where it differs from run to run.
RANDOM = {"token": "token", "ticket": "ticket", "traceId": "trace", "next": "cursor"}
IN_TEXTS = {
    "drawn": re.compile(r"/avatars/(?:96/)?([\w-]{32})\.webp"),
    "picture": re.compile(r"/media/avatars/([\w-]{22})-\d+\.webp"),
    "link": re.compile(r"/g/([^/\s]+)/"),
    "cursor": re.compile(r"[?&]cursor=([^&\s)]+)"),
}
SIGNED_QUERY = re.compile(r"\b(timestamp|nonce|signature|msg_signature)=[^&]*")


class Names:
    """Map each value to a placeholder, the same one throughout a chapter."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._long: list[str] = []
        self._people: dict[str, str] = {}  # by id; small numbers, so only replaced under `id`
        self._counts: Counter[str] = Counter()

    def call(self, value: str, name: str) -> None:
        if value not in self._known:
            self._known[value] = f"<{name}>"
            if len(value) >= SHORTEST:
                # The longest first: one may be part of another.
                insort(self._long, value, key=lambda known: -len(known))

    def call_person(self, pk: str, name: str) -> None:
        self._people.setdefault(pk, f"<{name}>")

    def number(self, value: str, kind: str) -> str:
        """Return the placeholder of a value; for a new value `<kind 1>` and so on."""
        if value not in self._known:
            self._counts[kind] += 1
            self.call(value, f"{kind} {self._counts[kind]}")
        return self._known[value]

    def in_text(self, text: str) -> str:
        if text in self._known or len(text) < SHORTEST:
            return self._known.get(text, text)
        for kind, pattern in IN_TEXTS.items():
            for found in pattern.findall(text):
                if len(found) >= SHORTEST and not any(known in found for known in self._long):
                    self.number(found, kind)
        for value in self._long:
            if value in text:
                text = text.replace(value, self._known[value])
        return SIGNED_QUERY.sub(r"\1=<\1>", text)

    def in_json(self, value: Any, key: str = "", parent: str = "") -> Any:
        match value:
            case dict():
                return {
                    self.in_text(name): self.in_json(inner, name, key)
                    for name, inner in value.items()
                }
            case list():
                return [self.in_json(inner, key, parent) for inner in value]
            case str() if key == "requestId" and not value.startswith("<"):
                return "<a request id>"
            case str() if key == "id":
                # The id of a member, or of a winner, which ends with the member's id.
                return ":".join(self._id(part) for part in value.split(":"))
            case str() if key == "member" and value in self._people:
                return self._people[value]
            case str() if key in RANDOM and parent != "period" and value not in self._known:
                return value if len(value) < SHORTEST else self.number(value, RANDOM[key])
            case str():
                return self.in_text(value)
        return value

    def _id(self, text: str) -> str:
        if not text.isdigit():
            return self.in_text(text)
        return self._people.setdefault(text, f"<person {len(self._people) + 1}>")


def differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what differs in `other`, by path: `("body.board.title", "Steps")`."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            inner = f"{path}.{key}" if path else key
            yield from differences(one.get(key, "<none>"), other.get(key, "<none>"), inner)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{path}.{place}")
    elif one != other:
        yield path, other


def laid_out(value: Any, indent: int = 0) -> str:
    """Return JSON that is readable in a diff: what fits on one line is on one line."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) + indent <= WIDTH or not isinstance(value, dict | list) or not value:
        return text
    step = " " * (indent + 1)
    if isinstance(value, dict):
        parts = [
            f"{step}{json.dumps(key, ensure_ascii=False)}: {laid_out(inner, indent + 1)}"
            for key, inner in value.items()
        ]
        return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"
    parts = [step + laid_out(inner, indent + 1) for inner in value]
    return "[\n" + ",\n".join(parts) + "\n" + " " * indent + "]"


class _TextParser(HTMLParser):
    """Collect the visible texts of a page, line by line, with the targets of links and images."""

    LINES = re.compile("title|p|h[1-6]|li|[ou]l|nav|main|div|section|body|head|a|img")

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._line: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values: Mapping[str, str | None] = dict(attrs)
        if self.LINES.fullmatch(tag):
            self.end_line()
        if tag == "html":
            self.lines.append(f"language {values.get('lang')}")
        if tag == "img":
            self._line.append(f"[{values.get('src')}]")
        if tag == "a":
            here = " here" if values.get("aria-current") else ""
            self._line.append(f"({values.get('href')}{here})")

    def handle_endtag(self, tag: str) -> None:
        if self.LINES.fullmatch(tag):
            self.end_line()

    def handle_data(self, data: str) -> None:
        self._line.append(data)

    def end_line(self) -> None:
        if line := " ".join(" ".join(self._line).split()):
            self.lines.append(line)
        self._line = []


def visible_texts(page: str) -> list[str]:
    """Return the visible texts of an HTML page."""
    parser = _TextParser()
    parser.feed(page)
    parser.close()
    parser.end_line()
    return parser.lines
