"""The documentation as Markdown, and /llms.txt, which lists it: for agents and people in a hurry.

The format of the list is that of llmstxt.org.

The files are the one source: a new one is listed by itself, under its heading, with its first
sentence. An installed server without them lists the API alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import conditional_page, require_safe

from core.serializers import absolute

SUMMARY = (
    "Groups in WeChat mini-programs: recognise the chat group that a card was opened from, and "
    "show the ranking of its members. 识别微信群并展示群排行的后端与客户端套件。"
)
SECTIONS = {
    "Start here": ("README.md", "README.zh-CN.md"),
    "Documentation": ("docs/*.md",),
    "Skill": ("miniprogram/skills/wechat-group-ranking/**/*.md",),
}
MAX_AGE = 3600  # seconds

FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
NO_TEXT = re.compile(r"```.*?```|<!--.*?-->", re.DOTALL)
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
NO_PROSE = re.compile(r"[#>|<!*+-](?!\*)|\d+\. |\[[^\]]*\]\([^)]*\)$")  # beside a link alone
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
SENTENCE = re.compile(r".+?(?:[.!?](?= |$)|[。！？]|$)")  # Chinese punctuation


@dataclass(frozen=True)
class Document:
    """A file of the documentation; `name` is its path in the repository, and at the site."""

    name: str
    text: str

    @property
    def title(self) -> str:
        found = TITLE.search(self._body)
        return found[1] if found else self.name

    @property
    def description(self) -> str:
        """Return the first sentence of the first paragraph; "" without one."""
        after = TITLE.split(self._body, maxsplit=1)[-1]
        for paragraph in re.split(r"\n\s*\n", after):
            line = " ".join(paragraph.split())
            if line and not NO_PROSE.match(line):
                found = SENTENCE.match(LINK.sub(r"\1", line).replace("**", ""))
                return found[0] if found else ""
        return ""

    @property
    def _body(self) -> str:
        return NO_TEXT.sub("", FRONT_MATTER.sub("", self.text))


def documents(*patterns: str) -> Iterator[tuple[str, Path]]:
    """Yield the name and path of every file that is served, or of those of some patterns."""
    root = Path(settings.BASE_DIR)
    for pattern in patterns or [each for section in SECTIONS.values() for each in section]:
        for path in sorted(root.glob(pattern)):
            if path.is_file():
                yield path.relative_to(root).as_posix(), path


def _text(text: str, kind: str) -> HttpResponse:
    answer = HttpResponse(text, content_type=f"text/{kind}; charset=utf-8")
    answer.headers["X-Robots-Tag"] = "noindex"
    return answer


@csrf_exempt
@require_safe
@cache_control(public=True, max_age=MAX_AGE)
@conditional_page
def llms_txt(request: HttpRequest) -> HttpResponse:
    """List the documentation, each file with its title and first sentence."""
    lines = ["# groupsite", "", f"> {SUMMARY}", ""]
    for section, patterns in SECTIONS.items():
        found = [Document(name, path.read_text("utf-8")) for name, path in documents(*patterns)]
        if found:
            lines += [f"## {section}", "", *(_line(request, each) for each in found), ""]
    lines += ["## API", ""]
    schema, pages = (absolute(request, reverse(name)) for name in ("schema", "docs"))
    lines += [f"- [OpenAPI]({schema}): every call, generated from the code."]
    lines += [f"- [API documentation]({pages}): the same for people, with examples.", ""]
    return _text("\n".join(lines), "plain")


def _line(request: HttpRequest, document: Document) -> str:
    address = absolute(request, f"/{document.name}")
    described = f": {document.description}" if document.description else ""
    return f"- [{document.title}]({address}){described}"


@csrf_exempt
@require_safe
@cache_control(public=True, max_age=MAX_AGE)
@conditional_page
def markdown(request: HttpRequest, name: str) -> HttpResponse:
    """Send a file of the documentation: one that is listed, and no other."""
    path = dict(documents()).get(f"{name}.md")
    if path is None:
        raise Http404
    return _text(path.read_text("utf-8"), "markdown")
