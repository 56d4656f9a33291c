"""How each database is written into a file, and read back from one, by its own programs."""

import gzip
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryFile
from typing import Any

from django.db import connection, connections

from core.database import let_go_of_sqlite


class BackupFailure(Exception):
    """Why a backup cannot be made or restored, in words for operators."""


def find_program(*names: str) -> str:
    """Return the path of the first of these programs that is installed. Raises BackupFailure."""
    for name in names:
        if path := shutil.which(name):
            return path
    raise BackupFailure(f"{names[0]} is not installed. 没有安装 {names[0]}。")


def run(command: list[str], environment: Mapping[str, str] | None, **streams: Any) -> None:
    """Run a program to its end. Raises BackupFailure with what it said."""
    done = subprocess.run(  # noqa: S603
        command,
        env=os.environ | dict(environment or {}),
        stderr=PIPE,
        check=False,
        **streams,
    )
    check_end(command[0], done.returncode, done.stderr)


def check_end(program: str, status: int, said: bytes) -> None:
    if status:
        words = said.decode(errors="replace").strip()
        raise BackupFailure(f"{Path(program).name}: {words[-1000:]}")


class PostgreSQLDump:
    """`pg_dump -Fc`: compressed, of one moment, while others write."""

    file = "database.pgdump"

    def __init__(self) -> None:
        command, self.environment = connection.client.settings_to_cmd_args_env(
            connection.settings_dict, []
        )
        self.address, self.name = command[1:-1], command[-1]
        if wanted := connection.settings_dict["OPTIONS"].get("target_session_attrs"):
            environment = dict(self.environment or {})  # of several hosts, the same as for us
            self.environment = environment | {"PGTARGETSESSIONATTRS": wanted}

    def write(self, path: Path) -> None:
        options = ["--format=custom", "--no-owner", "--no-acl", f"--file={path}"]
        run([find_program("pg_dump"), *self.address, *options, self.name], self.environment)

    def verify(self, path: Path) -> None:
        """Read all of it back. Raises BackupFailure."""
        run([find_program("pg_restore"), f"--file={os.devnull}", str(path)], None)

    def load(self, path: Path) -> None:
        options = ["--no-owner", "--no-acl", "--exit-on-error", "--single-transaction"]
        program = find_program("pg_restore")
        where = ["-d", self.name]
        run([program, *self.address, *options, *where, str(path)], self.environment)

    def clear(self) -> None:
        quoted = [
            connection.ops.quote_name(each) for each in connection.introspection.table_names()
        ]
        with connection.cursor() as cursor:
            if quoted:
                cursor.execute(f"DROP TABLE {', '.join(quoted)} CASCADE")

    def others(self) -> int:
        """Return how many others are connected."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            return int(cursor.fetchone()[0])


class MySQLDump:
    """`mariadb-dump` or `mysqldump` in one transaction: of one moment, while others write."""

    file = "database.sql.gz"
    END = b"-- Dump completed"

    def __init__(self) -> None:
        command, self.environment = connection.client.settings_to_cmd_args_env(
            connection.settings_dict, []
        )
        self.address = command[1:]

    def write(self, path: Path) -> None:
        options = ["--single-transaction", "--quick", "--no-tablespaces", "--hex-blob"]
        program = self.program("mariadb-dump", "mysqldump")
        with gzip.open(path, "wb") as file, self.running(program, *options, stdout=PIPE) as dump:
            shutil.copyfileobj(dump.stdout, file)

    def verify(self, path: Path) -> None:
        """Read all of it back, to its last line. Raises BackupFailure."""
        last = b""
        with gzip.open(path, "rb") as file:
            while piece := file.read(1 << 20):
                last = last[-200:] + piece
        if self.END not in last[-400:]:
            raise BackupFailure("The dump has no end. 导出文件不完整。")

    def load(self, path: Path) -> None:
        program = self.program("mariadb", "mysql")
        # Where it ends before it has read all, it says why.
        with (
            gzip.open(path, "rb") as file,
            self.running(program, stdin=PIPE) as client,
            suppress(BrokenPipeError),
            client.stdin,
        ):
            shutil.copyfileobj(file, client.stdin)

    def program(self, mariadb: str, mysql: str) -> str:
        is_mariadb = getattr(connection, "mysql_is_mariadb", False)
        return find_program(*((mariadb, mysql) if is_mariadb else (mysql, mariadb)))

    @contextmanager
    def running(self, *command: str, **streams: Any) -> Iterator[Any]:
        """Run a program for as long as the block does. Raises BackupFailure with what it said."""
        environment = os.environ | dict(self.environment or {})
        with TemporaryFile() as errors:
            with subprocess.Popen(  # noqa: S603
                [*command, *self.address], env=environment, stderr=errors, **streams
            ) as process:
                yield process
            errors.seek(0)
            check_end(command[0], process.returncode, errors.read())

    def clear(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
            for table in connection.introspection.table_names(cursor):
                cursor.execute(f"DROP TABLE {connection.ops.quote_name(table)}")
            cursor.execute("SET FOREIGN_KEY_CHECKS = 1")

    def others(self) -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM information_schema.processlist"
                " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
            return int(cursor.fetchone()[0])


class SQLiteDump:
    """SQLite's own online copy: of one moment, while others write."""

    file = "database.sqlite3"

    def __init__(self) -> None:
        self.path = Path(connection.settings_dict["NAME"])

    def write(self, path: Path) -> None:
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, and none beside it

    def verify(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as copy:
            [[said]] = copy.execute("PRAGMA integrity_check(1)").fetchall()
        if said != "ok":
            raise BackupFailure(f"SQLite: {said}")

    def load(self, path: Path) -> None:
        """Put the copy in the database's place, at once."""
        new = self.path.with_name(f"{self.path.name}.restored")
        shutil.copyfile(path, new)
        new.chmod(0o600)
        self.clear()
        new.replace(self.path)

    def clear(self) -> None:
        connections.close_all()
        let_go_of_sqlite()
        for beside in ("", "-wal", "-shm"):
            Path(f"{self.path}{beside}").unlink(missing_ok=True)

    def others(self) -> int:
        """Return 1 where another process has the file open, else 0."""
        connections.close_all()
        let_go_of_sqlite()
        return int(is_open_elsewhere(self.path))


def is_open_elsewhere(path: Path) -> bool:
    """Return whether another process has an SQLite file open: it cannot leave WAL then."""
    with closing(sqlite3.connect(path, timeout=0)) as alone:
        try:
            alone.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError:
            return True
        except sqlite3.DatabaseError:  # no database at all: it can be replaced
            return False
    return False


Dump = PostgreSQLDump | MySQLDump | SQLiteDump
DUMPS: dict[str, type[Dump]] = {
    "postgresql": PostgreSQLDump,
    "mysql": MySQLDump,
    "sqlite": SQLiteDump,
}


def dump_of_database() -> Dump:
    return DUMPS[connection.vendor]()
