import os
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext

from audit.actors import Actor
from core.database import snapshot
from core.progress import ProgressBar, print_table
from groups.transfer.command import TransferCommand
from groups.transfer.export import Export, exports
from groups.transfer.rows import FORMATS, names_of_files, write_rows


class Command(TransferCommand):
    help = (
        "Writes people, groups, boards, memberships and scores into a folder, as `import` reads "
        "them. 将成员、群、榜单、群成员与成绩写入文件夹，可用 import 读回。"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="文件夹")
        parser.add_argument("--format", choices=FORMATS, default="csv", help="格式")

    def move(self, app_id: str, **options: Any) -> None:
        folder, form = options["folder"], options["format"]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with snapshot():
            found = [
                (export, folder / f"{export.kind.name}{FORMATS[form]}")
                for export in exports(app_id)
            ]
            there = [name for name in names_of_files() if (folder / name).exists()]
            if there:
                sentence = gettext("The folder has %(names)s already. Choose another.")
                raise CommandError(sentence % {"names": ", ".join(there)})
            for export, path in found:
                self.write(export, path, form)
        rows = {export.kind.name: export.count for export, _path in found}
        Actor(None).record("export", "transfer", app_id=app_id, format=form, **rows)
        table = [[path.name, export.kind.title, export.count] for export, path in found]
        print_table(self.stdout, [gettext("file"), gettext("kind"), gettext("rows")], table)
        sentence = gettext(
            "These files hold personal data: keep them where only you can read them, and "
            "delete them after use."
        )
        self.stderr.write(self.style.WARNING(sentence), lambda text: text)

    def write(self, export: Export, path: Path, form: str) -> None:
        """Write a file that only its owner may read; it has its name when it is complete."""
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        progress = ProgressBar(self.stdout, path.name)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            write_rows(
                file, form, export.kind.by_name, progress.counted(export.rows(), export.count)
            )
        progress.end()
        part.rename(path)
