"""`make fuzz`: schemathesis tries our own OpenAPI schema on the whole site, over a real socket.

One process serves the site, on an SQLite database that is not kept, with a sandbox in WeChat's
place; another runs schemathesis with fuzz/schemathesis.toml and fuzz/hooks.py. Fails with
schemathesis, with any 5xx, and with an operation that never once succeeded: it would not be tried.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from groupsite.demo import APP_ID, APP_SECRET, enter_groups, say, set_environment
from wechat.sandbox import Phone, Sandbox
from wechat.transport import http_session

from . import GROUPS
from .tally import Tally

HERE = Path(__file__).resolve().parent


def main() -> int:
    examples, seed = os.environ.get("EXAMPLES", "100"), os.environ.get("SEED", "1")
    with TemporaryDirectory() as folder, Sandbox({APP_ID: APP_SECRET}) as sandbox:
        set_environment(sandbox.url, Path(folder))
        os.environ |= {
            "DEBUG": "False",
            "ALLOW_SANDBOX": "True",
            "ALLOWED_HOSTS": "127.0.0.1",
            "CONTENT_SAFETY": "True",
            "THROTTLES": "off",
            "LOG_LEVEL": "ERROR",
        }
        with site() as (url, tally):
            say("Entering groups 入群")
            enter_groups(sandbox.url, url, GROUPS)
            say(f"{examples} examples an operation, seed {seed} (EXAMPLES, SEED 可覆盖)")
            environment = os.environ | cast_of(sandbox.url, url, Path(folder))
            failed = run(url, environment, folder, tally, "-n", examples, "--seed", seed)
            complaints = report(tally, operations(url))
    return failed or bool(complaints)


@contextmanager
def site() -> Iterator[tuple[str, Tally]]:
    """Serve a site full of invented people from this process; yield its address and tally."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    say("Inventing people and groups 生成数据")
    call_command("migrate", verbosity=0)
    call_command("seed_demo")
    add_board()
    server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
    tally = Tally(get_wsgi_application())
    server.set_app(tally)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", tally
    server.shutdown()
    server.server_close()


def add_board() -> None:
    """Create a board that takes every score a phone sends; that of the demo has a largest one."""
    from groups.models import Board

    Board.objects.create(
        app_id=APP_ID,
        key="steps",
        title_zh="步数",
        title_en="Steps",
        scope=Board.Scope.APP,
        policy=Board.Policy.LATEST,
        writer=Board.Writer.CLIENT,
    )


def server_key() -> str:
    """Return what a team's own back end sends as its Authorization."""
    from django.utils import timezone

    from groups.models import ServerKey

    text, _row = ServerKey.objects.issue(APP_ID, "fuzz", timezone.now())
    return f"Key {text}"


def cast_of(sandbox_url: str, url: str, folder: Path) -> dict[str, str]:
    """Log in the callers: Alice, in every group, and Charlie, who must never see what she sees."""
    tokens = {}
    for name in ("alice", "charlie"):
        code = Phone(sandbox_url, f"demo-{name}").login()
        answer = http_session().post(f"{url}/api/v1/login", json={"code": code})
        tokens[name] = f"Bearer {answer.json()['token']}"
    headers = {name: [{"name": "Authorization", "value": text}] for name, text in tokens.items()}
    users = folder / "users.json"
    users.write_text(
        json.dumps({"auth": [{"name": name, "fixedHeaders": headers[name]} for name in headers]})
    )
    return {
        "FUZZ_SITE": url,
        "FUZZ_SANDBOX": sandbox_url,
        "FUZZ_USERS": str(users),
        "FUZZ_ALICE": tokens["alice"],
        "FUZZ_SERVER": server_key(),
        "FUZZ_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(HERE.parent),
    }


def run(url: str, environment: dict[str, str], folder: str, tally: Tally, *options: str) -> int:
    """Run schemathesis in a directory of its own; return its exit status."""
    command = [str(Path(sys.executable).parent / "schemathesis")]
    command += ["--config-file", str(HERE / "schemathesis.toml"), "run", f"{url}/api/schema/"]
    process = subprocess.Popen([*command, *options], env=environment, cwd=folder)  # noqa: S603
    while True:
        try:
            return process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            if not sys.stdout.isatty():  # where schemathesis draws no progress of its own
                say(f" …   {tally.total} calls")


def report(tally: Tally, operations: Iterable[str]) -> list[str]:
    """Print how often each operation gave which status; return what is wrong with that."""
    complaints = []
    for operation in operations:
        answers = tally.counts[operation]
        said = ", ".join(f"{status} × {count}" for status, count in sorted(answers.items()))
        say(f"  {operation:<48} {said}")
        if not any(status // 100 == 2 for status in answers):
            complaints.append(f"{operation} never succeeded: nothing of it was tried")
        if any(status // 100 == 5 for status in answers):
            complaints.append(f"{operation} broke")
    for complaint in complaints:
        say(f"❌ {complaint}")
    return complaints


def operations(url: str) -> list[str]:
    """Return every operation of our schema, as `POST /api/v1/login`."""
    answer = http_session().get(f"{url}/api/schema/", headers={"Accept": "application/json"})
    paths = answer.json()["paths"]
    return [f"{method.upper()} {path}" for path, calls in paths.items() for method in calls]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped 已停止")
