// topic: functions and terms
// title: What is a gene known to do, and where in the cell?
// description: Biological processes, molecular functions and compartments of the gene or its protein, with evidence codes.
// param: gene string — approved symbol or id
// example: gene="STAT1"
MATCH (g:Gene)-[e:ENCODES*0..1]->()-[r:INVOLVED_IN|ENABLES|LOCATED_IN]->(term:Entity)
WHERE (g.symbol IN [$gene, toUpper($gene)] OR g.id = $gene)
  AND all(x IN e + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN DISTINCT g.id AS gene, type(r) AS verb, term.id AS term, term.name AS name, r.evidence AS evidence, r.source AS source
ORDER BY verb, name, term, source, gene, evidence
