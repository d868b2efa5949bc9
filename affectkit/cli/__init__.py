"""The `affectkit` command."""
