-- The same for identities: rows in random order, of which a merge makes nothing smaller.
ALTER TABLE {database}.event_ids MODIFY SETTING merge_selector_base = 10
