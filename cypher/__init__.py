"""Data only; see docs/architecture.md."""
