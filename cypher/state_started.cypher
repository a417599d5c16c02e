// Since when each database has been running.
SHOW DATABASES YIELD name, lastStartTime RETURN name, toString(lastStartTime) AS started
