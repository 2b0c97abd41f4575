"""One instrument's streams: raw book events, orders and trades in, clean events out."""
