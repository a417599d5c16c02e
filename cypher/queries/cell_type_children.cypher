// topic: cells
// title: Which kinds of a cell type are there?
// description: The cell type and everything below it in the Cell Ontology, with the number of levels between.
// param: cell_type string — name or id of the cell type (T cell or CL:0000084)
// param: limit int = 500 — most rows
// example: cell_type="T cell"
MATCH (top:CellType)
WHERE (toLower(top.name) = toLower($cell_type) OR top.id = $cell_type)
  AND ($sources IS NULL OR any(s IN top.sources WHERE s IN $sources))
MATCH path = ANY SHORTEST (below:CellType) ((:CellType)-[r:IS_A]->(:CellType) WHERE $sources IS NULL OR r.source IN $sources){0,30} (top)
RETURN below.id AS cell_type, below.name AS name, min(length(path)) AS levels
ORDER BY levels, name, cell_type
LIMIT $limit
