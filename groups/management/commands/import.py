# noqa: N999 - the command is called `import`
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, time
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext, ngettext, pgettext

from audit.actors import Actor
from core.progress import ProgressBar, print_table
from groups.periods import CALENDAR
from groups.transfer import leancloud
from groups.transfer.command import TransferCommand
from groups.transfer.pieces import REFUSED, Result, forget, import_file, refused_path, try_file
from groups.transfer.rows import (
    KINDS,
    Refused,
    Source,
    UnreadableFile,
    moment,
    names_of_files,
    source_of,
)
from groups.transfer.writers import Import, RowOutcome

SHOWN = 10  # refused rows that a dry run shows
LEANCLOUD = "leancloud"


class Command(TransferCommand):
    help = (
        "Imports people, groups, boards, memberships and scores from CSV or JSON lines; run again, "
        "it goes on where it was ended. docs/migrating.md has the columns. "
        "从 CSV 或 JSON Lines 导入成员、群、榜单、群成员与成绩；中断后再次运行即可继续。"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "files",
            nargs="+",
            metavar="FILE",
            help="files, folders that `export` has written, or: leancloud FOLDER 文件或文件夹",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="say what would be done, and write nothing 试运行",
        )
        parser.add_argument("--kind", choices=KINDS, help="what the rows are 数据种类")
        parser.add_argument(
            "--as-of",
            metavar="DATE",
            help="the date of the data; else that of each file's last change 数据日期",
        )
        parser.add_argument(
            "--on-conflict",
            choices=["keep", "replace"],
            default="keep",
            help="a score that is there already 已有成绩：保留或替换",
        )
        parser.add_argument(
            "--names-reviewed",
            action="store_true",
            help="show names at once: they have been reviewed elsewhere 昵称已审核，直接展示",
        )

    def move(self, app_id: str, **options: Any) -> None:
        what = Import(
            app_id,
            as_of=_date(options["as_of"]),
            conflicts=options["on_conflict"],
            reviewed=options["names_reviewed"],
            dry=options["dry_run"],
        )
        sources = self.sources(app_id, options["files"], options["kind"])
        results = [self.move_file(source, what) for source in sources]
        forget(results)
        if not what.dry:
            for each in results:
                facts: dict[str, Any] = {"kind": each.source.kind.name, **each.counts}
                Actor(None).record("import", "transfer", app_id=app_id, **facts)
        self.report(results, what)

    def sources(self, app_id: str, files: list[str], kind: str | None) -> list[Source]:
        """Look all files over before anything is written; sort them so that each can name what the
        ones before have made.
        """
        found = []
        if files[0] == LEANCLOUD:
            for folder in map(Path, files[1:]):
                with _naming(folder):
                    found += leancloud.sources(folder, app_id)
        else:
            for path in (each for file in files for each in _expanded(Path(file))):
                with _naming(path):
                    found.append(source_of(path, kind))
        if not found:
            raise CommandError(gettext("There is no file to import."))
        return sorted(found, key=lambda source: list(KINDS).index(source.kind.name))

    def move_file(self, source: Source, what: Import) -> Result:
        progress = ProgressBar(self.stdout, source.path.name)
        with _naming(source.path):
            result = (try_file if what.dry else import_file)(source, what, progress)
        progress.end()
        return result

    def report(self, results: list[Result], what: Import) -> None:
        if what.dry:
            self.stdout.write(gettext("Dry run: nothing is written."))
        for result in results:
            for line, reason in result.refused[:SHOWN]:
                where = {"file": result.source.path.name, "line": line}
                place = gettext("%(file)s, line %(line)d:") % where
                self.stdout.write(f"{place} {reason}")
        titles = {
            RowOutcome.MADE.value: pgettext("rows", "made"),
            RowOutcome.CHANGED.value: pgettext("rows", "changed"),
            RowOutcome.UNCHANGED.value: pgettext("rows", "unchanged"),
            RowOutcome.KEPT.value: pgettext("rows", "kept as they were"),
            REFUSED: pgettext("rows", "refused"),
        }
        print_table(
            self.stdout,
            [gettext("file"), gettext("kind"), *titles.values()],
            [
                [
                    each.source.path.name,
                    each.source.kind.title,
                    *(each.counts[name] for name in titles),
                ]
                for each in results
            ],
        )
        sentence = gettext("Files with openids are personal data: delete them after use.")
        self.stderr.write(self.style.WARNING(sentence), lambda text: text)
        refused = {each.source.path: each.counts[REFUSED] for each in results}
        if count := sum(refused.values()):
            files = [str(refused_path(path)) for path, rows in refused.items() if rows]
            sentence = ngettext(
                "%(count)d row was refused.", "%(count)d rows were refused.", count
            ) % {"count": count}
            raise CommandError(sentence if what.dry else f"{sentence} {', '.join(files)}")


def _expanded(path: Path) -> list[Path]:
    """Return the files of a folder that `export` has written; of a file, itself."""
    if not path.is_dir():
        return [path]
    return [path / name for name in names_of_files() if (path / name).exists()]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file into the command's error."""
    try:
        yield
    except (UnreadableFile, OSError) as error:
        raise CommandError(f"{path}: {error}") from error


def _date(text: str | None) -> datetime | None:
    """Read a moment, or a day, which counts to its end. Raises CommandError; none is to come."""
    if text is None:
        return None
    now = timezone.now()
    try:
        day = parse_date(text)
        read = datetime.combine(day, time.max, CALENDAR) if day else moment(text)
    except (Refused, ValueError):
        sentence = gettext("--as-of: not a date, such as 2026-11-22.")
        raise CommandError(sentence) from None
    if day and timezone.localdate(now, CALENDAR) == day:
        return now
    if read > now:
        raise CommandError(gettext("--as-of: not a date to come."))
    return read
