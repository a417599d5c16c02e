// topic: drugs
// title: Which drugs might be tried for a disease that they are not used for?
// description: Drugs that act on genes of the disease, or of a pathway of it, without any stated use, failed use or contraindication for it; narrower diseases included. A lead, not advice.
// param: disease string — part of the disease's name, in any case
// param: limit int = 200 — most rows
// example: disease="melanoma"
MATCH (x:Disease)
WHERE toLower(x.name) CONTAINS toLower($disease)
MATCH (narrower:Disease)-[isa:IS_A*0..30]->(x)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH collect(DISTINCT narrower) AS diseases
CALL (diseases) {
  UNWIND diseases AS d
  MATCH (g:Gene)-[ea:ENCODES*0..1]->()-[a:ASSOCIATED_WITH]-(d)
  WHERE all(x IN ea + a WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN g, 'gene of ' + d.name AS through, 2 AS weight
  UNION
  UNWIND diseases AS d
  MATCH (g:Gene)-[em:ENCODES*0..1]->()-[m:PARTICIPATES_IN]->(p:Pathway)-[a:ASSOCIATED_WITH]-(d)
  WHERE all(x IN em + m + a WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN g, 'in ' + p.name AS through, 1 AS weight
}
MATCH (drug:Drug)-[t:TARGETS]->()<-[e:ENCODES*0..1]-(g)
WHERE all(x IN [t] + e WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  AND NOT EXISTS {
    MATCH (drug)-[i:INDICATED_FOR|ASSOCIATED_WITH]-(d:Disease)
    WHERE d IN diseases AND (type(i) = 'INDICATED_FOR' OR toLower(i.relation) CONTAINS 'indicat')
      AND ($sources IS NULL OR i.source IN $sources)
  }
WITH drug, g, through, weight, t.action AS action ORDER BY action, through
WITH drug, g, collect(DISTINCT action) AS actions, collect(DISTINCT through) AS through, max(weight) AS weight
WITH drug, g, actions, through, weight ORDER BY g.symbol, g.id
WITH drug, collect(g.symbol) AS symbols, collect(g.id) AS genes, max(weight) AS weight,
     reduce(found = [], some IN collect(through) | found + [t IN some WHERE NOT t IN found]) AS through,
     reduce(found = [], some IN collect(actions) | found + [a IN some WHERE NOT a IN found]) AS actions
RETURN drug.id AS drug, drug.name AS drug_name, actions, symbols, size(genes) AS genes,
       CASE weight WHEN 2 THEN 'gene of the disease' ELSE 'pathway of the disease' END AS reason, through
ORDER BY reason, genes DESC, drug_name, drug
LIMIT $limit
