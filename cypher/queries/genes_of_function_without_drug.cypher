// topic: drugs
// title: Which genes with a molecular function have no drug yet?
// description: Genes with the function (or a narrower one) that no drug of the graph targets.
// param: function string — part of the molecular function's name, in any case
// param: limit int = 200 — most rows
// example: function="cytokine receptor activity"
MATCH (f:MolecularFunction)
WHERE toLower(f.name) CONTAINS toLower($function)
MATCH (narrower:MolecularFunction)-[isa:IS_A*0..30]->(f)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT narrower
MATCH (g:Gene)-[e:ENCODES*0..1]->()-[r:ENABLES]->(narrower)
WHERE all(x IN e + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  AND NOT EXISTS {
    MATCH (:Drug)-[t:TARGETS]->()<-[e:ENCODES*0..1]-(g)
    WHERE all(x IN [t] + e WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  }
WITH DISTINCT g, narrower ORDER BY narrower.name, narrower.id
WITH g, collect(narrower.name) AS functions
RETURN g.id AS gene, g.symbol AS symbol, g.full_name AS full_name, functions
ORDER BY symbol, gene
LIMIT $limit
