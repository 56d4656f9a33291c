"""Where avatars are stored: a directory, or a bucket of any S3 service, over a real socket."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread

import boto3
import pytest
from botocore.exceptions import BotoCoreError
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.utils import translation
from moto.server import ThreadedMotoServer

from core.doctor import EXAMINATIONS
from groupsite.settings import object_storage, origin
from tests.cast import check_of, later, push_verdict, refused
from tests.servers import unused_port
from wechat.client import Suggestion

pytestmark = [pytest.mark.no_service, pytest.mark.xdist_group("storage")]

ROOT = Path(__file__).resolve().parent.parent
NAME = "avatars/k3j2h1/192.webp"
BUCKET, REGION = "avatars-1250000000", "ap-shanghai"
ACCESS_KEY, SECRET_KEY = "AKIDOFTHETESTS", "secret-of-the-test-bucket"


def use_bucket(settings, endpoint_url: str) -> None:
    """Make the default storage a bucket at that address, as the settings would."""
    bucket = object_storage(BUCKET, endpoint_url, REGION, ACCESS_KEY, SECRET_KEY)
    settings.STORAGES = settings.STORAGES | {"default": bucket}


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """Run an S3 server with our bucket; yield its address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = client_of(url := f"http://{host}:{port}")
    # moto keeps its buckets for as long as the process lives, and this fixture may come back.
    with suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
    client.close()
    yield url
    server.stop()


def client_of(url: str):
    """Return a client of our own, apart from the storage that is tested."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )


@pytest.fixture
def bucket(settings, store):
    """Make a bucket the default storage; yield a client of it."""
    use_bucket(settings, store)
    client = client_of(store)
    yield client
    client.close()


def found_by_the_doctor():
    """Return the states and words of the examination, in English."""
    with translation.override("en"):
        return [(each.state, f"{each.saw} {each.fix}") for each in EXAMINATIONS["storage"]()]


def test_the_doctor_writes_reads_and_deletes_in_a_bucket(bucket, settings, store):
    settings.S3_BUCKET, settings.MEDIA_URL = BUCKET, f"{store}/{BUCKET}/"
    private, kept = found_by_the_doctor()
    assert private[0] == "error" and "answers 403" in private[1]
    assert kept == ("ok", f"In {BUCKET} files can be written, read and deleted. ")
    bucket.put_bucket_acl(Bucket=BUCKET, ACL="public-read")
    try:
        [public, _kept] = found_by_the_doctor()
    finally:
        bucket.put_bucket_acl(Bucket=BUCKET, ACL="private")
    assert public == ("ok", "A picture can be read at its public address. ")
    assert bucket.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


def test_the_doctor_names_a_bucket_that_refuses_or_is_away(settings, store):
    settings.S3_BUCKET = BUCKET
    use_bucket(settings, f"http://127.0.0.1:{unused_port()}")
    [(state, said)] = found_by_the_doctor()
    assert state == "error" and "EndpointConnectionError" in said and "S3_ENDPOINT_URL" in said
    use_bucket(settings, store)
    settings.STORAGES["default"]["OPTIONS"]["bucket_name"] = "no-such-bucket"
    [(state, said)] = found_by_the_doctor()
    assert (state == "error" and "cannot be read" in said) or "no file can be written" in said


def test_a_file_is_saved_overwritten_and_deleted(bucket):
    assert default_storage.save(NAME, ContentFile(b"first")) == NAME
    assert default_storage.save(NAME, ContentFile(b"second")) == NAME
    assert bucket.get_object(Bucket=BUCKET, Key=NAME)["Body"].read() == b"second"
    with default_storage.open(NAME) as file:
        assert file.read() == b"second"
    default_storage.delete(NAME)
    default_storage.delete(NAME)
    assert "Contents" not in bucket.list_objects_v2(Bucket=BUCKET)


def test_an_object_is_a_webp_that_may_be_cached_for_a_day(bucket):
    default_storage.save(NAME, ContentFile(b"RIFF"))
    found = bucket.head_object(Bucket=BUCKET, Key=NAME)
    assert found["ContentType"] == "image/webp"
    assert found["CacheControl"] == "public, max-age=86400"
    assert "ContentEncoding" not in found
    default_storage.delete(NAME)


def test_the_address_of_an_object_carries_no_signature(bucket):
    assert default_storage.url(NAME).partition("?")[2] == ""


@pytest.fixture
def requests() -> Iterator[tuple[str, list[BaseHTTPRequestHandler]]]:
    """Run a server that takes any object; yield its address and the requests that it got."""
    seen: list[BaseHTTPRequestHandler] = []

    class Anything(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self)
            self.send_response(200)
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()

        def log_message(self, *arguments) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Anything) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def test_an_s3_service_other_than_amazons_understands_the_request(settings, requests):
    url, seen = requests
    use_bucket(settings, url)
    default_storage.save(NAME, ContentFile(b"picture"))
    [request] = seen
    assert request.path == f"/{BUCKET}/{NAME}"
    assert request.body == b"picture", "whole, not in Amazon's signed chunks"
    assert request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 ")
    assert f"/{REGION}/s3/" in request.headers["Authorization"]
    names = {name.lower() for name in request.headers}
    assert not {"x-amz-acl", "x-amz-sdk-checksum-algorithm", "x-amz-trailer"} & names
    assert SECRET_KEY not in str(request.headers)


def refusal_of(settings, port: int) -> BotoCoreError:
    use_bucket(settings, f"http://127.0.0.1:{port}")
    with ThreadPoolExecutor(1) as thread:
        saving = thread.submit(default_storage.save, NAME, ContentFile(b"picture"))
        error = saving.exception(timeout=30)
    assert isinstance(error, BotoCoreError)
    assert SECRET_KEY not in str(error)
    return error


def test_a_service_that_is_down_is_not_waited_for(settings):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "Could not connect" in str(refusal_of(settings, port))


def test_a_service_that_does_not_answer_is_not_waited_for(settings):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "Read timeout" in str(refusal_of(settings, silent.getsockname()[1]))
        silent.settimeout(0)
        asked = 0
        while True:
            try:
                silent.accept()[0].close()
            except BlockingIOError:
                break
            asked += 1
    assert asked == 2


# What the environment says


def settings_with(**environment: str) -> dict:
    """Read some settings in a process with that environment."""
    code = """
