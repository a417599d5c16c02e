MATCH (r:Run)
WHERE r.algorithm IS NOT NULL
RETURN r.id AS run, r.algorithm AS algorithm, r.projection AS projection, r.property AS property,
       r.nodes AS nodes, r.parameters AS parameters, r.release AS release
ORDER BY run
