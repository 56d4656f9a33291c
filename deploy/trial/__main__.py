"""Follow docs/deploy.md word by word on an empty machine, for one database after the other.

Run it as root: `python -m deploy.trial sqlite postgresql mariadb`. What was run there, and what it
said, is kept in var/guide/.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from wechat.sandbox import Sandbox

from . import APP_ID, APP_SECRET, DOMAIN, say
from .machine import (
    REPOSITORY,
    ROOT_OF_CODE,
    CommandFailed,
    Machine,
    empty_debian,
    hand_over_code,
    make_certificate,
    make_debian,
    memory,
    missing_tools,
    new_version,
)
from .members import (
    MAKE_BOARD,
    HttpsClient,
    Racer,
    large_picture,
    looks,
    looks_at_once,
    members,
    slow_bodies,
    under_load,
)

DATABASES = ("sqlite", "postgresql", "mariadb")
KEPT = ROOT_OF_CODE / "var" / "guide"
GUIDE = ROOT_OF_CODE / "docs" / "deploy.md"
PEOPLE, SLOW = 12, 64  # of the slow twice as many as the site has threads
SOON = 5.0  # seconds within which a ranking is answered
ADDRESS = "https://git.example.com/groupsite.git"
# What the guide says in words of the other databases' packages.
WITHOUT = {
    "sqlite": (" -r requirements/postgresql.txt", ""),
    "postgresql": ("", ""),
    "mariadb": ("/postgresql.txt", "/mysql.txt"),
}
# Whatever could make a second run differ from the first.
STATE = (
    "find /etc/groupsite /etc/nginx /etc/systemd /opt/groupsite /var/lib/groupsite/media"
    " -not -name '*.pyc' -not -type d -printf '%p %T@ %s\\n' | sort | sha256sum;"
    " systemctl show --property MainPID groupsite nginx; "
)
# A reload gives nginx other workers.
WORKERS = "cat /proc/$(systemctl show --property MainPID --value nginx)/task/*/children"


def blocks(section: str) -> list[str]:
    """Return the commands of a section of the guide, with the address of the trial's repository."""
    text = GUIDE.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise CommandFailed(f"The guide has no commands under {section}")
    return [block.replace(ADDRESS, f"file:///{REPOSITORY}").strip() for block in found]


