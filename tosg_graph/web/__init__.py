"""What Neo4j Browser is given: a style, a guide, a page that opens it. Data only."""
