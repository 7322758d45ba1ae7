"""One kind of measurement per module; each returns its figures with the checks they passed."""
