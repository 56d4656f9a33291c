"""Dockerfile, compose.yml and the dev container, as far as they can be read. `python -m prove
container` runs their commands."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from prove.container import GRACE, context, instructions
from prove.servers import free_port
from tests.servers import ROOT

pytestmark = pytest.mark.no_service

DOCKERFILE = (ROOT / "Dockerfile").read_text()
STEPS = instructions(DOCKERFILE)
COMPOSE = yaml.safe_load((ROOT / "compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "groupsite"}
PAGES = ("container.md", "container.zh-CN.md")
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|KEY|DSN", re.IGNORECASE)


def files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


# The image


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.prefix) / 'bin'}")
    assert hadolint, "it is one of the requirements for development"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_a_user_by_number_who_is_not_root() -> None:
    [user] = [rest for name, rest in STEPS if name == "USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), "numbers: a platform may insist on them"
    after = STEPS[STEPS.index(("USER", user)) :]
    assert not {"RUN", "COPY", "ADD"} & {name for name, _rest in after}


def test_packages_are_installed_by_their_hashes_and_only_from_our_lists() -> None:
    installs = [rest for name, rest in STEPS if name == "RUN" and "pip install" in rest]
    for rest in installs:
        assert "--require-hashes" in rest
        assert not re.findall(r"pip install[^|&;]* (?!-)(?!requirements/)\S+$", rest)
    listed = set(re.findall(r"-r requirements/(\w+)\.txt", " ".join(installs)))
    assert listed == {file.stem for file in (ROOT / "requirements").glob("*.txt")}


def test_no_layer_holds_a_secret() -> None:
    for name, rest in STEPS:
        if name in {"ENV", "ARG"}:
            assert not SECRET.search(rest.replace("DATABASE_URL", "")), rest
    outside = [
        ".env",
        ".env.example",
        ".git/config",
        "core/.env",
        "db.sqlite3",
        "deploy/monitoring/metrics.token",
        "groups/__pycache__/api.cpython-311.pyc",
        "groups/db.sqlite3-wal",
        "media/avatars/a.webp",
        "tests/cast.py",
        "var/prove/report.md",
        "accounts.txt",
    ]
    assert context(outside, (ROOT / ".dockerignore").read_text()) == []


def test_everything_that_serves_gets_into_the_image() -> None:
    inside = context(files(), (ROOT / ".dockerignore").read_text())
    apps = ("accounts", "audit", "console", "core", "groups", "groupsite", "wechat")
    needed = {
        file
        for file in files()
        if file.split("/")[0] in {*apps, "templates", "static", "locale", "docs", "requirements"}
        or file in {"manage.py", "gunicorn.conf.py", "README.md"}
    }
    assert len(needed) > 250
    played = ("wechat/sandbox/", "wechat/management/", "groupsite/demo.py")
    played += ("groupsite/management/commands/seed_demo.py",)
    missing = needed - set(inside)
    assert missing == {file for file in needed if file.startswith(played)} - {
        "wechat/management/__init__.py",
        "wechat/management/commands/__init__.py",
    }, "what plays WeChat, and the demo, stay outside, and nothing else"
    assert not [file for file in inside if file.startswith(("tests/", "prove/", "e2e/", "deploy/"))]


def test_the_health_check_asks_the_process_alone() -> None:
    [check] = [rest for name, rest in STEPS if name == "HEALTHCHECK"]
    command = json.loads(check.partition("CMD ")[2])
    assert command[:2] == ["python", "-c"] and "/livez" in command[2]
    environment = {"PORT": str(free_port())}
    done = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True)
    assert done.returncode != 0, "nothing serves there"


# compose.yml


def test_services_that_are_waited_for_exist_and_tell_when_they_are_ready() -> None:
    ready = {
        "service_healthy": lambda service: "healthcheck" in service,
        "service_completed_successfully": lambda service: service.get("restart") == "no",
    }
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            assert ready[wanted["condition"]](SERVICES[name]), name
    assert SERVICES["site"]["depends_on"]["migrate"] == {
        "condition": "service_completed_successfully"
    }
    assert SERVICES["migrate"]["command"][1:] == ["manage.py", "migrate"]


def test_our_services_can_write_nothing_but_data_and_temporary_files() -> None:
    assert set(OURS) == {"site", "migrate", "purge"}
    for service in OURS.values():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert [entry.partition(":")[0] for entry in service["tmpfs"]] == ["/tmp"]
        assert [entry.partition(":")[2] for entry in service["volumes"]] == ["/data"]
    named = {
        entry.partition(":")[0] for each in SERVICES.values() for entry in each.get("volumes", [])
    }
    assert named == set(COMPOSE["volumes"])


def test_only_the_site_is_reached_from_outside_and_by_this_machine_alone() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["site"]
    assert SERVICES["site"]["ports"] == ["127.0.0.1:${PORT:-8000}:8000"]
    assert SERVICES["site"]["environment"]["PORT"] == "8000"


def test_a_stop_leaves_gunicorn_the_time_that_it_takes() -> None:
    from gunicorn.config import Config

    [seconds] = re.findall(r"^(\d+)s$", SERVICES["site"]["stop_grace_period"])
    assert int(seconds) == GRACE > Config().graceful_timeout
    assert ("STOPSIGNAL", "SIGTERM") in STEPS


def test_every_variable_is_a_setting_and_no_secret_stands_there() -> None:
    settings = (ROOT / "docs/settings.md").read_text()
    given = {name for service in OURS.values() for name in service["environment"]}
    image = [rest for name, rest in STEPS if name == "ENV"]
    given |= set(re.findall(r"(\w+)=", " ".join(image)))
    for name in given - {"PORT", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}:
        assert f"`{name}`" in settings, name
    for name, value in re.findall(
        r"^ +(\w+): (.+)$", (ROOT / "compose.yml").read_text(), re.MULTILINE
    ):
        if SECRET.search(name):
            assert value.startswith('"${'), name


def test_images_of_others_have_a_version() -> None:
    for name, service in SERVICES.items():
        if name not in OURS:
            assert re.fullmatch(r"\w+:\d+-bookworm", service["image"])
    [default] = [rest for name, rest in STEPS if name == "ARG"]
    assert re.fullmatch(r"PYTHON=3\.\d+", default)
    bases = [rest.split()[0] for name, rest in STEPS if name == "FROM"]
    assert set(bases) == {"python:${PYTHON}-slim-bookworm"} and len(bases) == 2


# The pages


def commands(page: str) -> list[str]:
    blocks = re.findall(
        r"^ *```sh\n(.*?)```$", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL
    )
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_both_pages_have_the_same_commands_and_name_what_there_is() -> None:
    english, chinese = (commands(page) for page in PAGES)
    assert english == chinese and len(english) > 8
    verbs = {"build", "up", "logs", "exec", "run", "cp"}
    for line in english[1:]:
        words = shlex.split(line)
        assert words[:2] == ["docker", "compose"] and words[2] in verbs, line
        named = [word.partition(":")[0] for word in words[3:] if not word.startswith("-")]
        if words[2] in {"logs", "run"}:
            assert set(named) <= set(SERVICES), line
        elif words[2] in {"exec", "cp"}:
            assert named[0] in SERVICES, line


# The dev container


def test_the_dev_container_has_what_ci_installs_and_makes_what_there_is() -> None:
    found = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    ci = (ROOT / ".ci/run").read_text()
    [block] = re.findall(r"apt-get install -y -qq --no-install-recommends (.*?)>", ci, re.DOTALL)
    here = {"python3-venv", "git", "curl"}  # the image has them
    assert set(block.replace("\\", "").split()) - here <= set(found["onCreateCommand"].split())
    for target in found["postCreateCommand"].removeprefix("make ").split():
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
