// topic: functions and terms
// title: Which genes are involved in a biological process?
// description: Genes of the process, of its kinds and of its parts, with the terms that say so.
// param: process string — name of the process in any case, or its id
// param: limit int = 500 — most rows
// example: process="response to type II interferon"
MATCH (top:BiologicalProcess)
WHERE (toLower(top.name) = toLower($process) OR top.id = $process)
MATCH (narrower:BiologicalProcess)-[isa:IS_A|PART_OF*0..30]->(top)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT narrower
MATCH (g:Gene)-[e:ENCODES*0..1]->()-[r:INVOLVED_IN]->(narrower)
WHERE all(x IN e + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT g, narrower ORDER BY narrower.name, narrower.id
WITH g, collect(narrower.name) AS processes
RETURN g.id AS gene, g.symbol AS symbol, g.full_name AS full_name, processes
ORDER BY symbol, gene
LIMIT $limit
