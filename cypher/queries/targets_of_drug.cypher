// topic: drugs
// title: What does a drug act on?
// description: Targets of the drug with action and reference, and how many pathways and other drugs each has.
// param: drug string — part of the drug's name, in any case
// example: drug="tofacitinib"
MATCH (d:Drug)-[t:TARGETS]->()<-[e:ENCODES*0..1]-(g:Gene)
WHERE toLower(d.name) CONTAINS toLower($drug)
  AND all(x IN [t] + e WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT d, g, t.action AS action, t.reference AS reference, t.source AS source
CALL (g) {
  OPTIONAL MATCH (g)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p:Pathway)
  WHERE all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN count(DISTINCT p) AS pathways
}
CALL (d, g) {
  OPTIONAL MATCH (other:Drug)-[t:TARGETS]->()<-[e:ENCODES*0..1]-(g)
  WHERE other <> d
    AND all(x IN [t] + e WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN count(DISTINCT other) AS other_drugs
}
RETURN d.id AS drug, d.name AS drug_name, action, g.id AS gene, g.symbol AS symbol, pathways, other_drugs, reference, source
ORDER BY drug_name, drug, symbol, gene, action, reference, source
