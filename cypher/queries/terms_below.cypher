// topic: functions and terms
// title: Which terms lie below a term of an ontology?
// description: Kinds and parts of the term, each with its fewest levels; for diseases, cell types, organs, processes, functions, compartments, phenotypes and compounds.
// param: term string — name of the term in any case, or its id (MONDO:0005070)
// param: limit int = 500 — most rows
// example: term="leukemia"
MATCH (top:Disease|CellType|Organ|BiologicalProcess|MolecularFunction|CellularComponent|Phenotype|Metabolite|Drug)
WHERE (toLower(top.name) = toLower($term) OR top.id = $term)
MATCH path = ANY SHORTEST (below:Entity) ((:Entity)-[r:IS_A|PART_OF]->(:Entity) WHERE $sources IS NULL OR r.source IN $sources){1,30} (top)
RETURN below.id AS term, below.name AS name, min(length(path)) AS levels, top.id AS below
ORDER BY levels, name, term, below
LIMIT $limit