class Trial:
    def __init__(self, machine: Machine, database: str, folder: Path) -> None:
        self.machine = machine
        self.database = database
        self.folder = folder
        self.failures: list[str] = []

    def see(self, what: str, is_so: bool) -> None:
        say(f"  {'✔' if is_so else '❌'} {what}")
        if not is_so:
            self.failures.append(what)

    def follow(self) -> None:
        """Do what the guide says, from an empty machine to an upgrade."""
        machine = self.machine
        hand_over_code(machine)
        authority = make_certificate(machine, self.folder)
        get_code, install = blocks("Install")
        machine.run(get_code)
        download, _again = blocks("Without a network")
        machine.run(download.replace(*WITHOUT[self.database]))
        begun = time.monotonic()
        said = machine.run(
            install.replace("--database postgresql", f"--database {self.database}")
            + " --wheels wheels"
        )
        say(f"  installed from wheels in {time.monotonic() - begun:.0f} s")
        site = HttpsClient(authority)
        self.see("/readyz over HTTPS is 200", site.ask("GET", "/readyz")[0] == 200)
        self.see("plain HTTP is led to HTTPS", self.led_to_https())
        self.see("plain HTTP is refused to programs", self.refused_in_plain_text())
        [link] = re.findall(rf"https://{DOMAIN}(/sign-in/\S+)", said)
        self.see("the operator's link signs in", site.ask("GET", link)[0] in {200, 302})
        machine.run("systemd-analyze verify /etc/systemd/system/groupsite*.service")
        exposure = machine.run("systemd-analyze security --no-pager groupsite.service | tail -n 1")
        grade = float(re.findall(r"(\d+\.\d)", exposure)[0])
        self.see(f"systemd-analyze security rates the service {grade} (2.0 at most)", grade <= 2)
        with Sandbox({APP_ID: APP_SECRET}) as sandbox:
            self.play_on(site, sandbox.url, link)

    def play_on(self, site: HttpsClient, sandbox_url: str, link: str) -> None:
        machine = self.machine
        settings = machine.read("/etc/groupsite/env")
        machine.write(
            "/etc/groupsite/env",
            f"{settings}WECHAT_API_URL={sandbox_url}\nALLOW_SANDBOX=True\n"
            "THROTTLES=address=60000/minute,user=6000/minute,token=6000/minute,call=6000/minute\n",
        )
        for block in blocks("Change settings"):
            machine.run(block)
        machine.run(f'groupsite shell --command "{MAKE_BOARD}"')
        people = members(site, sandbox_url, PEOPLE)
        picture = large_picture()
        people[0].send_picture(picture)
        self.see(f"an avatar of {len(picture):,} bytes arrives", True)
        page = str(site.call("POST", f"groups/{people[0].group}/link", people[0].token, {})["url"])
        path = page.removeprefix(f"https://{DOMAIN}")
        self.see("a member's page opens", site.ask("GET", path)[0] == 200)
        site.ask("GET", f"/wechat/push/{APP_ID}/?signature=abcdefsecret&echostr=1")

        with under_load(people) as counts:
            for _ in range(3):
                machine.run("systemctl restart groupsite")
                time.sleep(1)
        self.see(
            f"three restarts under load: {counts}",
            not counts.lost and counts.answers.total() > 3 * PEOPLE,
        )
        before = machine.run(STATE + WORKERS)
        with under_load(people) as counts:
            said = machine.run("cd groupsite && deploy/debian/install --wheels wheels")
        self.see(f"the script again, under load: {counts}", not counts.lost)
        is_same = machine.run(STATE + WORKERS) == before
        self.see("it changes nothing", is_same and "wrote" not in said)
        new_version(machine)
        [upgrade] = blocks("Upgrade")
        before, workers = machine.run("readlink /opt/groupsite/current"), machine.run(WORKERS)
        with under_load(people) as counts:
            machine.run(upgrade)
        self.see(f"an upgrade under load: {counts}", not counts.lost)
        self.see("another version serves", machine.run("readlink /opt/groupsite/current") != before)
        self.see("the proxy is left alone", machine.run(WORKERS) == workers)
        machine.run(f"echo renewed >> /root/{DOMAIN}.pem; cd groupsite && deploy/debian/install")
        self.see("it reads a renewed certificate", machine.run(WORKERS) != workers)
        other = "/etc/nginx/conf.d/other.conf"
        machine.run(f"echo wrong >{other}; echo >>/etc/nginx/sites-available/groupsite")
        machine.run("cd groupsite && deploy/debian/install", fails=True)
        workers = machine.run(WORKERS)
        machine.run(f"rm {other}; cd groupsite && deploy/debian/install")
        self.see("it reads what failed its check before", machine.run(WORKERS) != workers)
        self.see(
            "every acknowledged lap is there once",
            all(member.laps() == member.sent > 0 for member in people),
        )
        for section in ("Housekeeping and backups", "Operators", "Logs"):
            for block in blocks(section):
                machine.run(block)
        self.slow(
            "nginx", site, people, "proxy_request_buffering on", "proxy_request_buffering off"
        )
        self.without_held_socket(people)
        said = machine.run("cat /var/log/nginx/*; journalctl --no-pager")
        secrets = (path, link, "abcdefsecret")
        self.see("no log has a link or a signature", not any(each in said for each in secrets))
        self.see("requests are in the log of nginx", "/api/v1/scores 20" in said)
        self.caddy(site, people, secrets)

    def led_to_https(self) -> bool:
        said = self.machine.run(
            f"python3 -c \"import http.client; c = http.client.HTTPConnection('{DOMAIN}');"
            " c.request('GET', '/groups/?a=b'); print(c.getresponse().headers['Location'])\""
        )
        return said.strip() == f"https://{DOMAIN}/groups/?a=b"

    def refused_in_plain_text(self) -> bool:
        said = self.machine.run(
            f"python3 -c \"import http.client; c = http.client.HTTPConnection('{DOMAIN}');"
            " c.request('GET', '/api/v1/me'); print(c.getresponse().status)\""
        )
        return said.strip() == "403"

    def slow(
        self, proxy: str, site: HttpsClient, people: list[Racer], right: str, wrong: str
    ) -> None:
        """Try bodies that come slowly, with the proxy's file as it is, and with its rule broken."""
        file = {"nginx": "/etc/nginx/sites-available/groupsite", "caddy": "/etc/caddy/Caddyfile"}[
            proxy
        ]
        with slow_bodies(site, SLOW):
            counts = looks(people, 20, SOON)
        self.see(f"{proxy}, {SLOW} slow bodies: {counts}", not counts.lost)
        self.machine.run(f"grep -q '{right}' {file}")
        self.machine.run(f"sed -i 's/{right}/{wrong}/' {file}; systemctl reload {proxy}; sleep 1")
        with slow_bodies(site, SLOW):
            counts = looks_at_once(people, SOON)
        self.see(f"control without “{right}”: {counts}", counts.lost > 0)

    def without_held_socket(self, people: list[Racer]) -> None:
        """Let the service listen by itself, and see that a restart then loses requests."""
        machine, port = self.machine, 18765
        machine.run(
            "systemd-run --quiet --unit control --property Type=notify --property User=groupsite"
            " --property EnvironmentFile=/etc/groupsite/env"
            " --property WorkingDirectory=/opt/groupsite/current"
            " /opt/groupsite/current/.venv/bin/gunicorn groupsite.wsgi:application"
            f" --bind 127.0.0.1:{port}"
        )
        machine.run(
            f"sed -i 's|unix:/run/groupsite.sock|127.0.0.1:{port}|'"
            " /etc/nginx/sites-available/groupsite; systemctl reload nginx; sleep 1"
        )
        with under_load(people) as counts:
            machine.run("systemctl restart control")
        self.see(f"control, a restart without the held socket: {counts}", counts.lost > 0)
        machine.run("cd groupsite && deploy/debian/install")
        machine.run("systemctl stop control")
        with under_load(people) as counts:
            pass
        self.see(f"the script puts the proxy's file right: {counts}", not counts.lost)

    def caddy(self, site: HttpsClient, people: list[Racer], secrets: tuple[str, ...]) -> None:
        machine = self.machine
        for block in blocks("Caddy instead of nginx"):
            machine.run(block)
        self.see("Caddy leads plain HTTP to HTTPS", self.led_to_https())
        self.see("Caddy refuses plain HTTP to programs", self.refused_in_plain_text())
        with under_load(people) as counts:
            machine.run("systemctl restart groupsite")
        self.see(
            f"Caddy, a restart under load: {counts}",
            not counts.lost and counts.answers.total() > PEOPLE,
        )
        people[1].send_picture(large_picture())
        for path in secrets[:2]:
            site.ask("GET", path)
        self.slow("caddy", site, people, "buffer_requests", "")
        machine.run("cd groupsite && deploy/debian/install")
        with slow_bodies(site, SLOW):
            counts = looks(people, 20, SOON)
        self.see(f"the script puts Caddy's file right: {counts}", not counts.lost)
        said = machine.run("journalctl --no-pager")
        self.see("no log has a link or a signature", not any(each in said for each in secrets))


