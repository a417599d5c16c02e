// topic: ligands and receptors
// title: In which ligand or receptor complexes does a gene's protein act, and with which others?
// description: Complexes that resources name for ligand-receptor pairs of the gene, their members, and the partners on the other side.
// param: gene string — approved symbol or id
// example: gene="IL6ST"
MATCH (g:Gene)-[e:ENCODES]->(protein:Protein)-[pair:LIGAND_OF]-(other:Protein)
WHERE (g.symbol IN [$gene, toUpper($gene)] OR g.id = $gene) AND pair.complex IS NOT NULL
  AND all(x IN [e, pair] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
UNWIND pair.complex AS complex
WITH g, protein, pair, other, complex, split(split(complex, ':')[-1], '_') AS accessions
WHERE split(protein.id, ':')[-1] IN accessions AND NOT split(other.id, ':')[-1] IN accessions
WITH g, complex, accessions, CASE WHEN startNode(pair) = protein THEN 'ligand' ELSE 'receptor' END AS role,
     pair.source AS source, other
CALL (other) {
  OPTIONAL MATCH (other)<-[e:ENCODES]-(coded:Gene)
  WHERE all(x IN [e] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN min(coalesce(coded.symbol, other.name)) AS partner
}
WITH DISTINCT g, complex, accessions, role, source, partner ORDER BY source
WITH g, complex, accessions, role, collect(DISTINCT source) AS sources, partner ORDER BY partner
WITH g, complex, accessions, role, collect(DISTINCT partner) AS partners, collect(sources) AS stated
CALL (accessions) {
  UNWIND accessions AS accession
  OPTIONAL MATCH (member:Protein {id: 'UniProtKB:' + accession})<-[e:ENCODES]-(coded:Gene)
  WHERE all(x IN [e] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH accession, min(coded.symbol) AS symbol
  WITH coalesce(symbol, accession) AS called ORDER BY called
  RETURN collect(called) AS members
}
UNWIND stated AS some
UNWIND some AS source
WITH DISTINCT g, complex, role, members, partners, source ORDER BY source
WITH g, complex, role, members, partners, collect(source) AS sources
RETURN g.id AS gene, complex, role, members, partners, sources
ORDER BY role, complex, gene
