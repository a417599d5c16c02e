"""Jars: what is missing, cut short or changed is fetched again, and nothing wrong ever gets a place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tosg_graph.errors import DownloadError
from tosg_graph.jars import Jar, fetch_jars, locked_jars, locked_versions

CONTENT = {f"part{n}": f"jar number {100 * n}".encode() * 50 for n in range(3)}


def jar(name: str) -> Jar:
    content = CONTENT[name]
    return Jar("org.example", name, "1.0", "", "jar", len(content), hashlib.sha256(content).hexdigest())


JARS = [jar(name) for name in CONTENT]


class Remote:
    """A repository on disk: hands out `CONTENT`, or for the first calls what `spoiled` says."""

    def __init__(self, spoiled: dict[str, list[bytes]] | None = None) -> None:
        self.asked: list[str] = []
        self.spoiled = spoiled or {}

    def __call__(self, jar: Jar, into: Path) -> Path:
        self.asked.append(jar.artifact)
        bad = self.spoiled.get(jar.artifact)
        into.mkdir(parents=True)
        path = into / "arriving.jar"
        path.write_bytes(bad.pop(0) if bad else CONTENT[jar.artifact])
        return path


def right(paths: list[Path]) -> bool:
    return [p.read_bytes() for p in paths] == list(CONTENT.values())


def test_all_are_fetched_once_in_order(tmp_path: Path) -> None:
    remote = Remote()
    seen: list[tuple[int, int | None]] = []
    paths = fetch_jars(tmp_path, JARS, lambda _, done, total: seen.append((done, total)), remote)
    assert right(paths)
    size = sum(len(c) for c in CONTENT.values())
    assert seen[0] == (0, size)
    assert seen[-1] == (size, size)
    fetch_jars(tmp_path, JARS, download=remote)
    assert sorted(remote.asked) == sorted(CONTENT)
    assert not list(tmp_path.glob(".incoming*"))


@pytest.mark.parametrize("damage", [b"", b"half", CONTENT["part1"][:-1] + b"?"])
def test_a_damaged_jar_is_fetched_again(tmp_path: Path, damage: bytes) -> None:
    paths = fetch_jars(tmp_path, JARS, download=Remote())
    paths[1].write_bytes(damage)
    remote = Remote()
    assert right(fetch_jars(tmp_path, JARS, download=remote))
    assert remote.asked == ["part1"]


def test_a_touched_jar_is_hashed_not_fetched(tmp_path: Path) -> None:
    paths = fetch_jars(tmp_path, JARS, download=Remote())
    os.utime(paths[2], (1, 1))
    remote = Remote()
    assert right(fetch_jars(tmp_path, JARS, download=remote))
    assert remote.asked == []


def test_a_lost_stamp_costs_only_time(tmp_path: Path) -> None:
    fetch_jars(tmp_path, JARS, download=Remote())
    (tmp_path / "verified.json").write_text('{"cut sh', encoding="utf-8")
    remote = Remote()
    assert right(fetch_jars(tmp_path, JARS, download=remote))
    assert remote.asked == []


def test_a_jar_that_arrives_cut_short_is_asked_for_again(tmp_path: Path) -> None:
    remote = Remote({"part0": [CONTENT["part0"][:10]]})
    assert right(fetch_jars(tmp_path, JARS, download=remote))
    assert remote.asked.count("part0") == 2


def test_a_jar_that_stays_wrong_is_refused_and_the_others_kept(tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError, match=r"part0-1\.0\.jar arrived with sha256 .*run the command again"
    ) as e:
        fetch_jars(tmp_path, JARS, download=Remote({"part0": [b"evil"] * 9}))
    assert "\n" not in str(e.value)
    assert not (tmp_path / JARS[0].path).exists()
    remote = Remote()
    assert right(fetch_jars(tmp_path, JARS, download=remote))
    assert "part0" in remote.asked


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def full(jar: Jar, into: Path) -> Path:
        raise OSError(28, "No space left on device")

    with pytest.raises(DownloadError, match=r"No space left on device.*TOSG_CACHE"):
        fetch_jars(tmp_path, JARS, download=full)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DownloadError, match="TOSG_CACHE"):
        fetch_jars(tmp_path / "file" / "jars", JARS, download=Remote())


def test_an_unreachable_repository_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jgo.util.http
    import requests

    def refused(*args: object, **kwargs: object) -> None:
        raise requests.ConnectionError("Name or service\nnot known")

    monkeypatch.setattr(jgo.util.http, "get", refused)
    with pytest.raises(DownloadError, match="cannot be fetched: Name or service not known"):
        fetch_jars(tmp_path, JARS[:1])


def test_the_lock_is_whole() -> None:
    jars = locked_jars()
    assert len({j.path for j in jars}) == len(jars)
    assert all(len(j.sha256) == 64 and j.size > 0 for j in jars)
    versions = {(j.group, j.artifact): j.version for j in jars}
    assert versions["org.neo4j", "neo4j"] == locked_versions()["neo4j"]
    assert versions["org.neo4j.gds", "proc"] == locked_versions()["gds"]
    assert versions["org.neo4j.procedure", "apoc-core"] == locked_versions()["apoc"]
    assert ("org.neo4j.client", "neo4j-browser") in versions
    natives = {j.classifier for j in jars if j.artifact == "netty-transport-native-epoll"}
    assert {"linux-x86_64", "linux-aarch_64"} <= natives


def test_the_lock_names_no_host() -> None:
    from tosg_graph.resources import lock_text

    assert "://" not in lock_text("jars.lock")
