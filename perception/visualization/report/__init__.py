"""The report page: results and pictures as one HTML file."""
