"""Query functions, one file a noun. `get_` raises NotFound, `find_` may answer None, `list_` answers (rows, total).

All take the session of the caller's transaction and the scope; none commits.
"""
