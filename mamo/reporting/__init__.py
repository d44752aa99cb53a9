"""From the runs' recorded metrics to published tables, figures and pages."""
