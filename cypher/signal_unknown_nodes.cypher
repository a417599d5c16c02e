// Which of $ids are no entities.
UNWIND $ids AS id
WITH id WHERE NOT EXISTS { (:Entity {id: id}) }
RETURN collect(id) AS ids
