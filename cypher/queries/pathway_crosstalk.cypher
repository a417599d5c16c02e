// topic: pathways
// title: Which pathways overlap with a pathway?
// description: Other pathways by how many genes they share with it; `overlap` is shared genes by genes of either.
// param: pathway string — name of the pathway in any case, or its id
// param: limit int = 50 — most rows
// example: pathway="Type II interferon signaling"
MATCH (p:Pathway)
WHERE (toLower(p.name) = toLower($pathway) OR p.id = $pathway)
MATCH (g:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p)
WHERE all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT p, g
MATCH (g)-[es:ENCODES*0..1]->()-[s:PARTICIPATES_IN]->(other:Pathway)
WHERE other <> p
  AND all(x IN es + s WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT p, other, g ORDER BY g.symbol, g.id
WITH p, other, collect(g.symbol) AS symbols
MATCH (either:Gene)-[em:ENCODES*0..1]->()-[m:PARTICIPATES_IN]->(of:Pathway)
WHERE of IN [p, other]
  AND all(x IN em + m WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH p, other, symbols, count(DISTINCT either) AS genes
RETURN other.id AS pathway, other.name AS name, size(symbols) AS shared, 1.0 * size(symbols) / genes AS overlap,
       symbols, p.id AS with_pathway
ORDER BY shared DESC, overlap DESC, name, pathway, with_pathway
LIMIT $limit
