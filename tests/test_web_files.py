"""Files at an address: whole and the right one, or one line; a broken transfer goes on where it was.

The server is real and listens on loopback; it can cut a transfer off, forget ranges, change its file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loaders import LOADERS
from tosg_graph import web_files
from tosg_graph.downloads import describe, fetch
from tosg_graph.errors import DownloadError
from tosg_graph.settings import Settings, read_settings
from tosg_graph.types import PackageFile, Source, SourceFile, UserFile, WebFile

CONTENT = b"".join(b"row %07d\n" % n for n in range(300_000))  # 3.6 MB: several chunks
SHA = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """What the server holds and how it behaves; ``asked`` is what came, as (path, Range)."""

    content: bytes = CONTENT
    tag: str = '"one"'
    cuts: list[int] = field(default_factory=list)  # of each answer in turn, the bytes after which it breaks
    ranges: bool = True
    kind: str = "text/plain"
    failures: int = 0  # answers of 503 before the first good one
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            site.asked.append((self.path, wanted))
            if self.path.startswith("/none"):
                self.send_error(404)
                return
            if site.failures:
                site.failures -= 1
                self.send_error(503)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
            if self.headers.get("If-Range", site.tag) != site.tag:
                start = 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", site.kind)
            if site.tag:
                self.send_header("ETag", site.tag)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}"
                )
            body = site.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = site.cuts.pop(0) if site.cuts else None
            self.wfile.write(body[:cut])
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}/data/toy_facts.tsv"
    yield site
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_files, "PAUSE_SECONDS", 0.0)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return replace(read_settings(), cache=tmp_path / "cache")


def source(*files: SourceFile) -> Source:
    named = {f"file{i}": file for i, file in enumerate(files)}
    return Source("toy", "Toy", "1", "CC0-1.0", "https://example.org/toy", 0.1, named)


def web(site: Site, sha256: str | None = SHA) -> Source:
    return source(WebFile(site.url, "toy_facts*", sha256))


def whole_files(settings: Settings) -> list[str]:
    """Names of everything in the cache that a load would read."""
    return sorted(
        p.name
        for p in settings.cache.rglob("*")
        if p.is_file() and p.name != ".lock" and p.parent.name != "incoming"
    )


def failure(wanted: Source, settings: Settings, *, newest: bool = False) -> str:
    with pytest.raises(DownloadError) as error:
        fetch(wanted, settings, newest=newest)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500, text
    assert text.startswith("toy: ")
    return text


def test_a_file_is_fetched_once(site: Site, own: Settings) -> None:
    shown: list[tuple[str, int, int | None]] = []
    path = fetch(web(site), own, progress=lambda *step: shown.append(step))["file0"]
    assert path.read_bytes() == CONTENT
    assert path.name == "toy_facts.tsv"
    assert path.is_relative_to(own.cache / "sources")
    assert fetch(web(site), own)["file0"] == path
    assert len(site.asked) == 1
    assert [done for _, done, _ in shown] == sorted(done for _, done, _ in shown)
    assert shown[-1] == ("Fetching toy_facts.tsv (kB)", len(CONTENT) // 1000, len(CONTENT) // 1000)


def test_what_was_read_is_known(site: Site, own: Settings) -> None:
    paths = fetch(web(site, None), own)
    record = json.loads(paths["file0"].with_name("toy_facts.tsv.json").read_text())
    assert record == {"url": site.url, "sha256": SHA, "bytes": len(CONTENT), "etag": '"one"'}
    assert describe(web(site, None), paths) == (f"file0: toy_facts.tsv, {len(CONTENT)} bytes, sha256 {SHA}",)


def test_a_transfer_that_breaks_goes_on_where_it_was(site: Site, own: Settings) -> None:
    site.cuts = [20 << 16, 10 << 16]
    assert fetch(web(site), own)["file0"].read_bytes() == CONTENT
    assert [r for _, r in site.asked] == ["", f"bytes={20 << 16}-", f"bytes={30 << 16}-"]


def test_the_next_run_goes_on_where_the_last_one_failed(
    site: Site, own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_files, "ATTEMPTS", 1)
    site.cuts = [20 << 16]
    said = failure(web(site), own)
    assert "ended after" in said or "IncompleteRead" in said
    assert "1,310,720 bytes are kept" in said
    assert whole_files(own) == []
    assert fetch(web(site), own)["file0"].read_bytes() == CONTENT
    assert site.asked[-1][1] == "bytes=1310720-"


def test_a_file_that_changed_meanwhile_is_not_patched_together(
    site: Site, own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_files, "ATTEMPTS", 1)
    site.cuts = [20 << 16]
    failure(web(site, None), own)
    site.content, site.tag = CONTENT.replace(b"row", b"ROW"), '"two"'
    assert fetch(web(site, None), own)["file0"].read_bytes() == site.content


@pytest.mark.parametrize("tag", ["", 'W/"weak"'], ids=["no mark", "a weak mark"])
def test_without_a_mark_an_unpinned_file_starts_over(
    site: Site, own: Settings, monkeypatch: pytest.MonkeyPatch, tag: str
) -> None:
    monkeypatch.setattr(web_files, "ATTEMPTS", 1)
    site.tag, site.cuts = tag, [20 << 16]
    failure(web(site, None), own)
    assert fetch(web(site, None), own)["file0"].read_bytes() == CONTENT
    assert [r for _, r in site.asked] == ["", ""]


def test_a_server_without_ranges_works_too(site: Site, own: Settings) -> None:
    site.ranges, site.cuts = False, [20 << 16]
    assert fetch(web(site), own)["file0"].read_bytes() == CONTENT


def test_a_server_that_is_busy_is_asked_again(site: Site, own: Settings) -> None:
    site.failures = 2
    assert fetch(web(site), own)["file0"].read_bytes() == CONTENT
    site.failures = 99
    assert "503" in failure(source(WebFile(f"{site.url}2", "x")), own)
    assert len(site.asked) == 3 + web_files.ATTEMPTS


def test_another_file_than_the_pinned_one_is_refused(site: Site, own: Settings) -> None:
    said = failure(web(site, "0" * 64), own)
    assert f"has sha256 {SHA[:12]}..., pinned is 000000000000" in said
    assert whole_files(own) == []
    assert failure(web(site, "0" * 64), own) == said  # nothing of it was kept


def test_a_damaged_file_in_the_cache_is_fetched_again(site: Site, own: Settings) -> None:
    for pinned in (SHA, None):
        path = fetch(web(site, pinned), own)["file0"]
        path.write_bytes(CONTENT[:-5])
        assert fetch(web(site, pinned), own)["file0"].read_bytes() == CONTENT


def test_the_newest_release_replaces_the_old_one(site: Site, own: Settings) -> None:
    old = fetch(web(site, None), own)["file0"]
    site.content, site.tag = b"newer\n", '"two"'
    assert fetch(web(site, None), own)["file0"].read_bytes() == CONTENT
    site.failures = 99
    failure(web(site, None), own, newest=True)
    site.failures = 0
    assert old.read_bytes() == CONTENT  # until the new one is complete
    assert fetch(web(site, None), own, newest=True)["file0"].read_bytes() == b"newer\n"
    assert fetch(web(site, None), own)["file0"].read_bytes() == b"newer\n"


def test_an_address_that_has_nothing_names_the_homepage(site: Site, own: Settings) -> None:
    gone = source(WebFile(site.url.replace("/data/", "/none/"), "toy*"))
    said = failure(gone, own)
    assert "answers 404 Not Found" in said
    assert "https://example.org/toy" in said
    assert "--path" in said
    assert len(site.asked) == 1


def test_a_web_page_is_no_file(site: Site, own: Settings) -> None:
    site.kind, site.content = "text/html; charset=utf-8", b"<html>log in</html>"
    assert "web page, not a file" in failure(web(site, None), own)
    assert whole_files(own) == []


def test_without_network_it_says_what_to_do(own: Settings) -> None:
    said = failure(source(WebFile("http://127.0.0.1:9/x.tsv", "x*")), own)
    assert "could not be fetched" in said
    assert "refused" in said
    assert "TOSG_MIRROR" in said
    assert "no web address" in failure(source(WebFile("file:///etc/passwd", "x*")), own)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line(site: Site, own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    part = fetch(web(site), own)["file0"].parent / "incoming" / "toy_facts.tsv.part"
    part.symlink_to("/dev/full")
    said = failure(web(site, "1" * 64), own)
    assert "No space left on device" in said
    assert "TOSG_CACHE" in said
    part.unlink()
    monkeypatch.setattr(web_files, "_LEAVE_FREE", 1 << 60)
    assert "room for 0" in failure(web(site, "1" * 64), own)


def test_two_processes_do_not_write_one_file(site: Site, own: Settings) -> None:
    from filelock import FileLock

    folder = fetch(web(site), own)["file0"].parent
    with FileLock(folder / ".lock"):
        assert "another process" in failure(web(site, "2" * 64), own)
        assert fetch(web(site), own)  # what is there can be read meanwhile


# --------------------------------------------------------------------------- a mirror, a path, an archive


@pytest.fixture
def mirror(tmp_path: Path, own: Settings) -> Settings:
    folder = tmp_path / "mirror"
    (folder / "toy").mkdir(parents=True)
    (folder / "other").mkdir()
    return replace(own, mirror=folder)


def test_a_mirror_replaces_the_network(mirror: Settings, site: Site) -> None:
    assert mirror.mirror is not None
    (mirror.mirror / "other" / "toy_facts_2026.tsv.gz").write_bytes(gzip.compress(b"mine\n"))
    assert fetch(web(site), mirror)["file0"].name == "toy_facts_2026.tsv.gz"
    assert site.asked == []
    (mirror.mirror / "toy" / "toy_facts.tsv").write_bytes(b"nearer\n")  # of two: below the source's name
    assert fetch(web(site), mirror)["file0"].read_bytes() == b"nearer\n"


def test_a_path_wins_over_the_mirror(mirror: Settings, site: Site, tmp_path: Path) -> None:
    assert mirror.mirror is not None
    (mirror.mirror / "toy_facts.tsv").write_bytes(b"mirror\n")
    given = tmp_path / "given.tsv"
    given.write_bytes(b"path\n")
    assert fetch(web(site), mirror, path=given)["file0"] == given


def test_a_mirror_gives_archives_or_their_members(mirror: Settings, tmp_path: Path) -> None:
    assert mirror.mirror is not None
    wanted = source(
        PackageFile("toy-facts", "1.0", "toy_facts-1.0-py3-none-any.whl", "0" * 64, "toy/a b.tsv")
    )
    said = failure(wanted, mirror)
    assert "a b.tsv or a b.tsv.gz or toy_facts-1.0-py3-none-any.whl" in said
    assert "TOSG_MIRROR" in said
    member = mirror.mirror / "other" / "a b.tsv.gz"
    member.write_bytes(b"")
    assert fetch(wanted, mirror)["file0"] == member
    (mirror.mirror / "toy_facts-1.0-py3-none-any.whl").write_bytes(b"another file")
    assert "has sha256" in failure(wanted, mirror)  # an archive is checked as ever


def test_what_a_mirror_lacks_is_named_and_not_fetched(mirror: Settings, site: Site) -> None:
    assert mirror.mirror is not None
    said = failure(web(site), mirror)
    assert "holds no file called toy_facts*" in said
    assert "UserFile" not in said
    assert site.asked == []
    for name in ("a", "b"):
        (mirror.mirror / "other" / f"toy_facts_{name}").write_bytes(b"")
    assert "holds 2 files" in failure(source(UserFile("toy_facts*", "https://example.org")), mirror)
    with pytest.raises(DownloadError, match=r"TOSG_MIRROR=.* is no folder"):
        fetch(web(site), replace(mirror, mirror=mirror.mirror / "none"))


def test_settings_read_the_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert read_settings().mirror is None
    monkeypatch.setenv("TOSG_MIRROR", str(tmp_path))
    assert read_settings().mirror == tmp_path


def test_a_path_may_be_an_archive(own: Settings, tmp_path: Path) -> None:
    wanted = source(UserFile("*nodes.*", "https://example.org"), UserFile("*edges.*", "https://example.org"))
    given = tmp_path / "graph.zip"
    with zipfile.ZipFile(given, "w") as box:
        box.writestr("g/x_nodes.tsv", b"n")
        box.writestr("g/x_edges.tsv", b"e")
    paths = fetch(wanted, own, path=given)
    assert [paths[k].read_bytes() for k in sorted(paths)] == [b"n", b"e"]
    assert fetch(wanted, own, path=given) == paths


def test_every_address_at_a_commit_is_pinned() -> None:
    for loader in LOADERS.values():
        for file in loader.SOURCE.files.values():
            if isinstance(file, WebFile):
                assert file.url.startswith("https://"), file
                assert file.sha256 or not re.search(r"/[0-9a-f]{10,40}/", file.url), file


@pytest.mark.parametrize("key", ["drugcentral", "bindingdb"])
def test_the_pinned_sums_are_those_of_the_real_files(key: str, shared_data: Path) -> None:
    for file in LOADERS[key].SOURCE.files.values():
        if isinstance(file, WebFile):
            name = os.path.basename(file.url)  # noqa: PTH119  (of an address, not of a path)
            packed = shared_data / "kg" / key / f"{name}.gz"
            assert hashlib.sha256(gzip.decompress(packed.read_bytes())).hexdigest() == file.sha256
