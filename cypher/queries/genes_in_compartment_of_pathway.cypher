// title: Which genes of a pathway act in a compartment of the cell?
// description: Genes of the pathway whose product is located in the compartment, with the evidence codes of the annotation.
// param: pathway string — part of the pathway's name, in any case
// param: compartment string = "plasma membrane" — part of the compartment's name, in any case
// example: pathway="interferon" compartment="plasma membrane"
MATCH (g:Gene)-[:PARTICIPATES_IN]->(p:Pathway)
WHERE toLower(p.name) CONTAINS toLower($pathway)
MATCH (g)-[:ENCODES*0..1]->()-[at:LOCATED_IN]->(c:CellularComponent)
WHERE toLower(c.name) CONTAINS toLower($compartment)
RETURN DISTINCT g.id AS gene, g.symbol AS symbol, c.id AS compartment, c.name AS compartment_name,
       at.evidence AS evidence, p.id AS pathway, p.name AS pathway_name
ORDER BY pathway_name, pathway, symbol, gene, compartment_name, compartment
