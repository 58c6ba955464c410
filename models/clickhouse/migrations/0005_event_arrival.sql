-- Every row knows with which insert it came, also after merges: `_block_number` grows with each commit, whatever a
-- sender's or a sink's clock says. Sealed usage is compared with it (usage_cells).
ALTER TABLE {database}.events MODIFY SETTING enable_block_number_column = 1
