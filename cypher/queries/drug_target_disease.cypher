// title: Through which gene might a drug touch a disease?
// description: Drug, the gene that it targets, and the diseases associated with that gene; a lead, not an indication.
// param: drug string — part of the drug's name, in any case
// example: drug="pentostatin"
MATCH (d:Drug)-[t:TARGETS]->()<-[:ENCODES*0..1]-(g:Gene)-[a:ASSOCIATED_WITH]-(x:Disease)
WHERE toLower(d.name) CONTAINS toLower($drug)
RETURN DISTINCT d.id AS drug, d.name AS drug_name, t.action AS action, g.id AS gene, g.symbol AS symbol,
       x.id AS disease, x.name AS disease_name, a.relation AS relation, a.source AS source
ORDER BY drug_name, drug, symbol, gene, disease_name, disease, relation, source, action
