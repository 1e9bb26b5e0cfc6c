"""One table and one page with pictures for the results of many runs."""
