"""Small fact tables with their source, version, licence and the script that made them."""
