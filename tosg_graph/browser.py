"""What Neo4j Browser shows of ours: a style, a guide, saved queries; the local server serves them itself."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

from tosg_graph.errors import QueryError, TosgError
from tosg_graph.query import CannedQuery, list_canned
from tosg_graph.resources import cypher, web

FOLDER = "browser/tosg"  # in the jar of Neo4j Browser, hence of its web address too
HOSTS = "127.0.0.1,localhost"  # whence Browser may fetch a style or a guide; its own default names others
_QUERIES = re.compile(r'(<pre [^>]*data-(query|table)="(\w+)">)(.*?)(</pre>)', re.DOTALL)
_SAVED = "/*SAVED*/ []"  # in open.js


def settings(http: int) -> dict[str, str]:
    """Lines of ``neo4j.conf`` that make Browser load the style and the guide when somebody logs in."""
    return {
        "browser.remote_content_hostname_whitelist": HOSTS,
        "browser.post_connect_cmd": commands(f"http://127.0.0.1:{http}/{FOLDER}"),
    }


def commands(address: str) -> str:
    """What Browser does after a login, with the files at ``address``."""
    return f"play {address}/guide.html; style {address}/style.grass"


def pages() -> dict[str, bytes]:
    """File name -> content of everything that is served."""
    return {
        "style.grass": web("style.grass").encode(),
        "guide.html": guide().encode(),
        "open.html": web("open.html").encode(),
        "open.js": _open_script().encode(),
        "queries.zip": saved_queries(),
    }


def jar_with_ours(jar: Path, target: Path) -> Path:
    """Copy Neo4j Browser's jar and add our files to it, unless ``target`` is that already.

    The server looks for Browser's pages on its class path, so what stands beside them is served with them:
    from the same address, by the same process.
    """
    content = pages()
    digest = hashlib.sha256(f"{jar.name} {jar.stat().st_size}".encode())
    for name, data in content.items():
        digest.update(name.encode() + data)
    if target.exists() and _comment(target) == digest.hexdigest().encode():
        return target
    fresh = target.with_suffix(".fresh")
    shutil.copyfile(jar, fresh)
    with zipfile.ZipFile(fresh, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(f"{FOLDER}/{name}", data)
        archive.comment = digest.hexdigest().encode()
    fresh.replace(target)
    return target


def _comment(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment
    except (OSError, zipfile.BadZipFile):
        return b""


# --------------------------------------------------------------------------- queries


def drawn(canned: CannedQuery) -> str:
    """Canned question with its example filled in, as Cypher that Browser draws: no parameters, no vectors."""
    question = _filled(_body(canned.statement), _example(canned)).rstrip().replace("\n", "\n  ")
    columns = "[" + ", ".join(_columns(canned)) + "]"
    drawing = _body(cypher("browser_draw")).replace("$columns", columns)
    return f"CALL () {{\n  {question}\n}}\n{drawing}"


def table(canned: CannedQuery) -> str:
    """Canned question with its example filled in, as Cypher whose rows Browser lists."""
    return _filled(_body(canned.statement), _example(canned))


def saved_queries() -> bytes:
    """Return a zip to drop onto Browser's editor: a folder of saved queries, each drawn and as a table."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _saved():
            # A fixed date: the same queries give the same bytes.
            entry = zipfile.ZipInfo(f"tosg/{name}.cypher", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, text)
    return content.getvalue()


def write_saved_queries(path: Path) -> None:
    """Write `saved_queries` to ``path``.

    Raises
    ------
    TosgError
        If it cannot be written.
    """
    try:
        path.write_bytes(saved_queries())
    except OSError as error:
        raise TosgError(f"{path} cannot be written: {error.strerror}. Choose another file.") from error


def guide() -> str:
    """Return the guide; the text of each query comes from ``cypher/queries``, whatever stands in the file."""
    known = {canned.name: canned for canned in list_canned()}

    def fill(cell: re.Match[str]) -> str:
        start, kind, name, _, end = cell.groups()
        text = drawn(known[name]) if kind == "query" else table(known[name])
        return f"{start}{html.escape(text, quote=False)}{end}"

    return _QUERIES.sub(fill, web("guide.html"))


def _saved() -> list[tuple[str, str]]:
    """Name and text of each saved query; Browser shows the first comment as its title."""
    found = []
    for canned in list_canned():
        title = canned.title.rstrip("?")
        found.append((canned.name, f"// {title}?\n{drawn(canned)}"))
        found.append((f"{canned.name}_table", f"// {title} (table)?\n{table(canned)}"))
    return found


def _open_script() -> str:
    saved = [{"id": f"tosg-{name}", "content": text, "folder": "tosg"} for name, text in _saved()]
    return web("open.js").replace(_SAVED, json.dumps(saved, indent=1))


def _example(canned: CannedQuery) -> dict[str, Any]:
    defaults = {p.name: p.default for p in canned.parameters}
    return {"sources": None, **defaults, **canned.example}


def _body(statement: str) -> str:
    return "".join(line for line in statement.splitlines(True) if not line.lstrip().startswith("//")).strip()


def _filled(body: str, values: dict[str, Any]) -> str:
    """Put literals where the ``$parameters`` are; JSON's texts, numbers and lists are Cypher's too."""

    def literal(name: re.Match[str]) -> str:
        if name[1] not in values:
            raise QueryError(f"No example value for ${name[1]}; add it to the question's example line.")
        return json.dumps(values[name[1]], ensure_ascii=False)

    return re.sub(r"\$(\w+)", literal, body)


def _columns(canned: CannedQuery) -> list[str]:
    last = _body(canned.statement).rpartition("RETURN ")[2]
    last = re.split(r"\b(?:ORDER BY|LIMIT|SKIP)\b", last)[0]
    # Names and numbers among them do no harm: no entity has such an id.
    return [_name_of(part) for part in _split(last)]


def _name_of(part: str) -> str:
    return re.split(r"\sAS\s", part)[-1].strip()


def _split(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth = [""], 0
    for letter in text.removeprefix("DISTINCT "):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
