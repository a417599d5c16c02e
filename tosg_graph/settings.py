"""Where things are and how to reach them: the only module that reads the environment."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import platformdirs

from tosg_graph.errors import SettingsError

_APP = "tosg-graph"


@dataclass(frozen=True)
class Settings:
    """Everything the program needs to know about its surroundings.

    Parameters
    ----------
    home
        Data of this user: the local server's database, the abundance store, ledgers, embeddings.
    cache
        Downloads that can be fetched again; shared by all homes.
    uri, user, password
        A named server; ``uri`` is None for the local one.
    mirror
        Folder that files of the knowledge sources are taken from, instead of any download.
    ray_address
        ``host:port`` of the Ray cluster that does the work where Ray is asked for; None for one of this machine.
    store_at
        Folder or bucket (``s3://bucket/path``) of the abundance store; None for the one in ``home``.
    heap, page_cache
        Memory of the local server, as Neo4j writes sizes (``2g``, ``512m``). The page cache is taken as the graph
        is read; see `default_page_cache`.
    """

    home: Path
    cache: Path
    uri: str | None = None
    user: str = "neo4j"
    password: str | None = None
    heap: str = "2g"
    page_cache: str = "1g"
    mirror: Path | None = None
    store_at: str | None = None
    ray_address: str | None = None

    @property
    def neo4j_home(self) -> Path:
        """Folder of the local server."""
        return self.home / "neo4j"

    @property
    def store(self) -> Path:
        """Folder of the abundance store; of one in a bucket, the folder of its lock and of unfinished files."""
        if self.store_at is None:
            return self.home / "store"
        if self.store_url:
            return self.home / "buckets" / hashlib.sha256(self.store_at.encode()).hexdigest()[:16]
        return Path(self.store_at)

    @property
    def store_url(self) -> str:
        """Address of the abundance store's bucket; "" where it lies in a folder."""
        return self.store_at if self.store_at and "://" in self.store_at else ""

    @property
    def cohorts(self) -> Path:
        """Folder of the cohorts that were given a name."""
        return self.home / "cohorts"

    @property
    def selections(self) -> Path:
        """Folder of the selections that are kept for the next export."""
        return self.home / "selections"

    @property
    def embeddings(self) -> Path:
        """Folder of the text embeddings."""
        return self.home / "embeddings"

    @property
    def stated(self) -> Path:
        """Folder of what each source stated, at its last load and in the newest releases."""
        return self.home / "stated"

    @property
    def ledgers(self) -> Path:
        """Folder of the load ledgers."""
        return self.home / "ledgers"


def _size(name: str, default: str) -> str:
    value = os.environ.get(name, default)
    if not re.fullmatch(r"[1-9][0-9]*[kmgKMG]", value):
        raise SettingsError(
            f"{name}={value!r} is not a memory size. Write a number and k, m or g, such as 2g."
        )
    return value


def _store_address(given: str | None) -> str | None:
    """Turn ``TOSG_STORE`` into an absolute path or the address of a bucket."""
    if not given:
        return None
    scheme, separator, rest = given.partition("://")
    if separator and scheme == "file":
        given, separator = unquote(rest), ""
    if not separator:
        return str(Path(given).expanduser().absolute())
    if scheme != "s3" or not rest.strip("/"):
        raise SettingsError(
            f"TOSG_STORE={given!r} cannot hold a store. Write a folder, file:///folder or s3://bucket/path."
        )
    return given.rstrip("/")


def default_page_cache() -> str:
    """Return a sixth of the machine's memory, from 512 MB to 4 GB, which holds the store of a full graph."""
    from psutil import virtual_memory

    return f"{min(4096, max(512, virtual_memory().total // 6 >> 20))}m"


def read_settings(
    uri: str | None = None,
    user: str | None = None,
    password: str | None = None,
    store: str | Path | None = None,
) -> Settings:
    """Read the settings from the environment; arguments win over it.

    Environment: ``TOSG_HOME``, ``TOSG_CACHE``, ``TOSG_MIRROR``, ``TOSG_STORE``, ``TOSG_NEO4J_URI``,
    ``TOSG_NEO4J_USER``, ``TOSG_NEO4J_PASSWORD``, ``TOSG_NEO4J_HEAP``, ``TOSG_NEO4J_PAGECACHE``,
    ``TOSG_RAY_ADDRESS``.

    Raises
    ------
    SettingsError
        If a memory size or the store's address cannot be read, or the URI has a scheme that the driver does not know.
    """
    env = os.environ
    uri = uri or env.get("TOSG_NEO4J_URI") or None
    if uri and not re.match(r"(bolt|neo4j)(\+s|\+ssc)?://", uri):
        raise SettingsError(f"{uri!r} is not a Neo4j address. Write bolt://host:port or neo4j+s://host.")
    return Settings(
        home=Path(env.get("TOSG_HOME") or platformdirs.user_data_dir(_APP)).expanduser().absolute(),
        cache=Path(env.get("TOSG_CACHE") or platformdirs.user_cache_dir(_APP)).expanduser().absolute(),
        uri=uri,
        user=user or env.get("TOSG_NEO4J_USER") or "neo4j",
        password=password or env.get("TOSG_NEO4J_PASSWORD") or None,
        heap=_size("TOSG_NEO4J_HEAP", "2g"),
        page_cache=_size("TOSG_NEO4J_PAGECACHE", default_page_cache()),
        mirror=Path(env["TOSG_MIRROR"]).expanduser().absolute() if env.get("TOSG_MIRROR") else None,
        store_at=_store_address(str(store) if store else env.get("TOSG_STORE")),
        ray_address=env.get("TOSG_RAY_ADDRESS") or None,
    )
