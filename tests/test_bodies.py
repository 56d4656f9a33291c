"""Bodies in chunks, forms that cannot be read, and what is answered before a view, each in the
reader's language."""

import json
import socket
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client as Browser
from django.utils import translation

from tests.cast import API, CHINESE, FAMILY, Person, picture, refused, stored_avatars

pytestmark = [pytest.mark.usefixtures("media"), pytest.mark.no_service]

LANGUAGES = {"zh-CN": "zh-hans", "en": "en"}


def chunked(
    person: Person,
    method: str,
    path: str,
    body: bytes,
    kind: str = "application/json",
    ends: bool = True,
    **headers: str,
) -> Any:
    """Send a body as a web server hands a chunked one on; `ends` where it says that it ends."""
    sent: dict[str, Any] = {"wsgi.input": BytesIO(body), "HTTP_TRANSFER_ENCODING": "chunked"}
    sent |= {"CONTENT_TYPE": kind} | ({"wsgi.input_terminated": True} if ends else {})
    headers = {"Authorization": f"Bearer {person.token}", **headers}
    path = path if path.startswith("/") else API + path
    return person.browser.generic(method, path, headers=headers, **sent)


FORM = "multipart/form-data; boundary=x"


def form(data: bytes, name: str = "avatar") -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'
    return head.encode() + data + b"\r\n--x--\r\n"


# In chunks


def test_a_chunked_body_is_read_where_the_server_says_where_it_ends(
    alice: Person, group: Any
) -> None:
    answer = chunked(alice, "PUT", "me", json.dumps({"nickname": "小红"}).encode())
    assert (answer.status_code, answer.json()["nickname"]) == (200, "小红")
    sealed = json.dumps(alice.envelope("work")).encode()
    assert chunked(alice, "POST", "groups/bind", sealed).status_code == 201
    answer = chunked(alice, "PUT", f"groups/{FAMILY}/membership", b'{"hidden": true}')
    assert answer.json()["hidden"] is True
    answer = chunked(alice, "POST", "me/avatar", form(picture()), FORM)
    assert answer.status_code == 200 and stored_avatars()
    refused(chunked(alice, "PUT", "me", b"{"), 400, "invalid")
    refused(chunked(alice, "PUT", "me", b""), 400, "invalid")


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("me", b" " * (256 * 1024 + 1), "application/json"),
        ("me", b" " * (8 * 1024 * 1024), "application/json"),
        ("me/avatar", form(b" " * (2 * 1024 * 1024 + 1)), FORM),
        ("me/avatar", form(b" " * (8 * 1024 * 1024)), FORM),
    ],
)
def test_a_chunked_body_has_the_limits_of_others(
    alice: Person, path: str, body: bytes, kind: str
) -> None:
    method = "PUT" if path == "me" else "POST"
    refused(chunked(alice, method, path, body, kind), 413, "too_large")


def test_a_chunked_body_that_is_too_large_is_not_read_to_its_end(alice: Person) -> None:
    class Endless(BytesIO):
        asked = 0

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None and 0 < size < 3 * 1024 * 1024
            Endless.asked += size
            return b" " * size

    sent = {"wsgi.input": Endless(), "wsgi.input_terminated": True}
    for path in (f"{API}me", "/admin/login/", "/wechat/push/wxtest0000000000001/"):
        answer = Browser().generic("POST", path, HTTP_TRANSFER_ENCODING="chunked", **sent)
        assert answer.status_code in {401, 413}
    assert Endless.asked < 10 * 1024 * 1024


@pytest.mark.parametrize("path", ["me", "/api/nothing", "/wechat/push/x/", "/admin/login/"])
def test_a_chunked_body_whose_end_the_server_does_not_tell_is_411(alice: Person, path: str) -> None:
    method = "PUT" if path == "me" else "POST"
    for language in LANGUAGES:
        headers = {"Accept-Language": language}
        answer = chunked(alice, method, path, b'{"nickname": "x"}', ends=False, **headers)
        assert answer.status_code == 411
        text = answer.content.decode()
        if path == "me" or path.startswith("/api/"):
            body = answer.json()
            assert body["code"] == "invalid" and body["requestId"] == answer["X-Request-ID"]
            assert "Content-Length" in (text := body["detail"])
        assert bool(CHINESE.search(text)) == (language == "zh-CN")
    assert alice.user.nickname == "小明"


