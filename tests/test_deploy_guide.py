"""The guide to deployment says what the script does; `make guide` runs both on an empty Debian."""

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_service

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = ROOT / "deploy" / "debian"
SCRIPT = (DEBIAN / "install").read_text()
GUIDES = {name: (ROOT / "docs" / name).read_text() for name in ("deploy.md", "deploy.zh-CN.md")}
COMMANDS = re.compile(r"^```(?:sh|ini)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps() -> list[tuple[str, str, str]]:
    """Return the number, and the title in both languages, of each step of the script."""
    found = re.findall(r'^step (\d) (?:"([^"]+)"|(\S+)) (\S+)$', SCRIPT, re.MULTILINE)
    return [(number, quoted or word, chinese) for number, quoted, word, chinese in found]


@pytest.mark.parametrize(("guide", "title"), [("deploy.md", 1), ("deploy.zh-CN.md", 2)])
def test_the_guide_has_the_steps_of_the_script_in_their_order(guide: str, title: int) -> None:
    headings = re.findall(r"^### (\d)\. (.+)$", GUIDES[guide], re.MULTILINE)
    assert headings == [(step[0], step[title]) for step in steps()]
    assert len(headings) == 9


def test_both_guides_have_the_same_commands() -> None:
    english, chinese = (
        [re.sub(r" +#.*", "", block) for block in COMMANDS.findall(text)]
        for text in GUIDES.values()
    )
    assert english == chinese
    assert len(english) >= 10


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_explains_every_option_of_the_script(guide: str) -> None:
    rows = re.findall(r"^\| (`--.*?) \|", GUIDES[guide], re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"--[a-z]+", row)}
    taken = re.search(r"^    (--domain[-a-z| ]+)\)$", SCRIPT, re.MULTILINE)
    assert taken
    assert explained == set(taken[1].split(" | "))


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guide_names_every_unit_that_is_installed(guide: str) -> None:
    units = {path.name for path in DEBIAN.glob("groupsite*.*")}
    assert set(re.findall(r"groupsite[a-z-]*\.(?:service|socket|timer)", SCRIPT)) == units
    named = set(re.findall(r"`(groupsite[a-z-]*\.(?:service|socket|timer))`", GUIDES[guide]))
    started_by_timer = {name.replace("timer", "service") for name in units if "timer" in name}
    assert named == units - started_by_timer


GOOD = ["--domain", "api.example.com", "--app", "wx1:s", "--database", "sqlite"]


@pytest.mark.parametrize(
    ("arguments", "english", "chinese"),
    [
        ([], "--domain is needed", "需要 --domain"),
        (GOOD[:4], "--database is needed", "需要 --database"),
        ([*GOOD, "--domain", "https://api.example.com/"], "without https://", "不带 https://"),
        ([*GOOD, "--app", "wx1"], "reads appid:secret", "AppID:密钥"),
        ([*GOOD, "--database", "oracle"], "sqlite, postgresql, mariadb", "sqlite、postgresql"),
        ([*GOOD, "--proxy", "apache"], "nginx or caddy", "nginx 或 caddy"),
        ([*GOOD, "--operator"], "--operator needs a value", "要写一个值"),
        ([*GOOD, "--operator", "o'l"], "letters, digits", "字母、数字"),
        ([*GOOD, "--wheels", "/nowhere"], "no such folder", "目录不存在"),
        ([*GOOD, "--force"], "no option --force", "没有 --force"),
    ],
)
def test_wrong_arguments_are_refused_in_both_languages(
    arguments: list[str], english: str, chinese: str
) -> None:
    done = subprocess.run(
        ["bash", DEBIAN / "install", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert english in done.stderr
    assert chinese in done.stderr
    assert done.stdout == ""  # nothing was begun


# What docs/security.md says of these files; `make guide` tries some of it

UNITS = sorted(DEBIAN.glob("groupsite*.service"), key=lambda path: path.name)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_each_unit_runs_as_the_sites_own_user_and_may_do_little(unit: Path) -> None:
    lines = set(unit.read_text().splitlines())
    assert len(UNITS) >= 5
    assert {"User=groupsite", "NoNewPrivileges=yes", "CapabilityBoundingSet="} <= lines
    assert {"ProtectSystem=strict", "ProtectHome=yes", "UMask=0077"} <= lines


def test_the_role_in_the_database_owns_one_database_and_nothing_else() -> None:
    assert re.findall(r"CREATE ROLE groupsite (.+) '", SCRIPT) == ["LOGIN PASSWORD"]
    assert re.findall(r"^GRANT (.+) TO", SCRIPT, re.MULTILINE) == ["ALL ON groupsite.*"]
    assert "secrets.token_hex(24)" in SCRIPT, "its password is made on the machine"
    assert (
        "chmod 640" in SCRIPT and "install -d -m 750 -o root -g groupsite /etc/groupsite" in SCRIPT
    )


def test_the_code_is_installed_without_its_history_and_without_settings_of_a_developer() -> None:
    assert "--exclude-vcs" in SCRIPT and "--exclude='.[a-z]*'" in SCRIPT


NGINX, CADDY = (DEBIAN / "nginx.conf").read_text(), (DEBIAN / "Caddyfile").read_text()
PROGRAMS = {"api", "wechat", "media", "avatars", "metrics"}


def test_over_plain_http_programs_are_refused_and_people_are_led_to_https() -> None:
    plain, _secure = NGINX.split("listen 443")
    [refused] = re.findall(r"location ~ \^/\(([a-z|]+)\)\(/\|\$\) \{\s+return 403;", plain)
    assert set(refused.split("|")) == PROGRAMS
    assert "proxy_pass" not in plain and "return 301 https://" in plain
    [refused] = re.findall(r"@programs path (.+)", CADDY)
    assert {path.strip("/*") for path in refused.split()} == PROGRAMS
    assert "respond 403" in CADDY and "redir https://" in CADDY


def test_the_proxies_speak_todays_tls_and_list_no_folder() -> None:
    assert re.findall(r"ssl_protocols (.+);", NGINX) == ["TLSv1.2 TLSv1.3"]
    assert "ssl_session_tickets off;" in NGINX and "autoindex" not in NGINX
    assert "protocols" not in CADDY and "file_server" not in CADDY, "Caddy's own: 1.2 and 1.3"


def test_what_a_proxy_answers_alone_is_guarded_too() -> None:
    """Each answer has these three once: those of the site keep what it says."""
    asked = {
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'",
    }
    for name, value in asked.items():
        upstream = name.lower().replace("-", "_")
        [variable, found] = re.findall(
            rf'map \$upstream_http_{upstream} (\$\w+) \{{\s+"" (.+);', NGINX
        )[0]
        assert found.strip('"') == value
        # In the server, and again where a location has headers of its own.
        assert NGINX.count(f"add_header {name} {variable} always;") == 2
        assert re.search(rf'header {name} "?{re.escape(value)}"?\n', CADDY)
    assert len(re.findall(r"^    location [^{]*\{[^}]*add_header", NGINX, re.MULTILINE)) == 1


def test_a_client_cannot_choose_what_a_proxy_says_of_it() -> None:
    for header in ("X-Forwarded-Proto $scheme", "X-Request-ID $request_id", "Host $host"):
        assert f"proxy_set_header {header};" in NGINX
    assert "X-Forwarded-For $proxy_add_x_forwarded_for" in NGINX  # the last entry is nginx's own
    assert "header_up X-Request-ID" in CADDY and "trusted_proxies" not in CADDY
