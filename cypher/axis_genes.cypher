// Every gene with all the names a measured feature may have.
MATCH (g:Gene)
RETURN g.id AS id, g.symbol AS symbol, g.ensembl_id AS ensembl_id, g.previous_symbols AS previous, g.alias_symbols AS alias
ORDER BY g.id
