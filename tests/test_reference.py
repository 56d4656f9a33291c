"""The API's documentation: texts in both languages, examples that work, and what a page weighs."""

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.core.management import call_command
from django.http import HttpRequest
from django.test import Client as Browser
from django.utils import timezone

from accounts.serializers import (
    AvatarTextInput,
    ConsentInput,
    LoginInput,
    LogoutInput,
    MeInput,
)
from audit.api import DiagnosticsInput
from groups.models import ServerKey
from groups.serializers import (
    BindEnvelopeInput,
    BindTicketInput,
    EnvelopeInput,
    LinkInput,
    MembershipInput,
    ReportInput,
    ScoreInput,
    ServerScoresInput,
    ServerUsersInput,
    SessionInput,
)
from groupsite import demo, reference
from tests.cast import CHINESE, Person
from wechat.sandbox import Sandbox, demo_envelope, open_gid_of, openid_of

pytestmark = pytest.mark.no_service

JSON = {"Accept": "application/json"}
BODIES: dict[str, list[Any]] = {
    "login": [LoginInput],
    "resolve": [EnvelopeInput],
    "bind": [BindEnvelopeInput, BindTicketInput],
    "link": [LinkInput],
    "submit_score": [ScoreInput],
    "update_membership": [MembershipInput],
    "report": [ReportInput],
    "update_me": [MeInput],
    "update_avatar": [AvatarTextInput],
    "diagnostics": [DiagnosticsInput],
    "consent": [ConsentInput],
    "logout": [LogoutInput],
    "server_session": [SessionInput],
    "server_scores": [ServerScoresInput],
    "server_users": [ServerUsersInput],
}


def read(language: str = "en", query: str = "") -> dict[str, Any]:
    headers = JSON | {"Accept-Language": language}
    return dict(Browser().get(f"/api/schema/{query}", headers=headers).json())


def operations(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        each["operationId"]: each | {"path": path, "method": method}
        for path, by_method in schema["paths"].items()
        for method, each in by_method.items()
    }


@pytest.fixture
def seeded(db: None, settings: Any) -> Iterator[Person]:
    """Yield Alice of the demo, in the demo's database."""
    with Sandbox({demo.APP_ID: demo.APP_SECRET}) as sandbox:
        settings.WECHAT_APPS = {demo.APP_ID: {"SECRET": demo.APP_SECRET}}
        settings.WECHAT_API_URL = sandbox.url
        call_command("seed_demo", verbosity=0)
        yield Person("demo-alice", phone=None)  # type: ignore[arg-type]


def test_the_examples_are_what_the_demo_calls_them() -> None:
    of_the_sandbox = (
        open_gid_of(demo.APP_ID, "demo-chat-1"),
        openid_of(demo.APP_ID, reference.PERSON),
        demo_envelope(demo.APP_ID, reference.PERSON, "demo-chat-1"),
    )
    assert of_the_sandbox == (reference.OPEN_GID, reference.OPENID, reference.ENVELOPE)
    assert reference.GAME == demo.GAME


def test_each_call_is_described_in_both_languages() -> None:
    chinese, english = operations(read("zh-CN")), operations(read("en"))
    described = [call.name for chapter in reference.CHAPTERS for call in chapter.calls]
    assert sorted(chinese) == sorted(english) == sorted(described)
    for name, here in english.items():
        there = chinese[name]
        for text in ("summary", "description"):
            assert here[text].isascii() and CHINESE.search(there[text]), (name, text)
        assert here["tags"][0].isascii() and CHINESE.search(there["tags"][0])
        assert not here["summary"].endswith(".") and here["description"].endswith(".")
    summaries = [each["summary"] for each in chinese.values()]
    assert len(summaries) == len(set(summaries))


def descriptions(value: Any) -> Iterator[str]:
    """Yield every description of a schema."""
    if isinstance(value, list):
        for each in value:
            yield from descriptions(each)
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "description" and isinstance(each, str):
                yield each
            yield from descriptions(each)


def test_no_description_stays_in_english() -> None:
    only_code = re.compile(r"(\* )?`[^`]+`(( - \w+)|(, `[^`]+`)*)", re.ASCII)
    found = [each for each in descriptions(read("zh-CN")) if each]
    left = [each for each in found if not CHINESE.search(each) and not only_code.fullmatch(each)]
    assert left == [] and len(found) > 60


def test_the_language_may_be_named_and_must_be_ours() -> None:
    assert read("en", "?lang=zh-hans") == read("zh-CN")
    assert read("zh-CN", "?lang=en") == read("en")
    for path in ("/api/schema/", "/api/docs/"):
        for unknown in ("fr", "zh-hans/../x", "EN"):
            assert Browser().get(path, {"lang": unknown}, headers=JSON).status_code in {400, 406}
    page = Browser().get("/api/docs/?lang=en", headers={"Accept-Language": "zh-CN"})
    assert '<html lang="en">' in page.content.decode()
    assert "lang=en" in page.content.decode().partition("script=")[0].rpartition("<script")[2]


