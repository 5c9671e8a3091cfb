"""Tasks that learn composed queries: a picture and a text together."""
