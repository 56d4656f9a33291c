"""The main flow through the played gateway of WeChat Cloud Run, to two services of one image.

Both are processes of their own on one database: `api` under Gunicorn behind the gateway, with a
counter and the cap on queries, and the public one, whose address links and avatars have. On MariaDB
the database sleeps too: its connections are cut, and the next one is lost.
"""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from tests.cast import FAMILY, RED, picture, ticket
from tests.servers import (
    PATIENCE,
    ROOT,
    Relay,
    Site,
    at_once,
    scratch_database,
    serving,
    unused_port,
    wait_for,
)
from tests.settings import APP_ID
from wechat.sandbox import Fault, Gateway, Phone, Sandbox, openid_of

pytestmark = pytest.mark.xdist_group("gateway")

WAYS = ("envelope", "cloudid")


@dataclass
class Cloud:
    """The two services, the gateway of the one, and the WeChat that they talk to."""

    way: str
    sandbox: Sandbox
    gateway: Gateway
    service: str
    public: str
    relay: Relay | None
    site: Site
    queries: dict[str, int] = field(default_factory=dict)

    def person(self, name: str) -> "Visitor":
        return Visitor(self, Phone(self.sandbox.url, name, APP_ID, in_cloud=True)).log_in()


@dataclass
class Visitor:
    """A person whose phone calls through the gateway."""

    cloud: Cloud
    phone: Phone
    token: str = ""
    id: str = ""

    def send(self, method: str, path: str, data: Any = None, **headers: str) -> requests.Response:
        own = {"X-Sandbox-Person": self.phone.person, "Content-Type": "application/json"}
        own |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with requests.Session() as http:
            http.trust_env = False
            answer = http.request(
                method,
                f"{self.cloud.gateway.url}/api/v1/{path}",
                data=data if isinstance(data, bytes | None) else json.dumps(data),
                headers=own | headers,
                timeout=PATIENCE,
            )
        if answer.ok and "X-Queries" in answer.headers:
            named = f"{method} {path.replace(FAMILY, '…').partition('?')[0]}"
            most = self.cloud.queries.get(named, 0)
            self.cloud.queries[named] = max(most, int(answer.headers["X-Queries"]))
        return answer

    def do(self, status: int, method: str, path: str, data: Any = None, **headers: str) -> Any:
        answer = self.send(method, path, data, **headers)
        assert answer.status_code == status, (method, path, answer.text)
        return answer.json() if answer.content else None

    def log_in(self) -> "Visitor":
        body = {} if self.cloud.way == "cloudid" else {"code": self.phone.login()}
        answer = self.do(200, "POST", "login", body)
        self.token, self.id = answer["token"], answer["user"]["id"]
        return self

    def envelope(self, chat: str) -> dict[str, str]:
        return self.phone.share_info(self.phone.open_card(chat)["shareTicket"])

    def enter(self, chat: str) -> Any:
        return self.do(201, "POST", "groups/bind", {**self.envelope(chat), "scene": 1044})


@contextmanager
def gunicorn(environment: dict[str, str], log: Path) -> Iterator[str]:
    """Run the counting site as the guide does, with one worker; yield its address."""
    port = unused_port()
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--threads", "8"]
    with log.open("w") as said:
        process = subprocess.Popen(
            [*command, "tests.capped:application"],
            cwd=ROOT,
            env=environment | {"WEB_CONCURRENCY": "1"},
            stdout=said,
            stderr=said,
        )
    with process:
        try:
            wait_for(lambda: _answers(port) or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/livez", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


@contextmanager
def cloud_run(directory: Path, way: str) -> Iterator[Cloud]:
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox({APP_ID: "secret"}))
        sandbox.state.open_service = way == "cloudid"
        url, relay = stack.enter_context(scratch_database(directory)), None
        if urlsplit(url).scheme == "mysql":
            relay = stack.enter_context(Relay(url, 3306))
            url = relay.url
        base = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": url,
            "WECHAT_APPS": f"{APP_ID}:secret",
            "WECHAT_API_URL": sandbox.url,
            "WECHAT_PUSH": "",
            "MEDIA_ROOT": str(directory / "media"),
        }
        site = Site(base, [], [], sandbox)
        stack.callback(site.close)
        site.run("manage.py", "migrate", "--verbosity", "0")
        public = stack.enter_context(serving(base, directory / "public.log")).removesuffix(
            "/api/v1/"
        )
        inner = base | {"WECHAT_CLOUD": way, "PUBLIC_URL": public, "ALLOWED_HOSTS": ""}
        service = stack.enter_context(gunicorn(inner, directory / "api.log"))
        sandbox.state.push_to(APP_ID, f"{service}/wechat/push/{APP_ID}")

        def sleep() -> None:
            if relay:
                relay.drop(*relay.lines)
                relay.lost = 1

        gateway = stack.enter_context(Gateway(sandbox, service, sleep))
        yield Cloud(way, sandbox, gateway, service, public, relay, site)