def try_one(database: str, root: Path) -> list[str]:
    begun = time.monotonic()
    say(f"== {database}")
    folder = KEPT / database
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = KEPT / f"{database}.log"
    log.write_text("")
    with empty_debian(root, log) as machine:
        trial = Trial(machine, database, folder)
        try:
            trial.follow()
        except (CommandFailed, AssertionError) as error:
            trial.see(f"stopped: {error}", False)
    where = log.relative_to(ROOT_OF_CODE)
    say(f"  {time.monotonic() - begun:.0f} s; all that was run and said there: {where}")
    return trial.failures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.trial", description=__doc__)
    parser.add_argument("databases", nargs="*", choices=[*DATABASES, []], metavar="database")
    options = parser.parse_args()
    if missing := missing_tools():
        sys.exit(f"Install first 请先安装: apt-get install {' '.join(missing)}")
    failures: list[str] = []
    with TemporaryDirectory() as parent, memory(Path(parent) / "machines") as folder:
        begun = time.monotonic()
        make_debian(folder / "debian")
        say(f"An empty Debian 12 after {time.monotonic() - begun:.0f} s")
        for database in options.databases or DATABASES:
            (folder / database).mkdir()
            root = folder / database / "root"
            subprocess.run(["cp", "--archive", folder / "debian", root], check=True)
            failures += try_one(database, root)
            shutil.rmtree(folder / database)
    say(f"{len(failures)} failed" if failures else "The guide holds.")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
