// topic: diseases
// title: Which pathways do two diseases share?
// description: Pathways that go with both: stated so by a source, or through a gene associated with the disease or a narrower one.
// param: first string — part of the name of one disease, in any case
// param: second string — part of the name of the other disease, in any case
// example: first="anemia" second="immunodeficiency"
MATCH (x:Disease)
WHERE toLower(x.name) CONTAINS toLower($first)
MATCH (narrower:Disease)-[isa:IS_A*0..30]->(x)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT narrower
CALL (narrower) {
  MATCH (p:Pathway)-[a:ASSOCIATED_WITH]-(narrower)
  WHERE all(x IN [a] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN p, 'stated' AS through
  UNION
  MATCH (g:Gene)-[ea:ENCODES*0..1]->()-[a:ASSOCIATED_WITH]-(narrower)
  WHERE all(x IN ea + a WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH DISTINCT g
  MATCH (g)-[em:ENCODES*0..1]->()-[m:PARTICIPATES_IN]->(p:Pathway)
  WHERE all(x IN em + m WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN p, g.symbol AS through
}
WITH DISTINCT p, through ORDER BY through
WITH p, collect(through) AS first_through
WITH collect({pathway: p, through: first_through}) AS firsts
MATCH (x:Disease)
WHERE toLower(x.name) CONTAINS toLower($second)
MATCH (narrower:Disease)-[isa:IS_A*0..30]->(x)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT firsts, narrower
CALL (narrower) {
  MATCH (p:Pathway)-[a:ASSOCIATED_WITH]-(narrower)
  WHERE all(x IN [a] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN p, 'stated' AS through
  UNION
  MATCH (g:Gene)-[ea:ENCODES*0..1]->()-[a:ASSOCIATED_WITH]-(narrower)
  WHERE all(x IN ea + a WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH DISTINCT g
  MATCH (g)-[em:ENCODES*0..1]->()-[m:PARTICIPATES_IN]->(p:Pathway)
  WHERE all(x IN em + m WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN p, g.symbol AS through
}
WITH DISTINCT firsts, p, through ORDER BY through
WITH firsts, p, collect(through) AS second_through
UNWIND [f IN firsts WHERE f.pathway = p] AS first
RETURN p.id AS pathway, p.name AS name, first.through AS first_through, second_through
ORDER BY size(first_through) + size(second_through) DESC, name, pathway
