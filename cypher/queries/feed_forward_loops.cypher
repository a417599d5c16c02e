// topic: signaling
// title: In which feed-forward loops does a gene take part?
// description: A regulator signals to a target both directly and through a middle gene. Coherent where the signs of both routes agree, unknown where a sign is.
// param: gene string — approved symbol or id
// param: limit int = 200 — most rows
// example: gene="JAK1"
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
  UNWIND outs AS b
  MATCH (b)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(c:Gene)
  WHERE c IN outs AND c <> b
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN DISTINCT 'regulator' AS role, start AS a, b, c
  UNION ALL
  UNWIND ins AS a
  MATCH (a)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(c:Gene)
  WHERE c IN outs AND c <> a
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN DISTINCT 'middle' AS role, a, start AS b, c
  UNION ALL
  UNWIND ins AS a
  MATCH (a)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(b:Gene)
  WHERE b IN ins AND b <> a
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN DISTINCT 'target' AS role, a, b, start AS c
}
WITH role, a, b, c
ORDER BY role, a.symbol, b.symbol, c.symbol, a.id, b.id, c.id
LIMIT $limit
CALL (a, b, c) {
  UNWIND [[1, a, b], [2, b, c], [3, a, c]] AS pair
  WITH pair[0] AS number, pair[1] AS from, pair[2] AS to
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(to)
  WHERE all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH number, collect(DISTINCT coalesce(step.sign, 0)) AS found ORDER BY number
  RETURN collect([s IN [-1, 1] WHERE s IN found]) AS signs
}
RETURN role, a.id AS regulator, a.symbol AS regulator_symbol, b.id AS middle, b.symbol AS middle_symbol,
       c.id AS target, c.symbol AS target_symbol,
       CASE WHEN any(s IN signs WHERE size(s) = 0) THEN 'unknown' WHEN any(s IN signs WHERE size(s) = 2) THEN 'inconsistent'
            WHEN signs[0][0] * signs[1][0] = signs[2][0] THEN 'coherent' ELSE 'incoherent' END AS kind
ORDER BY role, regulator_symbol, middle_symbol, target_symbol, regulator, middle, target
