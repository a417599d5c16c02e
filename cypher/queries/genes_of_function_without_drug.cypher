// title: Which genes with a molecular function have no drug yet?
// description: Genes with the function (or a narrower one) that no drug of the graph targets.
// param: function string — part of the molecular function's name, in any case
// param: limit int = 200 — most rows
// example: function="cytokine receptor activity"
MATCH (f:MolecularFunction)
WHERE toLower(f.name) CONTAINS toLower($function)
MATCH (narrower:MolecularFunction)-[:IS_A*0..]->(f)
WITH DISTINCT narrower
MATCH (g:Gene)-[:ENCODES*0..1]->()-[:ENABLES]->(narrower)
WHERE NOT EXISTS { (:Drug)-[:TARGETS]->(g) } AND NOT EXISTS { (:Drug)-[:TARGETS]->(:Protein)<-[:ENCODES]-(g) }
WITH DISTINCT g, narrower ORDER BY narrower.name
WITH g, collect(narrower.name) AS functions
RETURN g.id AS gene, g.symbol AS symbol, g.full_name AS full_name, functions
ORDER BY symbol, gene
LIMIT $limit
