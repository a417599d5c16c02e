"""Resolve the local server's class path from its Maven coordinates and write tosg_graph/jars.lock.

Run after a change of version below; commit the result. The POM walk takes about two minutes the first time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo.maven import MavenContext, PythonResolver

from tosg_graph.settings import read_settings

NEO4J = "5.26.30"
GDS = "2.13.9"
APOC = "5.26.19"
COORDINATES = (
    f"org.neo4j:neo4j:{NEO4J}",
    f"org.neo4j.app:neo4j-server:{NEO4J}",
    f"org.neo4j:neo4j-import-tool:{NEO4J}",
    "org.neo4j.client:neo4j-browser:5.24.0",
    f"org.neo4j.gds:proc:{GDS}",
    f"org.neo4j.gds:opengds-extension:{GDS}",
    f"org.neo4j.gds:open-model-catalog:{GDS}",
    f"org.neo4j.gds:open-write-services:{GDS}",
    f"org.neo4j.procedure:apoc-core:{APOC}",
    # The POM of apoc-core does not declare it.
    f"org.neo4j.procedure:apoc-common:{APOC}",
)
LOCK = Path(__file__).parent.parent / "tosg_graph" / "jars.lock"


def _is_plugin(group: str, path: Path) -> bool:
    """Only jars in the plugins folder are scanned for procedures."""
    if group == "org.neo4j.procedure":
        return True
    if group != "org.neo4j.gds":
        return False
    with zipfile.ZipFile(path) as jar:
        return any(name.endswith("Proc.class") for name in jar.namelist())


def main() -> None:
    """Write the lock, one jar a line, in class path order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=read_settings().cache / "jars")
    cache = parser.parse_args().cache
    cache.mkdir(parents=True, exist_ok=True)

    context = MavenContext(resolver=PythonResolver(), repo_cache=cache, timeout=60)
    wanted = [context.create_dependency(c) for c in COORDINATES]
    for dependency in wanted:
        dependency.scope = "compile"
    direct, transitive = context.resolver.resolve(wanted)
    artifacts = [d.artifact for d in (*direct, *transitive) if d.scope in ("compile", "runtime")]
    with ThreadPoolExecutor(8) as pool:
        paths = [Path(p) for p in pool.map(lambda a: a.resolve(), artifacts)]

    rows = []
    for artifact, path in zip(artifacts, paths, strict=True):
        content = path.read_bytes()
        rows.append(
            {
                "group": artifact.groupId,
                "artifact": artifact.artifactId,
                "version": artifact.version,
                "classifier": artifact.classifier or "",
                "ext": artifact.packaging,
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "plugin": _is_plugin(artifact.groupId, path),
            }
        )
    lines = ",\n".join(json.dumps(row) for row in rows)
    versions = json.dumps({"neo4j": NEO4J, "gds": GDS, "apoc": APOC})
    LOCK.write_text(f'{{"versions": {versions},\n"jars": [\n{lines}\n]}}\n', encoding="utf-8")
    print(f"{LOCK.name}: {len(rows)} jars, {sum(r['size'] for r in rows):,} bytes")  # type: ignore[misc]  # mixed


if __name__ == "__main__":
    main()
