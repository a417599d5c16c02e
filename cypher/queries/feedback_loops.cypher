// topic: signaling
// title: Which feedback loops run through a gene?
// description: Closed routes of 2 to `steps` signaling steps from the gene back to it, no other gene twice; the product of signs makes a loop positive (it sustains) or negative (it damps).
// param: gene string — approved symbol or id
// param: steps int = 3 — most steps, 2 to 4
// param: limit int = 200 — most rows
// example: gene="TP53"
MATCH (start:Gene)
WHERE (start.symbol IN [$gene, toUpper($gene)] OR start.id = $gene)
CALL (start) {
  MATCH (start)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE g <> start
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT g) AS outs
}
CALL (start) {
  MATCH (g:Gene)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(start)
  WHERE g <> start
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT g) AS ins
}
CALL (start, outs, ins) {
  UNWIND [b IN outs WHERE b IN ins] AS b
  RETURN [start, b, start] AS loop
  UNION ALL
  UNWIND CASE WHEN $steps >= 3 THEN outs ELSE [] END AS b
  MATCH (b)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(c:Gene)
  WHERE c IN ins AND c <> b
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN DISTINCT [start, b, c, start] AS loop
  UNION ALL
  UNWIND CASE WHEN $steps >= 4 THEN outs ELSE [] END AS b
  MATCH (b)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(c:Gene)
  WHERE c <> start AND c <> b
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH DISTINCT b, c
  MATCH (c)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(d:Gene)
  WHERE d IN ins AND d <> b AND d <> c
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN DISTINCT [start, b, c, d, start] AS loop
}
WITH loop, [g IN loop | g.symbol] AS symbols, [g IN loop | g.id] AS ids
ORDER BY size(loop), symbols, ids
LIMIT $limit
CALL (loop) {
  UNWIND range(1, size(loop) - 1) AS number
  WITH number, loop[number - 1] AS a, loop[number] AS b
  MATCH (a)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(b)
  WHERE all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH number, collect(DISTINCT coalesce(step.sign, 0)) AS found
  RETURN collect([s IN [-1, 1] WHERE s IN found]) AS signs
}
RETURN ids[0] AS gene, symbols AS loop, size(loop) - 1 AS steps,
       CASE WHEN any(s IN signs WHERE size(s) = 0) THEN 'unknown' WHEN any(s IN signs WHERE size(s) = 2) THEN 'inconsistent'
            WHEN reduce(sign = 1, s IN signs | sign * s[0]) = 1 THEN 'positive' ELSE 'negative' END AS feedback
ORDER BY steps, loop, ids
