// topic: drugs
// title: Which drugs act on genes of a pathway?
// description: Drugs that target a gene of the pathway or its protein, with what they do to it and the reference.
// param: pathway string — part of the pathway's name, in any case
// example: pathway="interferon"
MATCH (g:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p:Pathway)
WHERE toLower(p.name) CONTAINS toLower($pathway)
  AND all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
MATCH (d:Drug)-[t:TARGETS]->()<-[e:ENCODES*0..1]-(g)
WHERE all(x IN [t] + e WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN DISTINCT d.id AS drug, d.name AS drug_name, t.action AS action, g.id AS gene, g.symbol AS symbol,
       t.reference AS reference, p.id AS pathway, p.name AS pathway_name
ORDER BY pathway_name, pathway, drug_name, drug, symbol, gene, action, reference
