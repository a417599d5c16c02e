// topic: diseases
// title: Which genes do two diseases share?
// description: Genes associated with both, or with narrower ones; `first_diseases` and `second_diseases` say with which.
// param: first string — part of the name of one disease, in any case
// param: second string — part of the name of the other disease, in any case
// example: first="achondroplasia" second="thanatophoric"
MATCH (x:Disease)
WHERE toLower(x.name) CONTAINS toLower($first)
MATCH (narrower:Disease)-[isa:IS_A*0..30]->(x)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT narrower
MATCH (g:Gene)-[ea:ENCODES*0..1]->()-[a:ASSOCIATED_WITH]-(narrower)
WHERE all(x IN ea + a WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT g, narrower ORDER BY narrower.name, narrower.id
WITH g, collect(narrower.name) AS first_diseases
WITH collect({gene: g, diseases: first_diseases}) AS firsts
MATCH (x:Disease)
WHERE toLower(x.name) CONTAINS toLower($second)
MATCH (narrower:Disease)-[isa:IS_A*0..30]->(x)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT firsts, narrower
MATCH (g:Gene)-[ea:ENCODES*0..1]->()-[a:ASSOCIATED_WITH]-(narrower)
WHERE all(x IN ea + a WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT firsts, g, narrower ORDER BY narrower.name, narrower.id
WITH firsts, g, collect(narrower.name) AS second_diseases
UNWIND [f IN firsts WHERE f.gene = g] AS first
RETURN g.id AS gene, g.symbol AS symbol, g.full_name AS full_name, first.diseases AS first_diseases, second_diseases
ORDER BY symbol, gene
