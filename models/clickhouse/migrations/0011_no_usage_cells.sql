-- Cells were stored customer by customer, so that a close of many customers read the days of each beside the one cell
-- of the period that it wanted.
DROP TABLE IF EXISTS {database}.usage_cells
