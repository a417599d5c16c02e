// topic: signaling
// title: Which genes lie downstream of a gene?
// description: Genes within a number of directed signaling steps (SIGNALS_TO, or ligand to receptor), each with its fewest steps.
// param: gene string — approved symbol or id (STAT1 or HGNC:11362)
// param: steps int = 2 — most steps, 1 to 3
// example: gene="IL6" steps=2
MATCH (start:Gene)
WHERE (start.symbol IN [$gene, toUpper($gene)] OR start.id = $gene)
CALL (start) {
  MATCH (start)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE g <> start
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT g) AS first
}
CALL (start, first) {
  UNWIND CASE WHEN $steps >= 2 THEN first ELSE [] END AS from
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE g <> start AND NOT g IN first
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT g) AS second
}
CALL (start, first, second) {
  UNWIND CASE WHEN $steps >= 3 THEN second ELSE [] END AS from
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE g <> start AND NOT g IN first AND NOT g IN second
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT g) AS third
}
UNWIND [[1, first], [2, second], [3, third]] AS level
UNWIND level[1] AS g
WITH g, min(level[0]) AS steps
WHERE steps <= $steps
RETURN g.id AS gene, g.symbol AS symbol, g.full_name AS full_name, steps
ORDER BY steps, symbol, gene