@pytest.fixture(scope="module", params=WAYS)
def cloud(request: Any, tmp_path_factory: Any) -> Iterator[Cloud]:
    with cloud_run(tmp_path_factory.mktemp(request.param), request.param) as site:
        yield site
        lines = [f"{number:5} {call}" for call, number in sorted(site.queries.items())]
        sys.stdout.write("\n".join([f"\nqueries a call, {request.param}", *lines, ""]))


def large_picture() -> bytes:
    """Return a PNG of some 1.9 MB."""
    out = BytesIO()
    Image.frombytes("RGB", (800, 800), os.urandom(3 * 800 * 800)).save(out, "PNG")
    return out.getvalue()


def test_the_main_flow(cloud: Cloud) -> None:
    alice, bob = cloud.person("alice"), cloud.person("bob")
    alice.do(200, "POST", "me/consent", {"purposes": ["nickname", "groups"], "version": "1"})
    resolved = alice.do(200, "POST", "groups/resolve", alice.envelope("family"))
    assert resolved["openid"] == openid_of(APP_ID, "alice")
    alice.do(201, "POST", "groups/bind", ticket(resolved))
    alice.do(200, "POST", "groups/bind", alice.envelope("family"))
    bob.enter("family")
    assert alice.do(200, "PUT", "me", {"nickname": "小明"})["nicknameState"] == "approved"
    alice.do(400, "PUT", "me", {"nickname": "违规小店"})
    alice.do(200, "PUT", f"groups/{FAMILY}/membership", {"alias": "妈妈"})
    alice.do(200, "GET", "boards")
    [group] = alice.do(200, "GET", "groups")["groups"]
    assert group == alice.do(200, "GET", f"groups/{FAMILY}") and group["memberCount"] == 2
    ranking = alice.do(200, "GET", f"groups/{FAMILY}/ranking")
    assert [each["member"]["id"] for each in ranking["entries"]] == [alice.id, bob.id]
    again = alice.send("GET", f"groups/{FAMILY}/ranking")
    same = alice.send("GET", f"groups/{FAMILY}/ranking", **{"If-None-Match": again.headers["ETag"]})
    assert same.status_code == 304
    assert bob.do(200, "GET", f"groups/{FAMILY}/ranking/around")["me"]["rank"] == 1
    link = alice.do(200, "POST", f"groups/{FAMILY}/link", {})["url"]
    assert link.startswith(cloud.public)
    page = requests.get(link, timeout=PATIENCE)
    assert page.status_code == 200 and "妈妈" in page.text
    bob.do(204, "POST", f"groups/{FAMILY}/reports", {"member": alice.id, "reason": "advert"})
    assert alice.do(200, "GET", "me/data")
    alice.do(204, "DELETE", f"groups/{FAMILY}/membership")
    assert alice.do(200, "GET", "groups")["groups"] == []
    alice.do(204, "POST", "logout", {})
    alice.do(401, "GET", "me")
    bob.do(204, "DELETE", "me")
    bob.do(401, "GET", "me")
    proof = {"envelope": ["envelope"], "cloudid": ["cloud"]}[cloud.way]
    assert cloud.site.ask("list(Membership.objects.values_list('proof', flat=True))") == proof


def test_avatars_as_a_body_and_as_base64(cloud: Cloud) -> None:
    carol = cloud.person("carol")
    large = large_picture()
    assert 1_900_000 < len(large) < 2_097_152
    sent = carol.do(200, "POST", "me/avatar", large, **{"Content-Type": "image/png"})
    assert sent["avatar"].startswith(f"{cloud.public}/media/avatars/")
    assert requests.get(sent["avatar"], timeout=PATIENCE).content[8:12] == b"WEBP"
    carol.do(200, "POST", "me/avatar", {"avatar": b64encode(picture(RED)).decode()})
    cloud.sandbox.settle()
    assert carol.do(200, "GET", "me")["avatarState"] == "refused"  # WeChat saw it, and pushed


def test_withdrawals_come_through_the_gateway(cloud: Cloud) -> None:
    dave, erin = cloud.person("dave"), cloud.person("erin")
    dave.do(200, "PUT", "me", {"nickname": "李雷"})
    dave.phone.revoke_authorization("19")
    erin.phone.cancel_account()
    cloud.sandbox.settle()
    assert dave.do(200, "GET", "me")["nickname"] == ""
    erin.do(401, "GET", "me")


