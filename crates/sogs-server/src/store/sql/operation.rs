//! Settings, filters, raid mode, held posts and the log of who did what.
