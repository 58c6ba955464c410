"""The demo: twelve months of billing through the public HTTP API, checked against invoices derived by hand."""
