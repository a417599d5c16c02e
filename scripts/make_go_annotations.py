"""Make ``loaders/facts/go_annotations.parquet`` from Debian's package of Bioconductor's org.Hs.eg.db.

Run: ``python scripts/make_go_annotations.py [DEB]``. Without DEB, ``apt-get download`` fetches the package.
Needs ``dpkg-deb``; nothing is installed. Same package, same bytes.
"""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PACKAGE, VERSION = "r-bioc-org.hs.eg.db", "3.16.0-1"
SQLITE = "usr/lib/R/site-library/org.Hs.eg.db/extdata/org.Hs.eg.sqlite"
OUT = Path(__file__).parents[1] / "loaders" / "facts" / "go_annotations.parquet"

# ND ("no biological data") marks a root term that says nothing.
QUERY = """
SELECT gene_id AS gene, go_id AS term, evidence, 'P' AS aspect
FROM go_bp JOIN genes USING (_id) WHERE evidence <> 'ND'
UNION SELECT gene_id, go_id, evidence, 'F' FROM go_mf JOIN genes USING (_id) WHERE evidence <> 'ND'
UNION SELECT gene_id, go_id, evidence, 'C' FROM go_cc JOIN genes USING (_id) WHERE evidence <> 'ND'
ORDER BY aspect, term, gene, evidence
"""


def main() -> None:
    """Fetch, unpack, select, write."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if len(sys.argv) > 1:
            package = Path(sys.argv[1]).resolve()
        else:
            subprocess.run(["apt-get", "download", f"{PACKAGE}={VERSION}"], cwd=work, check=True)
            package = next(work.glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), str(work / "out")], check=True)
        sqlite = work / "out" / SQLITE
        rows = sqlite3.connect(sqlite).execute(QUERY).fetchall()
        print(f"{package.name} sha256 {_sha256(package)}\n{sqlite.name} sha256 {_sha256(sqlite)}")
    columns = dict(zip(("gene", "term", "evidence", "aspect"), zip(*rows, strict=True), strict=True))
    table = pa.table(
        {
            "gene": pa.array([int(g) for g in columns["gene"]], pa.int32()),  # NCBI Gene
            "term": pa.array([int(t.removeprefix("GO:")) for t in columns["term"]], pa.int32()),  # GO
            "evidence": pa.array(columns["evidence"]).dictionary_encode(),
            "aspect": pa.array(columns["aspect"]).dictionary_encode(),
        }
    )
    pq.write_table(table, OUT, compression="zstd", compression_level=19, use_dictionary=True)
    print(f"{OUT.name}: {len(table):,} rows, {OUT.stat().st_size:,} bytes, sha256 {_sha256(OUT)}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
