"""docs/upgrade.md: from 0.1.0 to this code and back, under load, on DATABASE_URL's database."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import pytest
from django.db import connection

from prove.kills import Load, Person, Slaughter, compare
from prove.servers import KillableSite, Visitor, wait_for
from tests.pages import blocks_of, run_block, stand_in
from tests.servers import ROOT, find_program, scratch_database
from tests.transfers import table

BACKUP, LOOK, MIGRATE, SWITCH, BACK = blocks_of("upgrade.md")
RELEASE = "Release 0.1.0"
SOME = 60  # acknowledged writes in each state of the site
READS = ("groups", "me", "me/data", "me/consent", "boards")
PROGRAMS = {"postgresql": "pg_dump", "mysql": "mariadb-dump", "sqlite": "tar"}


@pytest.fixture
def old_code(tmp_path: Path) -> Path:
    """Take the code of the release out of the history, where a tag may be lost."""
    search = ["git", "log", "--format=%H", f"--grep=^{RELEASE}$"]
    found = subprocess.run(search, cwd=ROOT, capture_output=True, text=True).stdout.split()
    if not found:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(f"this history has no commit {RELEASE}")
    folder = tmp_path / "opt" / "0.1.0"
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", found[-1]], cwd=ROOT, capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


@dataclass
class Readers:
    """Reads as people do, from all ports that serve; counts what is not answered with 200."""

    load: Load
    counts: Counter[str] = field(default_factory=Counter)
    stop: Event = field(default_factory=Event)

    def __enter__(self) -> "Readers":
        self.thread = Thread(target=self.read, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join(60)

    def read(self) -> None:
        while not self.stop.is_set():
            for person in list(self.load.met[-3:]):
                for port in list(self.load.ports):
                    with Visitor(port, person.token) as visitor:
                        self.ask(visitor, person)

    def ask(self, visitor: Visitor, person: Person) -> None:
        groups = [f"groups/{each}/ranking" for each in list(person.groups)[:1]]
        for path in (*READS, *groups):
            status, answer = visitor.ask("GET", f"/api/v1/{path}")
            kind = "ranking" if path.startswith("groups/") else path
            self.counts[f"{kind}: {status}"] += 1
            if status != 200:
                self.load.failures.append(f"GET {path}: {status} {answer}")


@dataclass
class Upgrade:
    """Two versions of a site, of which one or both serve, and what people send to them."""

    folder: Path
    old: KillableSite
    new: KillableSite
    load: Load

    def page(self, block: str) -> str:
        """Run a block of the page while the load goes on."""
        environment = {**self.new.environment, "NEW": str(ROOT), "OLD": str(self.old.code)}
        paths = {
            "/var/backups/groupsite": str(self.folder / "backups"),
            "/opt/groupsite": str(self.folder / "opt"),
        }
        done = run_block(block, self.folder, environment, paths)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def serves(self, *sites: KillableSite) -> None:
        """Let these versions serve, those that come next as well as those who are there."""
        before = self.load.acknowledged
        self.load.ports[:] = [port for site in sites for port in site.ports]
        met = len(self.load.met)
        # Who was there before sends on as before, so wait for others too.
        wait_for(
            lambda: (
                self.load.failures
                or (
                    self.load.acknowledged >= before + SOME
                    and len(self.load.met) >= met + len(self.load.threads)
                )
            ),
            "people are served",
            240,
        )
        assert self.load.failures == []

    @property
    def current(self) -> Path:
        return (self.folder / "opt" / "current").resolve()


@pytest.fixture
def upgrade(tmp_path: Path, old_code: Path) -> Iterator[Upgrade]:
    find_program(PROGRAMS[connection.vendor])
    stand_in(tmp_path, "systemctl", "")
    with scratch_database(tmp_path) as url:
        environment = {"LOG_LEVEL": "ERROR"}
        old = KillableSite(tmp_path / "site", url, 1, **environment)
        new = KillableSite(tmp_path / "site", url, 1, **environment)
        old.code = old_code
        with old:
            made = json.loads(old.python("-m", "prove.people", "1500"))
            people = [Person(str(row["id"]), row["token"]) for row in made]
            with ExitStack() as stack:
                stack.callback(lambda: hasattr(new, "stem") and new.end())
                load = stack.enter_context(Load(old.ports[:], iter(people), 60))
                yield Upgrade(tmp_path, old, new, load)


def test_old_and_new_code_serve_side_by_side(upgrade: Upgrade) -> None:
    old, new, load = upgrade.old, upgrade.new, upgrade.load
    with Readers(load) as readers:
        upgrade.serves(old)
        upgrade.page(BACKUP)
        assert "accounts.0003_erasures" in upgrade.page(LOOK)
        upgrade.page(MIGRATE)
        upgrade.serves(old)
        new.begin()
        upgrade.serves(old, new)
        upgrade.page(SWITCH)
        assert upgrade.current == ROOT
        upgrade.serves(new)
        known_to_new_code_alone(upgrade)
        upgrade.page(BACK)
        assert upgrade.current == old.code
        upgrade.serves(old, new)
        upgrade.serves(old)
    load.__exit__()
    assert {each.split()[-1] for each in load.counts} <= {"200", "201"}, load.counts
    assert {each.split()[-1] for each in readers.counts} == {"200"} and len(readers.counts) == 6
    found = Slaughter(connection.vendor)
    compare(load.met, json.loads(old.python("-m", "prove.people")), found)
    assert found.failures == load.failures == []
    assert "Traceback" not in old.log() + new.log()
    sys.stdout.write(f"{dict(load.counts)} {dict(readers.counts)} {dict(found.checked)}\n")


def known_to_new_code_alone(upgrade: Upgrade) -> None:
    """Let the new code write what 0.1.0 never has; let the old one show it, to its owner too."""
    folder = upgrade.folder
    person = next(each for each in upgrade.load.met if each.groups)
    openid = f"person-{int(person.id) - int(upgrade.load.met[0].id)}"
    group = "imported-group-0000000000000001"
    files = [
        table(folder / "people.csv", {"openid": openid, "nickname": person.name}),
        table(folder / "groups.csv", {"openGId": group}),
        table(folder / "memberships.csv", {"openid": openid, "openGId": group}),
        table(
            folder / "scores.csv",
            {"openid": openid, "board": "active-days", "value": 1, "openGId": group},
        ),
    ]
    app = ["--appid", upgrade.new.environment["WECHAT_APPS"].split(":")[0]]
    upgrade.new.python("manage.py", "import", *map(str, files), *app)
    person.groups.add(group)
    owner = upgrade.new.python("-c", OWNER.format(openid=openid)).strip()
    [token] = [each.token for each in upgrade.load.met if each.id == owner]
    for site in (upgrade.new, upgrade.old):
        with Visitor(site.ports[0], token) as visitor:
            status, ranking = visitor.ask("GET", f"/api/v1/groups/{group}/ranking?period=all")
            assert (status, ranking["me"]["score"]) == (200, 1)
            assert visitor.ask("GET", "/api/v1/me/data")[0] == 200


OWNER = """
import django; django.setup()
from accounts.models import WeChatUser
print(WeChatUser.objects.get(openid={openid!r}).pk)
"""


@pytest.mark.no_service
def test_both_pages_say_the_same_to_run() -> None:
    assert blocks_of("upgrade.zh-CN.md") == blocks_of("upgrade.md")
