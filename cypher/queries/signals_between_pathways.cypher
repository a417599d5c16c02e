// topic: signaling
// title: Which signals lead from one pathway to another?
// description: Signaling steps from a gene of the first pathway to a gene of the second, of which neither is in both.
// param: first string — name of the pathway that signals in any case, or its id
// param: second string — name of the pathway that is signaled to in any case, or its id
// param: limit int = 200 — most rows
// example: first="Type II interferon signaling" second="Interferon type I signaling pathways"
MATCH (g:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p:Pathway)
WHERE (toLower(p.name) = toLower($first) OR p.id = $first)
  AND all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH collect(DISTINCT g) AS of_first
MATCH (g:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p:Pathway)
WHERE (toLower(p.name) = toLower($second) OR p.id = $second)
  AND all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH of_first, collect(DISTINCT g) AS of_second
UNWIND [g IN of_first WHERE NOT g IN of_second] AS a
MATCH (a)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(b:Gene)
WHERE b IN of_second AND NOT b IN of_first
  AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH a, b, step ORDER BY step.source, type(step)
WITH a, b, collect(DISTINCT type(step)) AS verbs, collect(DISTINCT coalesce(step.sign, 0)) AS signs,
     collect(DISTINCT step.source) AS sources
RETURN a.id AS gene, a.symbol AS symbol, b.id AS target, b.symbol AS target_symbol,
       CASE WHEN 1 IN signs AND -1 IN signs THEN 'inconsistent' WHEN 1 IN signs THEN 'activates'
            WHEN -1 IN signs THEN 'inhibits' ELSE 'unknown' END AS effect, verbs, sources
ORDER BY symbol, target_symbol, gene, target
LIMIT $limit
