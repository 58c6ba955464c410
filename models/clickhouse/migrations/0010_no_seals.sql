-- The next two migrations put other cells in the place of these, which no pass of a Schedule has made so far. What is
-- sealed is known by these rows alone, so they go first.
TRUNCATE TABLE IF EXISTS {database}.usage_seals
