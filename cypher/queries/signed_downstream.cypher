// topic: signaling
// title: What does a gene or protein activate or inhibit within k steps?
// description: Genes within k signaling steps. The sign of a route is the product of its steps' signs, 0 where one is unknown; routes that disagree make the effect inconsistent.
// param: gene string — approved symbol, gene id or protein id (STAT1, HGNC:11362 or UniProtKB:P42224)
// param: steps int = 2 — most steps, 1 to 4
// example: gene="IFNG" steps=3
CALL () {
  MATCH (g:Gene)
  WHERE (g.symbol IN [$gene, toUpper($gene)] OR g.id = $gene)
  RETURN g AS start
  UNION
  MATCH (g:Gene)-[e:ENCODES]->(:Protein {id: $gene})
  WHERE all(x IN [e] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN g AS start
}
CALL (start) {
  MATCH (start)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE g <> start
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT [g, coalesce(step.sign, 0)]) AS first
}
CALL (start, first) {
  UNWIND CASE WHEN $steps >= 2 THEN first ELSE [] END AS state
  WITH state[0] AS from, state[1] AS sign
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE g <> start
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT [g, sign * coalesce(step.sign, 0)]) AS second
}
CALL (start, second) {
  UNWIND CASE WHEN $steps >= 3 THEN second ELSE [] END AS state
  WITH state[0] AS from, state[1] AS sign
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE g <> start
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT [g, sign * coalesce(step.sign, 0)]) AS third
}
CALL (start, third) {
  UNWIND CASE WHEN $steps >= 4 THEN third ELSE [] END AS state
  WITH state[0] AS from, state[1] AS sign
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE g <> start
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT [g, sign * coalesce(step.sign, 0)]) AS fourth
}
UNWIND [[1, first], [2, second], [3, third], [4, fourth]] AS level
UNWIND level[1] AS state
WITH state[0] AS g, min(level[0]) AS steps, collect(DISTINCT state[1]) AS signs
RETURN g.id AS gene, g.symbol AS symbol, steps,
       CASE WHEN 1 IN signs AND -1 IN signs THEN 'inconsistent' WHEN 1 IN signs THEN 'activates'
            WHEN -1 IN signs THEN 'inhibits' ELSE 'unknown' END AS effect,
       [s IN [-1, 0, 1] WHERE s IN signs] AS signs
ORDER BY steps, symbol, gene
