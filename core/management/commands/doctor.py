"""`manage.py doctor`: looks at what `check` cannot, and says what fixes each finding."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import translation

from core.doctor import Finding, Health, examine_all


class Command(BaseCommand):
    help = (
        "Looks at the settings, the database, the storage, WeChat and what else the site needs; a "
        "line each, and what fixes each finding. 逐项检查运行环境，并给出修复办法。"
    )
    # The settings are one of the examinations.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
        languages = [code for code, _name in settings.LANGUAGES]
        parser.add_argument("--language", choices=languages, default=settings.LANGUAGE_CODE)

    def handle(self, *args: Any, language: str, **options: Any) -> None:
        is_well = True
        with translation.override(language), _quiet_log():
            for name, finding in examine_all():
                is_well &= finding.state != Health.ERROR
                write = _as_json if options["json"] else self._line
                self.stdout.write(write(name, finding))
                self.stdout.flush()
        if not is_well:
            sys.exit(1)

    def _line(self, name: str, finding: Finding) -> str:
        style = {Health.OK: self.style.SUCCESS, Health.WARNING: self.style.WARNING}
        state = style.get(finding.state, self.style.ERROR)(f"{finding.state:7}")
        fix = f"\n        → {finding.fix}" if finding.fix else ""
        return f"{state} {name}: {finding.saw}{fix}"


def _as_json(name: str, finding: Finding) -> str:
    line = {"name": name, "state": finding.state, "saw": str(finding.saw), "fix": str(finding.fix)}
    return json.dumps(line, ensure_ascii=False)


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Log nothing of what is tried: the findings say it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
