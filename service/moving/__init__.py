"""Moving credentials in from other places, and out without their secrets: readers, an importer, an exporter."""
