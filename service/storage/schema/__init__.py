"""Numbered migrations, a folder for each database."""
