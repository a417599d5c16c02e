// topic: drugs
// title: Through which gene might a drug touch a disease?
// description: Drug, the gene that it targets, and the diseases associated with that gene; a lead, not an indication.
// param: drug string — part of the drug's name, in any case
// example: drug="pentostatin"
MATCH (d:Drug)-[t:TARGETS]->()<-[e:ENCODES*0..1]-(g:Gene)
WHERE toLower(d.name) CONTAINS toLower($drug)
  AND all(x IN [t] + e WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
MATCH (g)-[ea:ENCODES*0..1]->()-[a:ASSOCIATED_WITH]-(x:Disease)
WHERE all(x IN ea + a WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN DISTINCT d.id AS drug, d.name AS drug_name, t.action AS action, g.id AS gene, g.symbol AS symbol,
       x.id AS disease, x.name AS disease_name, a.relation AS relation, a.source AS source
ORDER BY drug_name, drug, symbol, gene, disease_name, disease, relation, source, action
