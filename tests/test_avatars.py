"""Default avatars: the same for one seed, different for two, small and plain."""

from io import BytesIO
from itertools import combinations
from math import dist
from statistics import median, quantiles
from typing import Any

import pytest
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


def test_an_address_is_signed_with_the_secret_key(settings: Any) -> None:
    signed: set[str] = set()
    for secret in ("one secret", "another"):
        settings.SECRET_KEY = secret
        large, small = avatar_path("", "seed", 192), avatar_path("", "seed", 96)
        name = large.removeprefix("/avatars/").removesuffix(".webp")
        assert small == f"/avatars/96/{name}.webp"
        assert name.startswith("seed") and len(name) == len("seed") + 10
        assert seed_in(name) == "seed"
        assert seed_in(f"sead{name[4:]}") is None, "the signature of another seed"
        assert not any(map(seed_in, signed)), "the signature of another secret"
        signed.add(name)
    assert len(signed) == 2
