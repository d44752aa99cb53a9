"""Turn the runs' recorded metrics into published tables, figures and pages."""
