// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many entities carry each label, Entity included; read from the count store.
MATCH (n:Entity) RETURN 'Entity' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Gene) RETURN 'Gene' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Transcript) RETURN 'Transcript' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Protein) RETURN 'Protein' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Pathway) RETURN 'Pathway' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Drug) RETURN 'Drug' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Disease) RETURN 'Disease' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Phenotype) RETURN 'Phenotype' AS label, count(n) AS nodes
UNION ALL
MATCH (n:BiologicalProcess) RETURN 'BiologicalProcess' AS label, count(n) AS nodes
UNION ALL
MATCH (n:MolecularFunction) RETURN 'MolecularFunction' AS label, count(n) AS nodes
UNION ALL
MATCH (n:CellularComponent) RETURN 'CellularComponent' AS label, count(n) AS nodes
UNION ALL
MATCH (n:CellType) RETURN 'CellType' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Organ) RETURN 'Organ' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Metabolite) RETURN 'Metabolite' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Exposure) RETURN 'Exposure' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Microbe) RETURN 'Microbe' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Promoter) RETURN 'Promoter' AS label, count(n) AS nodes
UNION ALL
MATCH (n:ProteinFamily) RETURN 'ProteinFamily' AS label, count(n) AS nodes
UNION ALL
MATCH (n:DrugClass) RETURN 'DrugClass' AS label, count(n) AS nodes
UNION ALL
MATCH (n:Attribute) RETURN 'Attribute' AS label, count(n) AS nodes
