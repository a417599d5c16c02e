// topic: pathways
// title: Which genes of a pathway act in a compartment of the cell?
// description: Genes of the pathway whose product is located in the compartment, with the evidence codes of the annotation.
// param: pathway string — part of the pathway's name, in any case
// param: compartment string = "plasma membrane" — part of the compartment's name, in any case
// example: pathway="interferon" compartment="plasma membrane"
MATCH (g:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p:Pathway)
WHERE toLower(p.name) CONTAINS toLower($pathway)
  AND all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
MATCH (g)-[e:ENCODES*0..1]->()-[at:LOCATED_IN]->(c:CellularComponent)
WHERE toLower(c.name) CONTAINS toLower($compartment)
  AND all(x IN e + at WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN DISTINCT g.id AS gene, g.symbol AS symbol, c.id AS compartment, c.name AS compartment_name,
       at.evidence AS evidence, p.id AS pathway, p.name AS pathway_name
ORDER BY pathway_name, pathway, symbol, gene, compartment_name, compartment, evidence