def test_the_bundled_server_answers_411_to_a_chunked_body(live_server: Any) -> None:
    address = urlsplit(live_server.url)
    with socket.create_connection((address.hostname, address.port), 10) as connection:
        head = f"POST {API}login HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n"
        head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b'd\r\n{"code": "x"}\r\n0\r\n\r\n')
        said = b""
        while part := connection.recv(65536):
            said += part
    assert said.startswith(b"HTTP/1.1 411") and b'"code": "invalid"' in said


def test_a_chunked_body_that_ends_early_is_invalid(alice: Person) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("gone")

    sent = {"wsgi.input": Broken(), "wsgi.input_terminated": True}
    answer = alice.browser.generic("POST", f"{API}login", HTTP_TRANSFER_ENCODING="chunked", **sent)
    refused(answer, 400, "invalid")


# Forms that cannot be read


BROKEN_FORMS: dict[str, tuple[bytes, str]] = {
    "no boundary": (form(b"x"), "multipart/form-data"),
    "an empty boundary": (form(b"x"), "multipart/form-data; boundary="),
    "a boundary with letters of its own": (form(b"x"), "multipart/form-data; boundary=群"),
    "a charset that decompresses": (form(b"x"), f"{FORM}; charset=bz2_codec"),
    "base64 that is none": (
        b'--x\r\nContent-Disposition: form-data; name="avatar"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n!\r\n--x--\r\n",
        FORM,
    ),
    "no file": (b"--x--\r\n", FORM),
    "another name": (form(picture(), "picture"), FORM),
    "an empty file": (form(b""), FORM),
    "a text": (b'--x\r\nContent-Disposition: form-data; name="avatar"\r\n\r\nx\r\n--x--\r\n', FORM),
    "no picture": (form(b"x"), FORM),
    "nothing": (b"", FORM),
    "too many files": (
        b"".join(form(b"x").removesuffix(b"--x--\r\n") for _ in range(101)) + b"--x--\r\n",
        FORM,
    ),
}


@pytest.mark.parametrize(("body", "kind"), BROKEN_FORMS.values(), ids=BROKEN_FORMS)
def test_what_is_said_of_a_form_is_in_the_readers_language(
    alice: Person, body: bytes, kind: str
) -> None:
    for language in LANGUAGES:
        headers = {"Authorization": f"Bearer {alice.token}", "Accept-Language": language}
        answer = alice.browser.generic(
            "POST", f"{API}me/avatar", body, content_type=kind, headers=headers
        )
        error = refused(answer, 400, "invalid")
        sentences = [
            error["detail"],
            *(s for each in error.get("fields", {}).values() for s in each),
        ]
        for sentence in sentences:
            assert bool(CHINESE.search(sentence)) == (language == "zh-CN"), sentence
            assert "Multipart" not in sentence


# Before a view


def spoken(answer: Any) -> str:
    is_json = answer["Content-Type"].startswith("application/json")
    return str(answer.json()["detail"]) if is_json else answer.content.decode()


@pytest.mark.parametrize("path", [f"{API}me", "/groups/"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_limit_of_an_address_speaks_the_readers_language(
    db: None, settings: Any, path: str, language: str
) -> None:
    """The thread has served people of another language before."""
    settings.THROTTLES, browser = "address=5/second", Browser()
    [other] = LANGUAGES.keys() - {language}
    for _ in range(5):
        browser.get(path, headers={"Accept-Language": other})
    answer = browser.get(path, headers={"Accept-Language": language})
    assert answer.status_code == 429
    assert bool(CHINESE.search(spoken(answer))) == (language == "zh-CN")


@pytest.mark.parametrize("path", [f"{API}me", "/g/x/", "/livez/x", "/media/avatars/x.webp"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_django_refuses_itself_speaks_the_readers_language(
    db: None, path: str, language: str
) -> None:
    other = next(name for each, name in LANGUAGES.items() if each != language)
    headers = {"Accept-Language": language}
    asks = {
        "another host": {"headers": headers | {"Host": "elsewhere.example"}},
        "not there": {"headers": headers},
    }
    for name, ask in asks.items():
        with translation.override(other):
            answer: Any = Browser().get(path, **ask)  # type: ignore[arg-type]
        assert answer.status_code >= 400, name
        assert bool(CHINESE.search(spoken(answer))) == (language == "zh-CN"), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_form_without_its_token_is_refused_in_the_readers_language(
    db: None, language: str
) -> None:
    browser = Browser(enforce_csrf_checks=True)
    answer = browser.post("/admin/login/", headers={"Accept-Language": language})
    assert answer.status_code == 403
    assert bool(CHINESE.search(answer.content.decode())) == (language == "zh-CN")
