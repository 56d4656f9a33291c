"""Default avatars: the same for one seed, different for two, small and plain."""

from io import BytesIO
from itertools import combinations
from math import dist
from statistics import median, quantiles
from typing import Any

import pytest
from django.utils.crypto import salted_hmac
from PIL import Image, ImageChops, ImageStat

from accounts.avatars.drawn import SIZE, default_avatar
from accounts.avatars.storage import avatar_path, seed_in

pytestmark = pytest.mark.no_service

SEEDS = [f"seed-{number}" for number in range(200)]


def opened(data: bytes) -> Image.Image:
    """Decode a picture."""
    picture = Image.open(BytesIO(data))
    picture.load()
    return picture


@pytest.fixture(scope="module")
def thumbnails() -> list[Image.Image]:
    """Draw 200 avatars as a board shows them, 40 pixels wide."""
    return [opened(default_avatar(seed)).resize((40, 40)) for seed in SEEDS]


def test_one_seed_gives_one_picture() -> None:
    assert default_avatar("小明") == default_avatar("小明")


@pytest.mark.parametrize("seed", ["", "alice", "小明", "👩‍👧", "x" * 10_000])
def test_any_seed_gives_an_opaque_webp(seed: str) -> None:
    picture = opened(default_avatar(seed))
    assert (picture.format, picture.mode, picture.size) == ("WEBP", "RGB", (SIZE, SIZE))


def test_the_small_picture_is_the_same_one() -> None:
    for seed in SEEDS[:20]:
        small, large = opened(default_avatar(seed, 96)), opened(default_avatar(seed))
        assert small.size == (96, 96)
        assert len(default_avatar(seed, 96)) < 0.7 * len(default_avatar(seed))
        gap = ImageChops.difference(small, large.resize((96, 96)))
        assert max(ImageStat.Stat(gap).rms) < 8


def test_the_file_is_small_and_has_one_chunk_of_pixels_and_nothing_else() -> None:
    for data in map(default_avatar, SEEDS):
        assert len(data) <= 3_000
        # RIFF, length, WEBP and then the only chunk: VP8, its length, the pixels.
        assert data[:4] + data[8:16] == b"RIFFWEBPVP8 "
        assert int.from_bytes(data[16:20], "little") + 20 in {len(data), len(data) - 1}


def test_two_hundred_seeds_look_different_at_40_pixels(thumbnails: list[Image.Image]) -> None:
    gaps = [
        max(ImageStat.Stat(ImageChops.difference(one, other)).rms)
        for one, other in combinations(thumbnails, 2)
    ]
    assert min(gaps) > 5
    assert median(gaps) > 60


def test_mean_colours_differ_and_are_visible_on_white_and_on_black(
    thumbnails: list[Image.Image],
) -> None:
    means = [ImageStat.Stat(thumbnail).mean for thumbnail in thumbnails]
    gaps = [dist(one, other) for one, other in combinations(means, 2)]
    assert quantiles(gaps, n=20)[0] > 15, "19 pairs in 20"
    assert median(gaps) > 60
    assert all(90 < sum(mean) / 3 < 200 for mean in means)


def test_an_address_is_signed_as_django_signs(settings: Any) -> None:
    for secret in ("one secret", "another"):
        settings.SECRET_KEY = secret
        expected = salted_hmac("accounts.default-avatar", "seed", algorithm="sha256").hexdigest()
        for size, folder in ((192, "avatars"), (96, "avatars/96")):
            address = avatar_path("", "seed", size)
            assert address == f"/{folder}/seed{expected[:10]}.webp"
        assert seed_in(f"seed{expected[:10]}") == "seed"
