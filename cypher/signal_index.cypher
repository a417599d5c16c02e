// Made when findings are first written: one run's are found without reading those of all others.
CREATE INDEX signal_found_run IF NOT EXISTS FOR ()-[f:SIGNAL_FOUND]-() ON (f.run)
