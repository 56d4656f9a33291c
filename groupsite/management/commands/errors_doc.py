"""`manage.py errors_doc`: docs/errors.md, in Chinese and in English, from the code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from groupsite.errors import CATALOGUE

MADE_BY = "<!-- `make docs` writes this file; the words are those of groupsite/errors.py. -->"
SHAPE = '{"code": "…", "detail": "…", "requestId": "…"}'


class Command(BaseCommand):
    help = "Writes docs/errors.md from the code."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="only say whether it is up to date"
        )

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        file = Path(settings.BASE_DIR) / "docs" / "errors.md"
        if not check:
            file.write_text(document())
        elif not file.exists() or file.read_text() != document():
            raise CommandError("docs/errors.md is not what the code says: make docs")


def document() -> str:
    """Return the whole file: Chinese first, then English."""
    return "\n".join([MADE_BY, *chapter("zh-hans"), *chapter("en")])


def chapter(language: str) -> Iterator[str]:
    with translation.override(language):
        yield "\n# " + _("Errors") + "\n"
        yield _("Every error below `/api/` has this shape, whatever went wrong:")
        yield f"\n```json\n{SHAPE}\n```\n"
        yield _(
            "Branch on `code`, show `detail` (a sentence in the request's language), and quote "
            "`requestId` to the operators. Some codes carry one key more: `fields` says what is "
            "wrong with which key, `retryAfter` how many seconds to wait, as the header "
            "`Retry-After` does."
        )
        yield ""
        yield row(
            _("status"),
            "code",
            pgettext("of an error", "when"),
            _("the client should"),
            _("carries"),
        )
        yield row(*["---"] * 5)
        for each in CATALOGUE:
            yield row(each.status, f"`{each.code}`", each.when, each.todo, code(each.carries))
        yield ""


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def code(text: str) -> str:
    return f"`{text}`" if text else ""
