// topic: drugs
// title: By which signed route might a drug reach a pathway of a disease?
// description: Drug, target, fewest signaling steps to a gene of a pathway that goes with the disease or a narrower one; `effect` is that of the drug on the last gene, unknown where a sign is.
// param: drug string — part of the drug's name, in any case
// param: disease string — part of the disease's name, in any case
// param: steps int = 3 — most signaling steps after the target, 0 to 3
// param: limit int = 200 — most rows
// example: drug="tofacitinib" disease="hepatocellular carcinoma"
MATCH (x:Disease)
WHERE toLower(x.name) CONTAINS toLower($disease)
MATCH (d:Disease)-[isa:IS_A*0..30]->(x)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT d
MATCH (d)-[a:ASSOCIATED_WITH]-(p:Pathway)<-[m:PARTICIPATES_IN]-()<-[em:ENCODES*0..1]-(g:Gene)
WHERE all(x IN [a] + em + m WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH collect(DISTINCT g) AS goals, collect(DISTINCT [g, p, d]) AS ends
MATCH (drug:Drug)
WHERE toLower(drug.name) CONTAINS toLower($drug)
CALL (drug) {
  MATCH (drug)-[t:TARGETS]->()<-[e:ENCODES*0..1]-(g:Gene)
  WHERE all(x IN [t] + e WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH DISTINCT g ORDER BY g.id
  RETURN collect([g, [g.id]]) AS level0, collect(g) AS seen0
}
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
UNWIND level0 + level1 + level2 + level3 AS f
WITH drug, ends, f[0] AS g, f[1] AS path
UNWIND [e IN ends WHERE e[0] = g] AS end
WITH drug, path, end[1] AS p, end[2] AS d
CALL (drug, path) {
  MATCH (drug)-[t:TARGETS]->()<-[e:ENCODES*0..1]-(:Gene {id: path[0]})
  WHERE all(x IN [t] + e WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH t.action AS action, coalesce(t.sign,
    CASE WHEN t.action IN ['inhibitor', 'antagonist', 'blocker', 'inverse agonist', 'negative modulator'] THEN -1
         WHEN t.action IN ['agonist', 'partial agonist', 'activator', 'positive modulator'] THEN 1 ELSE 0 END) AS sign
  ORDER BY action, sign
  RETURN collect(DISTINCT action) AS actions, collect(DISTINCT sign) AS found
}
CALL (path) {
  UNWIND range(1, size(path) - 1) AS number
  MATCH (a:Gene {id: path[number - 1]}), (b:Gene {id: path[number]})
  MATCH (a)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(b)
  WHERE all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH number, collect(DISTINCT coalesce(step.sign, 0)) AS found ORDER BY number
  RETURN collect(CASE WHEN found = [0] THEN [0] ELSE [s IN [-1, 1] WHERE s IN found] END) AS of_steps
}
CALL (path) {
  UNWIND range(0, size(path) - 1) AS number
  MATCH (g:Gene {id: path[number]})
  WITH number, g ORDER BY number
  RETURN collect(g.symbol) AS symbols
}
WITH drug, path, symbols, actions, p, d,
     [CASE WHEN found = [0] THEN [0] ELSE [s IN [-1, 1] WHERE s IN found] END] + of_steps AS signs
RETURN drug.id AS drug, drug.name AS drug_name, actions, path[0] AS gene, symbols, size(path) - 1 AS steps,
       CASE WHEN any(s IN signs WHERE s = [0]) THEN 'unknown' WHEN any(s IN signs WHERE size(s) = 2) THEN 'inconsistent'
            WHEN reduce(sign = 1, s IN signs | sign * s[0]) = 1 THEN 'activates' ELSE 'inhibits' END AS effect,
       p.name AS pathway_name, d.name AS disease_name
ORDER BY steps, drug_name, drug, path, pathway_name, p.id, disease_name, d.id
LIMIT $limit