import django, json
from django.conf import settings
from django.core.files.storage import storages
from groupsite.logs import ReportFilter
django.setup()
print(json.dumps({
    "storage": type(storages["default"]).__name__,
    "static": settings.STORAGES["staticfiles"]["BACKEND"],
    "url": settings.MEDIA_URL,
    "root": settings.MEDIA_ROOT,
    "images": settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]["img-src"],
    "report": repr(ReportFilter().get_safe_settings()),
}))
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "groupsite.settings"}
        | {"SECRET_KEY": "x" * 50, "S3_BUCKET": "", "MEDIA_URL": "/media/"}
        | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(run.stdout)


def test_avatars_are_stored_in_a_directory_unless_there_is_a_bucket(tmp_path):
    said = settings_with(MEDIA_ROOT=str(tmp_path))
    assert said["storage"] == "FileSystemStorage"
    assert (said["url"], said["root"]) == ("/media/", str(tmp_path))
    assert said["images"] == ["'self'", "data:"]


def test_a_bucket_stores_avatars_and_nothing_else():
    said = settings_with(
        S3_BUCKET=BUCKET,
        S3_ENDPOINT_URL="https://cos.ap-shanghai.myqcloud.com",
        S3_REGION=REGION,
        S3_ACCESS_KEY=ACCESS_KEY,
        S3_SECRET_KEY=SECRET_KEY,
        MEDIA_URL="https://avatars.example.com/faces",
    )
    assert said["storage"] == "S3Storage"
    assert said["static"] == "django.contrib.staticfiles.storage.StaticFilesStorage"
    assert said["url"] == "https://avatars.example.com/faces/"
    assert said["images"] == ["'self'", "data:", "https://avatars.example.com"]
    assert BUCKET in said["report"]
    assert ACCESS_KEY not in said["report"] and SECRET_KEY not in said["report"]


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        ("/media/", []),
        ("https://a.example.com/x/", ["https://a.example.com"]),
        ("http://127.0.0.1:9000/b/", ["http://127.0.0.1:9000"]),
    ],
)
def test_pages_may_show_images_from_where_avatars_are(url, origins):
    assert origin(url) == origins


@pytest.mark.django_db(transaction=True)
def test_an_avatar_is_stored_in_the_bucket_and_deleted_from_it(bucket, settings, make_person):
    settings.MEDIA_URL = "https://faces.example.com/"
    alice = make_person("alice")

    def kept() -> set[str]:
        found = bucket.list_objects_v2(Bucket=BUCKET, Prefix="avatars/").get("Contents", [])
        return {f"https://faces.example.com/{each['Key']}" for each in found}

    addresses = []
    for _ in range(2):
        check = check_of(answer := alice.upload())
        addresses.append(answer.json()["avatar"])
        push_verdict(check, Suggestion.PASS)
        assert addresses[-1] in kept() and len(kept()) == 2
    assert len(set(addresses)) == 2
    assert alice.browser.get(f"/avatars/{addresses[-1].rpartition('/')[2]}").status_code == 404
    default_storage.save("avatars/cut-short-192.webp", ContentFile(b"RIFF"))
    with later(hours=2):
        call_command("purge", "files", stdout=StringIO())
    assert addresses[-1] in kept() and len(kept()) == 2
    assert alice.delete("me").status_code == 204
    assert kept() == set()


@pytest.mark.django_db
def test_an_upload_is_refused_while_the_bucket_is_unavailable(settings, make_person):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        use_bucket(settings, f"http://127.0.0.1:{closed.getsockname()[1]}")
        alice = make_person("alice")
        refused(alice.upload(), 503, "unavailable")
        assert alice.get("me").json()["avatarState"] == "approved"
