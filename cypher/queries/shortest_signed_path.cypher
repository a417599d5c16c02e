// topic: signaling
// title: By which fewest signaling steps does one gene act on another?
// description: The steps of a shortest route (of several, the one with the smallest ids), each with its effect and sources; `so_far` is the effect from the start to here.
// param: source string — approved symbol or id of the gene that acts
// param: target string — approved symbol or id of the gene that is acted on
// param: steps int = 6 — most steps, 1 to 6
// example: source="EGFR" target="MAPK1"
MATCH (start:Gene)
WHERE (start.symbol IN [$source, toUpper($source)] OR start.id = $source)
MATCH (end:Gene)
WHERE (end.symbol IN [$target, toUpper($target)] OR end.id = $target) AND start <> end
WITH start, [end] AS goals, [[start, [start.id]]] AS level0, [start] AS seen0
CALL (goals, level0, seen0) {
  UNWIND CASE WHEN $steps < 1 OR any(f IN level0 WHERE f[0] IN goals) THEN [] ELSE level0 END AS f
  WITH f[0] AS from, f[1] AS path
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE NOT g IN seen0
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH g, min(path + g.id) AS path ORDER BY path
  RETURN collect([g, path]) AS level1
}
WITH *, seen0 + [f IN level1 | f[0]] AS seen1
CALL (goals, level1, seen1) {
  UNWIND CASE WHEN $steps < 2 OR any(f IN level1 WHERE f[0] IN goals) THEN [] ELSE level1 END AS f
  WITH f[0] AS from, f[1] AS path
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE NOT g IN seen1
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH g, min(path + g.id) AS path ORDER BY path
  RETURN collect([g, path]) AS level2
}
WITH *, seen1 + [f IN level2 | f[0]] AS seen2
CALL (goals, level2, seen2) {
  UNWIND CASE WHEN $steps < 3 OR any(f IN level2 WHERE f[0] IN goals) THEN [] ELSE level2 END AS f
  WITH f[0] AS from, f[1] AS path
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE NOT g IN seen2
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH g, min(path + g.id) AS path ORDER BY path
  RETURN collect([g, path]) AS level3
}
WITH *, seen2 + [f IN level3 | f[0]] AS seen3
CALL (goals, level3, seen3) {
  UNWIND CASE WHEN $steps < 4 OR any(f IN level3 WHERE f[0] IN goals) THEN [] ELSE level3 END AS f
  WITH f[0] AS from, f[1] AS path
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE NOT g IN seen3
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH g, min(path + g.id) AS path ORDER BY path
  RETURN collect([g, path]) AS level4
}
WITH *, seen3 + [f IN level4 | f[0]] AS seen4
CALL (goals, level4, seen4) {
  UNWIND CASE WHEN $steps < 5 OR any(f IN level4 WHERE f[0] IN goals) THEN [] ELSE level4 END AS f
  WITH f[0] AS from, f[1] AS path
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE NOT g IN seen4
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH g, min(path + g.id) AS path ORDER BY path
  RETURN collect([g, path]) AS level5
}
WITH *, seen4 + [f IN level5 | f[0]] AS seen5
CALL (goals, level5, seen5) {
  UNWIND CASE WHEN $steps < 6 OR any(f IN level5 WHERE f[0] IN goals) THEN [] ELSE level5 END AS f
  WITH f[0] AS from, f[1] AS path
  MATCH (from)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g:Gene)
  WHERE NOT g IN seen5
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH g, min(path + g.id) AS path ORDER BY path
  RETURN collect([g, path]) AS level6
}
UNWIND level1 + level2 + level3 + level4 + level5 + level6 AS f
WITH f[0] AS g, f[1] AS path, goals
WHERE g IN goals
UNWIND range(1, size(path) - 1) AS number
MATCH (a:Gene {id: path[number - 1]}), (b:Gene {id: path[number]})
MATCH (a)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(b)
WHERE all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH path, number, a, b, step ORDER BY step.source, type(step)
WITH path, number, a, b, collect(DISTINCT type(step)) AS verbs, collect(DISTINCT step.source) AS sources,
     collect(DISTINCT coalesce(step.sign, 0)) AS found
WITH path, number, a, b, verbs, sources, CASE WHEN found = [0] THEN [0] ELSE [s IN [-1, 1] WHERE s IN found] END AS sign
ORDER BY path, number
WITH path, collect({number: number, a: a, b: b, verbs: verbs, sources: sources, sign: sign}) AS walk
UNWIND walk AS at
WITH at, path, [at.sign] AS signs, [w IN walk WHERE w.number <= at.number | w.sign] AS all_signs
WITH at, path, CASE WHEN any(s IN signs WHERE s = [0]) THEN 'unknown' WHEN any(s IN signs WHERE size(s) = 2) THEN 'inconsistent'
            WHEN reduce(sign = 1, s IN signs | sign * s[0]) = 1 THEN 'activates' ELSE 'inhibits' END AS effect, all_signs AS signs
RETURN at.number AS step, at.a.id AS gene, at.a.symbol AS symbol, effect, at.b.id AS target, at.b.symbol AS target_symbol,
       CASE WHEN any(s IN signs WHERE s = [0]) THEN 'unknown' WHEN any(s IN signs WHERE size(s) = 2) THEN 'inconsistent'
            WHEN reduce(sign = 1, s IN signs | sign * s[0]) = 1 THEN 'activates' ELSE 'inhibits' END AS so_far,
       at.verbs AS verbs, at.sources AS sources, size(path) - 1 AS steps
ORDER BY steps, path, step
