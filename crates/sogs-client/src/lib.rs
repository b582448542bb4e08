//! Talk to a Session community server as a user or a bot.
