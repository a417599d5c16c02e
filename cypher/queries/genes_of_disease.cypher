// topic: diseases
// title: Which genes are known for a disease or any kind of it?
// description: Genes associated with the disease or with a narrower one in MONDO.
// param: disease string — part of the disease's name, in any case
// param: limit int = 200 — most rows
// example: disease="immunodeficiency"
MATCH (d:Disease)
WHERE toLower(d.name) CONTAINS toLower($disease)
MATCH (narrower:Disease)-[isa:IS_A*0..30]->(d)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT narrower
MATCH (g:Gene)-[ea:ENCODES*0..1]->()-[a:ASSOCIATED_WITH]-(narrower)
WHERE all(x IN ea + a WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN DISTINCT g.id AS gene, g.symbol AS symbol, narrower.id AS disease, narrower.name AS disease_name,
       a.relation AS relation, a.source AS source
ORDER BY symbol, gene, disease_name, disease, relation, source
LIMIT $limit
