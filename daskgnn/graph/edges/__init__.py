"""From users' arrays and files to CSR rows."""
