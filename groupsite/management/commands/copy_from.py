from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.progress import ProgressBar
from groupsite.moving import MoveFailure, move


class Command(BaseCommand):
    help = (
        "Copies everything from an SQLite file into the database of DATABASE_URL, which has to be "
        "empty; docs/move-database.md leads through it. 把 SQLite 的全部数据复制到空数据库。"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", metavar="sqlite:////…/db.sqlite3", help="原数据库")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            counts = move(options["url"], self.shown)
        except MoveFailure as error:
            raise CommandError(str(error)) from error
        for table, count in counts.items():
            if count:
                self.stdout.write(f"{table}: {count:,}")
        self.stdout.write(f"{sum(counts.values()):,} rows copied 行已复制")

    def shown(self, table: str, rows: Iterable[Any], total: int) -> Iterator[Any]:
        progress = ProgressBar(self.stdout, table)
        yield from progress.counted(rows, total)
        progress.end()