def test_what_a_phone_forges_is_stripped_or_dropped(cloud: Cloud) -> None:
    frank, grace = cloud.person("frank"), cloud.person("grace")
    names = ("X-WX-OPENID", "x-wx-openid", "X_WX_OPENID", "X-WX_OPENID", "X-WX-FROM-OPENID")
    for name in names:
        forged = {name: openid_of(APP_ID, "grace")}
        assert frank.do(200, "GET", "me", **forged)["id"] == frank.id
        body = {} if cloud.way == "cloudid" else {"code": frank.phone.login()}
        assert frank.do(200, "POST", "login", body, **forged)["user"]["id"] == frank.id
        grace.do(401, "GET", "me", Authorization=f"Bearer {frank.token}", **forged)
    for thief in (frank, grace):
        other = grace if thief is frank else frank
        refused = thief.do(401, "GET", "me", Authorization=f"Bearer {other.token}")
        assert refused["code"] == "invalid_token"


def test_who_is_not_named_is_refused(cloud: Cloud) -> None:
    heidi = cloud.person("heidi")
    assert heidi.do(403, "GET", "me", **{"X-Sandbox-Person": ""})["code"] == "permission_denied"
    direct = requests.get(
        f"{cloud.service}/api/v1/me",
        headers={"Authorization": f"Bearer {heidi.token}"},
        timeout=PATIENCE,
    )
    assert direct.status_code == 403
    for path in ("/admin/", "/groups/", "/api/docs/", "/api/schema/", "/static/favicon.svg", "/"):
        closed = requests.get(cloud.service + path, allow_redirects=False, timeout=PATIENCE)
        assert closed.status_code == 404, path
        opened = requests.get(cloud.public + path, allow_redirects=False, timeout=PATIENCE)
        assert opened.status_code in {200, 302}, path


def test_the_limits_of_the_gateway(cloud: Cloud) -> None:
    ivan = cloud.person("ivan")
    too_long = ivan.send("POST", "me/avatar", {"avatar": "A" * 100 * 1024})
    assert (too_long.status_code, too_long.text) == (413, "Request Entity Too Large")
    fits = ivan.do(400, "POST", "me/avatar", {"avatar": "A" * 99 * 1024})
    assert fits["code"] == "invalid"
    image = {"Content-Type": "image/png"}
    assert ivan.do(413, "POST", "me/avatar", b"x" * 3_000_000, **image)["code"] == "too_large"
    too_large = ivan.send("POST", "me/avatar", b"x" * (20 * 1024 * 1024 + 1), **image)
    assert (too_large.status_code, too_large.text) == (413, "Request Entity Too Large")


def test_what_takes_too_long_is_cut(cloud: Cloud) -> None:
    judy = cloud.person("judy")
    with Gateway(cloud.sandbox, cloud.service, patience=0.5) as hasty:
        slow = Visitor(Cloud(**{**vars(cloud), "gateway": hasty}), judy.phone, judy.token)
        cloud.sandbox.state.request_fault("/wxa/msg_sec_check", Fault(delay=2))
        assert slow.send("PUT", "me", {"nickname": "慢"}).status_code == 504
        assert slow.send("GET", "me").status_code == 200


def test_after_a_sleep_the_second_attempt_works(cloud: Cloud) -> None:
    """Whatever the first call is: a log-in, a bind or a read."""
    kim = cloud.person("kim")
    kim.enter("family")
    first_calls: dict[tuple[str, str], Callable[[], Any]] = {
        ("GET", "me"): lambda: None,
        ("POST", "groups/bind"): lambda: kim.envelope("family"),
        ("PUT", "me"): lambda: {"nickname": "金"},
        ("POST", "login"): lambda: {"code": kim.phone.login()},
    }
    for (method, path), body in first_calls.items():
        at_once([lambda: kim.send("GET", "me")] * 8)  # so that each thread has a connection
        cloud.gateway.sleep()
        with pytest.raises(requests.ConnectionError):
            kim.send("GET", "boards")
        kim.do(200, method, path, body())
        assert cloud.relay is None or cloud.relay.lost == 0


def test_a_crowd_stays_below_the_cap_of_the_database(cloud: Cloud) -> None:
    """Eight members read and enter for as long as it takes: none is refused for the cap."""
    crowd = [cloud.person(f"crowd-{n}") for n in range(8)]

    def visit(person: Visitor) -> None:
        person.send("POST", "groups/bind", person.envelope("family"))
        for _time in range(5):
            person.do(200, "GET", f"groups/{FAMILY}/ranking")

    at_once([lambda person=person: visit(person) for person in crowd])  # type: ignore[misc]
    assert max(cloud.queries.values()) < 40