def test_the_calls_are_in_the_order_of_the_flow() -> None:
    schema = read("zh-CN")
    tags = [tag["name"] for tag in schema["tags"]]
    used = [each["tags"][0] for each in operations(schema).values()]
    assert tags == list(dict.fromkeys(used)) and len(tags) == len(reference.CHAPTERS)
    names = list(operations(schema))
    assert names[:5] == ["login", "resolve", "bind", "ranking", "around"]
    servers = [name for name in names if "/server/" in operations(schema)[name]["path"]]
    assert names[-len(servers) :] == servers


def test_each_example_passes_its_serializer(settings: Any) -> None:
    settings.WECHAT_APPS = {demo.APP_ID: {"SECRET": demo.APP_SECRET}}
    bodies = {
        name: [each["value"] for each in content["examples"].values()]
        for name, operation in operations(read()).items()
        if "requestBody" in operation
        for kind, content in operation["requestBody"]["content"].items()
        if kind == "application/json"
    }
    assert bodies.keys() == BODIES.keys()
    for name, examples in bodies.items():
        for serializer, example in zip(BODIES[name], examples, strict=True):
            serializer(data=example, context={"request": HttpRequest()}).is_valid(
                raise_exception=True
            )


def call(person: Person, operation: dict[str, Any], body: Any, credential: str) -> Any:
    """Make a call with the parameters and the body that its documentation shows."""
    path, query = operation["path"], {}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        elif "example" in parameter:
            query[parameter["name"]] = parameter["example"]
    address = f"{path}?{urlencode(query)}"
    return person.call(operation["method"], address, body, Authorization=credential)


LAST = {"leave", "logout", "erase_me"}  # nothing works after these


def test_the_examples_work_in_the_demo_from_the_top(seeded: Person, media: Path) -> None:
    key, _row = ServerKey.objects.issue(demo.APP_ID, "example", timezone.now())
    schema = operations(read())
    names = [name for name in schema if name not in LAST] + ["leave", "logout"]
    token = ticket = ""
    for name in names:
        operation = schema[name]
        content = operation.get("requestBody", {}).get("content", {})
        shown = content.get("application/json", {}).get("examples", {"none": {"value": None}})
        for body in (example["value"] for example in shown.values()):
            if body and body.get("ticket") == reference.TICKET:
                body["ticket"] = ticket
            credential = f"Key {key}" if "/server/" in operation["path"] else f"Bearer {token}"
            answer = call(seeded, operation, body, credential)
            assert answer.status_code in {200, 201, 204}, (name, answer.content.decode())
            if name == "login":
                token = answer.json()["token"]
            if name == "resolve":
                ticket = answer.json()["ticket"]
            if name == "ranking":
                assert len(answer.json()["entries"]) == 50
            if name == "server_scores":
                assert "periods" in answer.json()["results"][0]


# Compression


def fetch(path: str, **headers: str) -> tuple[Any, bytes]:
    """Return an answer, and its body as it was sent."""
    with closing(Browser().get(path, headers={"Accept-Encoding": "gzip, br"} | headers)) as answer:
        return answer, b"".join(answer) if answer.streaming else answer.content


BUNDLE = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


@pytest.mark.parametrize("path", ["/static/site.css", "/static/favicon.svg", BUNDLE])
def test_our_static_texts_are_compressed_and_revalidated(db: None, path: str) -> None:
    plain, text = fetch(path, **{"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    answer, body = fetch(path)
    assert (answer["Content-Encoding"], gzip.decompress(body)) == ("gzip", text)
    assert "Accept-Encoding" in answer["Vary"] and "ETag" not in answer.headers
    again, _nothing = fetch(path, **{"If-Modified-Since": answer["Last-Modified"]})
    assert again.status_code == 304
    part, body = fetch(path, Range="bytes=0-9")
    assert (part.status_code, "Content-Encoding" in part.headers, body) == (206, False, text[:10])


def test_the_schema_is_compressed(db: None) -> None:
    answer, body = fetch("/api/schema/", Accept="application/json")
    assert answer["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(body))["info"]["title"] == "groupsite"


def test_no_answer_about_members_or_with_a_secret_is_compressed(
    alice: Person, olga: Browser
) -> None:
    open_gid = alice.enter("family")
    link = urlsplit(alice.post(f"groups/{open_gid}/link").json()["url"]).path
    token = {"Authorization": f"Bearer {alice.token}", "Accept-Encoding": "gzip"}
    avatar = urlsplit(alice.get("me").json()["avatar"]).path
    api = [f"/api/v1/{path}" for path in ("me", "me/data", f"groups/{open_gid}/ranking")]
    for path in [*api, link, avatar, "/api/docs/", "/groups/", "/admin/"]:
        answer = olga.get(path, headers=token)
        assert answer.status_code == 200
        assert "Content-Encoding" not in answer.headers, path
