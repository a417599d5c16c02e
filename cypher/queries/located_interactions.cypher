// topic: signaling
// title: Which interactions can take place in a compartment of the cell?
// description: Signaling steps and interactions of which both partners are located in the compartment, or in a part or kind of it.
// param: compartment string — name of the compartment in any case, or its id
// param: gene string = null — only those of this gene: approved symbol or id
// param: limit int = 200 — most rows
// example: compartment="nucleus"
MATCH (c:CellularComponent)
WHERE (toLower(c.name) = toLower($compartment) OR c.id = $compartment)
MATCH (place:CellularComponent)-[isa:IS_A|PART_OF*0..30]->(c)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT place
MATCH (g:Gene)-[e:ENCODES*0..1]->()-[at:LOCATED_IN]->(place)
WHERE all(x IN e + at WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH collect(DISTINCT g) AS located
UNWIND located AS a
MATCH (a)-[up:ENCODES*0..1]->()-[r:SIGNALS_TO|LIGAND_OF|INTERACTS_WITH]->()<-[down:ENCODES*0..1]-(b:Gene)
WHERE a <> b AND b IN located AND ($gene IS NULL OR (a.symbol IN [$gene, toUpper($gene)] OR a.id = $gene) OR (b.symbol IN [$gene, toUpper($gene)] OR b.id = $gene))
  AND all(x IN up + r + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT a, b, type(r) AS verb, r.source AS source
ORDER BY source
WITH a, b, verb, collect(source) AS sources
RETURN a.id AS gene, a.symbol AS symbol, verb, b.id AS partner, b.symbol AS partner_symbol, sources
ORDER BY symbol, partner_symbol, verb, gene, partner
LIMIT $limit
