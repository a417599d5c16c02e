// Which store the database is; an import makes another. The bookmark of this read is its last transaction.
CALL db.info() YIELD id, name RETURN id, name
