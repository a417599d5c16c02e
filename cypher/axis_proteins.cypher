// Every protein with its names, and the genes that encode it.
MATCH (p:Protein)
OPTIONAL MATCH (g:Gene)-[:ENCODES]->(p)
RETURN p.id AS id, p.name AS name, p.symbol AS symbol, p.entry_name AS entry_name, p.synonyms AS synonyms,
  collect(DISTINCT g.id) AS genes
ORDER BY p.id
