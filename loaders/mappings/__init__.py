"""One YAML per table or set of tables: what stands in which column."""
